//! `alexnet bench`: one part of the program at a time, beside what bounds it.

mod memory;
mod rounds;
mod set;
mod report;
mod storage;
mod decode;
mod resize;
mod augment;
mod pipeline;
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
        BenchCommand::Storage(args) => storage::run(args),
        BenchCommand::Decode(args) => decode::run(args),
        BenchCommand::Resize(args) => resize::run(args),
        BenchCommand::Augment(args) => augment::run(args),
        BenchCommand::Pipeline(args) => pipeline::run(args),
    }
}
