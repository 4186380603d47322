//! What a batch is computed with, and how far a device is.

use std::time::{Duration, Instant};

/// What a batch is computed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Learning rate; of no meaning where nothing is learned.
    pub rate: f32,
    /// Global training step, which keys the dropout.
    pub step: u64,
    /// How many times as large the gradients are on their way to the weights, which are updated by what they would
    /// be without it: a power of two, 1 but for a device that keeps them in f16, whose range is small. Of devices
    /// that keep them in `f32` some leave it at 1.
    pub scale: f32,
}

impl Default for Step {
    fn default() -> Self {
        Self { rate: 0.0, step: 0, scale: 1.0 }
    }
}

/// What a stream of a device did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The stream.
    pub stream: &'static str,
    /// What it did: of kernels, the first of a run.
    pub name: &'static str,
    /// When it began.
    pub began: Instant,
    /// How long it took.
    pub took: Duration,
}

/// How far a device is, counted over all batches since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Parcels that it has unpacked.
    pub unpacked: u64,
    /// Batches that are done.
    pub done: u64,
}
