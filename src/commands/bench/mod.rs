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
pub(super) mod batch;
mod step;
mod layers;
mod layer;

use crate::{cli::BenchCommand, render::Done};
use anyhow::Result;

/// Classes of the made-up labels: ILSVRC's.
pub(super) const CLASSES: usize = 1000;

/// Measures and tells.
///
/// # Errors
/// If what is measured cannot be set up, or gives a wrong answer.
pub fn run(command: &BenchCommand) -> Result<Done> {
    match command {
        BenchCommand::Train(args) => step::run(args, step::What::Train),
        BenchCommand::Infer(args) => step::run(args, step::What::Infer),
        BenchCommand::Layers(args) => layers::run(args),
        BenchCommand::Storage(args) => storage::run(args),
        BenchCommand::Decode(args) => decode::run(args),
        BenchCommand::Resize(args) => resize::run(args),
        BenchCommand::Augment(args) => augment::run(args),
        BenchCommand::Pipeline(args) => pipeline::run(args),
    }
}
