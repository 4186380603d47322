//! `prepack build`: a tree of pictures to shards and `dataset.json`.

use super::{count, say};
use crate::{cli::BuildArgs, progress::Screen, render::Hint};
use anyhow::{Context as _, Result, bail};
use pipeline::pack::{self, Incomplete, PackConfig, PackReport};
use std::path::Path;

/// Classes that lost too many files are named up to here.
const NAMED_MAX: usize = 5;

/// Packs.
///
/// # Errors
/// If the tree cannot be packed, or has been packed with too many files left out.
pub(crate) fn run(args: &BuildArgs, screen: &Screen) -> Result<()> {
    let config = PackConfig {
        size: args.size.into(),
        encoding: args.encoding.into(),
        quality: args.quality,
        jobs: args.jobs(),
        on_corrupt: args.on_corrupt.into(),
        ..PackConfig::new(&args.source, &args.out)
    };
    let task = screen.task("packing");
    let report = pack::build(&config, &|progress| task.show(progress))
        .with_context(|| format!("cannot pack {}", args.source.display()))?;
    task.finish("packed", "images");
    say(&summary(&args.out, &report));
    if !report.incomplete.is_empty() {
        bail!(incomplete(&args.out, &report.incomplete));
    }
    Ok(())
}

/// One line: what was written.
fn summary(out: &Path, report: &PackReport) -> String {
    let dataset = &report.dataset;
    let mut text = format!("{}: ", out.display());
    for info in &dataset.splits {
        text += &format!("{} {}, ", info.records, info.split);
    }
    let shards = dataset.splits.iter().map(|info| info.shards.len() as u64).sum();
    let left_out = dataset.splits.iter().map(|info| info.skipped.len() as u64).sum();
    text += &format!(
        "{} classes, {} ({}, {} px), {} left out",
        dataset.classes.len(),
        count(shards, "shard"),
        dataset.encoding.name(),
        dataset.size,
        count(left_out, "file")
    );
    text
}

/// That the set is written, and what is missing in it.
fn incomplete(out: &Path, classes: &[Incomplete]) -> Hint {
    let named = classes
        .iter()
        .take(NAMED_MAX)
        .map(|class| format!("{} {} of {}", class.folder.display(), class.lost, class.files));
    let mut named = named.collect::<Vec<_>>().join(", ");
    if classes.len() > NAMED_MAX {
        named += &format!(" and {} more", classes.len() - NAMED_MAX);
    }
    Hint::new(
        format!(
            "{} is written, but classes lost more than 0.1 % of their files: {named}",
            out.display()
        ),
        format!(
            "see why with `prepack inspect {}`; mend the files and pack again, or go on without",
            out.display()
        ),
    )
}
