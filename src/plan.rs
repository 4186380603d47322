//! What a run needs to start.

use crate::{checkpoint::Checkpoint, config::Config, devices::Share, rundir::RunDir};
use pipeline::{
    feed::{FeedConfig, OnCorrupt},
    source::Source,
    trace::Trace,
};
use std::{sync::Arc, time::Duration};

/// A run, ready to start.
#[derive(Debug)]
pub struct Plan {
    /// The recipe.
    pub config: Config,
    /// Where everything is kept.
    pub run: RunDir,
    /// The pictures.
    pub source: Arc<dyn Source>,
    /// What to go on from.
    pub from: Option<Checkpoint>,
    /// Data workers.
    pub workers: usize,
    /// What to do about a corrupt training sample.
    pub on_corrupt: OnCorrupt,
    /// Such samples after which the run ends.
    pub corrupt_max: u64,
    /// Steps between checkpoints; one is written after each epoch in any case.
    pub checkpoint_every: u64,
    /// Newest checkpoints kept, beside the best.
    pub keep: usize,
    /// End the run if it does not learn.
    pub stop_if_flat: bool,
    /// How long a tower waits before it gives up, where the flags say.
    pub patience: Option<Duration>,
    /// How the net is carried.
    pub share: Share,
    /// The instruction set that it is computed by, of a CPU.
    pub instructions: Option<String>,
    /// Where the pipeline and the towers are recorded.
    pub trace: Trace,
}

/// The pipeline's settings for a recipe.
pub fn feed_config(
    config: &Config, workers: usize, on_corrupt: OnCorrupt, corrupt_max: u64,
) -> FeedConfig {
    FeedConfig {
        seed: config.train.seed,
        shuffle: config.data.order,
        workers,
        lighting: config.data.lighting,
        decode: config.data.decode,
        on_corrupt,
        corrupt_max,
        ..FeedConfig::new(config.train.batch, config.data.crop)
    }
}
