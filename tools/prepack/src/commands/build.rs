//! `prepack build`: pictures in any layout to shards and `dataset.json`, whole or in parts.

use super::{count, say};
use crate::{cli::BuildArgs, progress::Screen, render::Hint};
use anyhow::{Context as _, Result, bail};
use pipeline::{
    dataset::{Dataset, Duplicate, SplitInfo},
    pack::{self, Incomplete, PackConfig, PackReport, Part},
    source,
};
use std::path::Path;

/// Classes that lost too many files, and copies, are named up to here.
const NAMED_MAX: usize = 5;

/// Packs.
///
/// # Errors
/// If the source cannot be packed, or has been packed with too many files left out.
pub(crate) fn run(args: &BuildArgs, screen: &Screen) -> Result<()> {
    if args.verify_source {
        verify(&args.source, screen)?;
    }
    let cannot = || format!("cannot pack {}", args.source.display());
    let config = PackConfig {
        list: args.list(),
        shard_records: args.shard_records,
        dedupe: args.dedupe.map_or(pack::Dedupe::Keep, Into::into),
        size: args.size.into(),
        encoding: args.encoding.into(),
        quality: args.quality,
        row_markers: args.row_markers,
        upright: args.exif_orientation,
        jobs: args.jobs(),
        on_corrupt: args.on_corrupt.into(),
        ..PackConfig::new(&args.source, &args.out)
    };
    if let Some(part) = args.part {
        return build_part(&config, part, screen).with_context(cannot);
    }
    let task = screen.task("packing");
    let report = pack::build(&config, &|progress| task.show(progress)).with_context(cannot)?;
    task.finish("packed", "images");
    tell(&args.out, &report, screen)
}

/// Says what was written, and what someone should look at.
pub(super) fn tell(out: &Path, report: &PackReport, screen: &Screen) -> Result<()> {
    went_on(report.resumed, screen);
    copies(&report.duplicates, screen);
    counts(out, &report.dataset, screen);
    say(&summary(out, report))?;
    if !report.incomplete.is_empty() {
        bail!(incomplete(out, &report.incomplete));
    }
    Ok(())
}

fn build_part(config: &PackConfig, part: Part, screen: &Screen) -> Result<()> {
    let task = screen.task("packing");
    let report = pack::build_part(config, part, &|progress| task.show(progress))?;
    task.finish("packed", "images");
    went_on(report.resumed, screen);
    copies(&report.duplicates, screen);
    let (shards, left_out) =
        (count(report.shards as u64, "shard"), count(report.skipped, "file"));
    say(&format!(
        "{}: part {part}, {} images, {shards} of {}, {left_out} left out; then `prepack merge`",
        config.out.display(),
        report.records,
        report.shards_of_all
    ))?;
    Ok(())
}

fn went_on(resumed: usize, screen: &Screen) {
    if resumed > 0 {
        let shards = count(resumed as u64, "shard");
        screen.remark(&format!("went on after {shards} of an interrupted build"));
    }
}

fn copies(copies: &[Duplicate], screen: &Screen) {
    for copy in copies.iter().take(NAMED_MAX) {
        let text = format!("copy: {} of {}", copy.path, copy.of);
        screen.remark(&text.replace(char::is_control, "?"));
    }
    if copies.len() > NAMED_MAX {
        screen.remark(&format!("copies: {} in all", copies.len()));
    }
}

/// How many images classes have; what is not as ILSVRC has it, the packer has told.
fn counts(out: &Path, dataset: &Dataset, screen: &Screen) {
    for SplitInfo { split, per_class, .. } in &dataset.splits {
        let (Some(least), Some(most)) = (per_class.iter().min(), per_class.iter().max()) else {
            continue;
        };
        screen.remark(&format!("{split}: {least} to {most} images a class"));
    }
    screen.remark(&format!("each class: prepack inspect {}", out.display()));
}

/// Holds the archives against their published sums.
fn verify(source: &Path, screen: &Screen) -> Result<()> {
    let task = screen.task("checking");
    let checked = source::verify_source(source, &|progress| task.show(progress))
        .with_context(|| format!("cannot verify {}", source.display()))?;
    drop(task);
    for archive in &checked {
        let sound = if archive.is_sound() { "sound" } else { "not as published" };
        screen.remark(&format!("{}: MD5 {}: {sound}", archive.file, archive.md5));
    }
    let Some(wrong) = checked.iter().find(|archive| !archive.is_sound()) else { return Ok(()) };
    bail!(Hint::new(
        format!("{}: MD5 {}, published {}", wrong.file, wrong.md5, wrong.expected),
        "download it again",
    ))
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
    let copies = dataset.splits.iter().map(|info| info.duplicates.len() as u64).sum::<u64>();
    text += &format!(
        "{} classes, {} ({}, {} px), {} left out",
        dataset.classes.len(),
        count(shards, "shard"),
        dataset.encoding.name(),
        dataset.size,
        count(left_out, "file")
    );
    match copies {
        0 => text,
        1 => text + ", and 1 copy",
        _ => text + &format!(", and {copies} copies"),
    }
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
