//! `alexnet config`: the effective recipe, or a preset as it is written.

use super::{recipe, say};
use crate::{cli::ConfigArgs, config::PRESETS, render::Done};
use anyhow::Result;

/// Prints TOML.
///
/// # Errors
/// If the recipe does not hold together.
pub fn run(args: &ConfigArgs) -> Result<Done> {
    let config = recipe(&args.recipe, "two-tower-2012")?;
    let written = PRESETS.iter().find(|(name, _)| args.annotated && *name == config.name);
    let effective = config.to_toml();
    say(written.map_or(effective.as_str(), |(_, text)| *text).trim_end())?;
    Ok(Done::All)
}
