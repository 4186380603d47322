//! `prepack synth`: a tree of procedural JPEGs.

use super::say;
use crate::{cli::SynthArgs, progress::Screen};
use anyhow::{Context as _, Result};
use pipeline::synth::{SynthConfig, synth};

/// Draws.
///
/// # Errors
/// If the tree cannot be written.
pub(crate) fn run(args: &SynthArgs, screen: &Screen) -> Result<()> {
    let config = SynthConfig {
        classes: args.classes as usize,
        per_class: args.per_class as usize,
        val_per_class: args.val_per_class as usize,
        seed: args.seed,
        jobs: args.jobs(),
        shorter_side: args.side.map(|side| side as usize),
    };
    let task = screen.task("drawing");
    synth(&config, &args.out, &|progress| task.show(progress))
        .context("cannot make the procedural images")?;
    task.finish("drew", "images");
    say(&format!(
        "{}: {} classes of {} train and {} val images",
        args.out.display(),
        args.classes,
        args.per_class,
        args.val_per_class
    ))?;
    Ok(())
}
