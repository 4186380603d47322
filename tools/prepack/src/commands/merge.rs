//! `prepack merge`: the parts of a data set to the whole.

use super::build::tell;
use crate::{cli::MergeArgs, progress::Screen};
use anyhow::{Context as _, Result};
use pipeline::pack;

/// Merges.
///
/// # Errors
/// If parts are missing, unfinished or of different builds, or a file cannot be written.
pub(crate) fn run(args: &MergeArgs, screen: &Screen) -> Result<()> {
    let report = pack::merge(&args.parts, &args.out, args.jobs()).context("cannot merge")?;
    tell(&args.out, &report, screen)
}
