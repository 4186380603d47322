//! `prepack verify`: everything against its checksum.

use super::{count, say};
use crate::{cli::VerifyArgs, progress::Screen, render::Hint};
use anyhow::{Context as _, Result, bail};
use pipeline::pack;

/// Reads all; each problem is a line.
///
/// # Errors
/// If there is any problem.
pub(crate) fn run(args: &VerifyArgs, screen: &Screen) -> Result<()> {
    let path = args.path.display();
    let task = screen.task("reading");
    let report = pack::verify(&args.path, &|progress| task.show(progress))
        .with_context(|| format!("cannot verify {path}"))?;
    task.finish("read", "records");
    report.problems.iter().try_for_each(|problem| say(problem))?;
    let problems = report.problems.len() as u64;
    if problems > 0 {
        bail!(Hint::new(
            format!("{path}: {}", count(problems, "problem")),
            "restore the files from a copy, or pack the images again with `prepack build`"
        ));
    }
    let (shards, records) = (count(report.shards, "shard"), count(report.records, "record"));
    say(&format!("{path}: {shards} with {records}, all whole"))?;
    Ok(())
}
