//! One file per command.

pub mod run;
mod ending;
pub mod demo;
pub mod eval;
pub mod predict;
pub mod batch;
pub mod config;
pub mod bench;
pub mod doctor;
mod pinned;

use crate::{
    cli::{BatchRecipeArgs, RecipeArgs},
    config::{Config, ConfigError},
};
use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Write as _};

/// The recipe that preset, file and flags make, checked.
///
/// # Errors
/// If there is no such preset, or it does not hold together.
pub fn recipe(args: &RecipeArgs, default: &str) -> Result<Config, ConfigError> {
    let mut config = load(&args.batches, default)?;
    apply(args, &mut config);
    config.check()?;
    Ok(config)
}

/// The same, of one that only says how batches are made.
///
/// # Errors
/// As [`recipe`].
pub fn batch_recipe(args: &BatchRecipeArgs, default: &str) -> Result<Config, ConfigError> {
    let mut config = load(args, default)?;
    apply_batches(args, &mut config);
    config.check()?;
    Ok(config)
}

fn load(args: &BatchRecipeArgs, default: &str) -> Result<Config, ConfigError> {
    Config::load(args.preset.as_deref().unwrap_or(default), args.config.as_deref())
}

/// Sets what the flags say.
pub fn apply(args: &RecipeArgs, config: &mut Config) {
    let train = &mut config.train;
    if let Some(epochs) = args.epochs {
        (train.epochs, train.steps) = (epochs, None);
    }
    train.steps = args.steps.or(train.steps);
    train.rate = args.rate.unwrap_or(train.rate);
    train.init = args.init.unwrap_or(train.init);
    train.dtype = args.dtype.unwrap_or(train.dtype);
    apply_batches(&args.batches, config);
}

fn apply_batches(args: &BatchRecipeArgs, config: &mut Config) {
    let Config { train, data, .. } = config;
    train.batch = args.batch.unwrap_or(train.batch);
    train.seed = args.seed.unwrap_or(train.seed);
    data.order = args.order.unwrap_or(data.order);
    data.lighting = args.lighting.map_or(data.lighting, Into::into);
    data.decode = args.decode.map_or(data.decode, Into::into);
}

/// Results go to stdout; a closed pipe ends the talk, not the work.
///
/// # Errors
/// If stdout takes them not, as on a full disk.
pub(crate) fn say(text: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}
