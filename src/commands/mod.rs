//! One file per command.

pub mod run;
pub mod demo;
pub mod eval;
pub mod predict;
pub mod batch;
pub mod config;
pub mod bench;

use crate::{
    cli::RecipeArgs,
    config::{Config, ConfigError},
};
use std::io::Write as _;

/// The recipe that preset, file and flags make, checked.
///
/// # Errors
/// If there is no such preset, or it does not hold together.
pub fn recipe(args: &RecipeArgs, default: &str) -> Result<Config, ConfigError> {
    let preset = args.preset.as_deref().unwrap_or(default);
    let mut config = Config::load(preset, args.config.as_deref())?;
    apply(args, &mut config);
    config.check()?;
    Ok(config)
}

/// Sets what the flags say.
pub fn apply(args: &RecipeArgs, config: &mut Config) {
    let train = &mut config.train;
    if let Some(epochs) = args.epochs {
        (train.epochs, train.steps) = (epochs, None);
    }
    train.steps = args.steps.or(train.steps);
    train.batch = args.batch.unwrap_or(train.batch);
    train.rate = args.rate.unwrap_or(train.rate);
    train.seed = args.seed.unwrap_or(train.seed);
    train.init = args.init.unwrap_or(train.init);
    config.data.order = args.order.unwrap_or(config.data.order);
    config.data.decode = args.decode.map_or(config.data.decode, Into::into);
    config.data.lighting = args.lighting.map_or(config.data.lighting, Into::into);
}

/// Results go to stdout; a closed pipe ends the talk, not the work.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
