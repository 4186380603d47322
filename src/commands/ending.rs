//! What `alexnet run` says in the end.

use super::say;
use crate::{metrics::means, render::Hint, rundir, tower::TowerError, trainer::Ending};
use anyhow::{Error, Result};
use std::path::Path;

/// The error of a tower, with how to go on; others say it themselves.
pub(super) fn way_on(error: Error, out: &Path) -> Error {
    if !matches!(error.downcast_ref(), Some(TowerError::Failed { .. })) {
        return error;
    }
    let way = rundir::newest_step(out).map_or_else(
        || "nothing was stored yet; --checkpoint-every says after how many steps it is".into(),
        |step| format!("pass --resume --out {} to go on from step {step}", out.display()),
    );
    let way = format!("{way}; of a GPU, see what `nvidia-smi` says");
    Error::new(Hint::new(format!("{error:#}"), way))
}

/// This program as the user called it.
fn program() -> String {
    std::env::args_os()
        .next()
        .map_or_else(|| "alexnet".into(), |program| Path::new(&program).display().to_string())
}

/// Tells how a run ended, and what to do with it.
pub(super) fn tell(ending: &Ending, out: &Path) -> Result<()> {
    if let Some(score) = &ending.validation {
        let (loss, top1, top5) = means(score);
        say(&format!(
            "validation: top-1 {:.1} %, top-5 {:.1} %, loss {loss:.3} on {} images",
            top1 * 100.0,
            top5 * 100.0,
            score.images
        ))?;
    }
    let checkpoint = ending.checkpoint.display();
    let best = ending.best.as_ref().unwrap_or(&ending.checkpoint).display();
    if ending.interrupted {
        say(&format!(
            "interrupted after step {}; go on with --resume --out {}",
            ending.step,
            out.display()
        ))?;
    }
    say(&format!("checkpoint: {checkpoint}"))?;
    say(&format!("metrics: {}", out.join("metrics.jsonl").display()))?;
    if !ending.interrupted {
        say(&format!("next: {} predict {best} IMAGE.jpg", program()))?;
    }
    Ok(())
}
