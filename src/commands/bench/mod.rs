//! `alexnet bench`: one part of the program at a time, beside what bounds it.

mod memory;
mod train;

use crate::{cli::BenchCommand, render::Done};
use anyhow::Result;

/// Measures and tells.
///
/// # Errors
/// If what is measured cannot be set up, or gives a wrong answer.
pub fn run(command: &BenchCommand) -> Result<Done> {
    match command {
        BenchCommand::Train(args) => train::run(args),
    }
}
