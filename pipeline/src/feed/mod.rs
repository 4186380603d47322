//! The pipeline: a dispatcher that says which samples make up which batch, workers that take one
//! sample after the other through read, decode, resize and augment into its place in a slot, and
//! delivery in the order of the steps.
//!
//! `dispatcher --tasks--> workers --results--> next()`. Dropping the [`Feed`] closes the results and
//! the abort channel; dispatcher and workers meet one of them closed, end, and are joined.

mod dispatch;
mod worker;

use crate::{
    augment::{Augment, Element, Lighting},
    dataset::Split,
    order::{Order, Shuffle, steps_per_epoch},
    ring::{Memory, Ready, Ring},
    source::{SampleError, Source},
    stats::{Counters, Snapshot, Stage},
    thread::Joined,
    trace::Trace,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use dispatch::Plan;
use worker::Job;

/// The label of a place that does not count: its sample was skipped.
pub const SKIPPED: u32 = u32::MAX;

/// What to do about a training sample that cannot be used. In evaluation it always fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCorrupt {
    /// The next sample of its class by index takes its place.
    Substitute,
    /// Its place stays empty: zeros, labelled [`SKIPPED`].
    Skip,
    /// The feed ends.
    Fail,
}

/// How much of a picture is decoded for a crop of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecodeMode {
    /// All of it: it is rescaled to the stored square, of which the crop is cut. What is broken
    /// anywhere in a picture is noticed each time that it is read.
    #[default]
    Exact,
    /// What the crop is made of, and this is rescaled to the crop at once: up to 2 levels from the
    /// exact pixels, nearly always none (see [`Resizer::window`](crate::resize::Resizer::window)).
    /// Of a picture file, what is broken outside of the crop is not noticed; of a shard, it is, by
    /// the record's checksum.
    Region,
}

/// The settings of a feed.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// Samples in a slot.
    pub batch: usize,
    /// Side of a crop, pixels.
    pub crop: usize,
    /// The run's seed: order and augmentation follow from it.
    pub seed: u64,
    /// How training samples are ordered.
    pub shuffle: Shuffle,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// What slots are made of.
    pub element: Element,
    /// Of training samples.
    pub lighting: Lighting,
    /// Of training samples that are not stored as raw pixels; in evaluation all is decoded.
    pub decode: DecodeMode,
    /// Of training samples.
    pub on_corrupt: OnCorrupt,
    /// The mean image `[3, stored, stored]`, where it is not the data set's own: a net is tested
    /// with the mean that it was trained with.
    pub mean: Option<Vec<f32>>,
    /// Corrupt samples after which the feed ends whatever the policy.
    pub corrupt_max: u64,
    /// Where actors, slots and queues are recorded.
    pub trace: Trace,
}

impl FeedConfig {
    /// What suits training on all cores: seed 0, a global shuffle, single precision, the 2012 lighting,
    /// whole pictures, and a corrupt sample's place taken by the next of its class, 100 times at most.
    pub fn new(batch: usize, crop: usize) -> Self {
        Self {
            batch,
            crop,
            seed: 0,
            shuffle: Shuffle::Global,
            workers: available_parallelism().map_or(1, usize::from),
            element: Element::F32,
            lighting: Lighting::Stddev,
            decode: DecodeMode::Exact,
            on_corrupt: OnCorrupt::Substitute,
            mean: None,
            corrupt_max: 100,
            trace: Trace::off(),
        }
    }

    /// Bytes of a slot.
    pub const fn slot_bytes(&self) -> usize {
        slot_bytes(self.batch, self.crop, self.element)
    }
}

/// Why a feed ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum FeedError {
    #[error("crops of {crop} px do not fit pictures of {stored} px")]
    Crop { crop: usize, stored: usize },
    #[error("{split}: {images} images do not fill a batch of {batch}")]
    TooFew { split: Split, images: u64, batch: usize },
    #[error("batches of no images")]
    NoBatch,
    #[error("a feed without workers")]
    NoWorkers,
    #[error("{slots} slots, and a feed needs 2: one is filled while another is used")]
    TooFewSlots { slots: usize },
    #[error("a slot of {bytes} bytes, and a batch takes {needed}")]
    SlotTooSmall { bytes: usize, needed: usize },
    #[error("a mean image of {values} values, and pictures of {needed}")]
    Mean { values: usize, needed: usize },
    #[error("a sample cannot be used")]
    Sample(#[source] SampleError),
    #[error("more than {corrupt_max} samples cannot be used, the last one being this")]
    TooManyCorrupt { corrupt_max: u64, source: SampleError },
    #[error("no sample of its class can be used")]
    NoSubstitute(#[source] SampleError),
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("a bug in a data worker: {0}")]
    Panicked(String),
}

/// Bytes of a slot.
pub const fn slot_bytes(batch: usize, crop: usize, element: Element) -> usize {
    batch * 3 * crop * crop * element.bytes()
}

/// What the actors send to `next`: a whole batch with its number, or the reason for the end.
type Outcome<M> = Result<(u64, Ready<M>), FeedError>;

/// A running pipeline.
#[derive(Debug)]
pub struct Feed<M: Memory> {
    results: Receiver<Outcome<M>>,
    /// Batches that overtook the next one.
    early: BTreeMap<u64, Ready<M>>,
    next: u64,
    end: u64,
    counters: Arc<Counters>,
    trace: Trace,
    _abort: Sender<()>, // closed before the threads are joined: fields drop in this order
    _threads: Vec<Joined>,
    /// The slots' home until then, also of those that come back after the last batch.
    _ring: Arc<Ring<M>>,
}

impl<M: Memory> Feed<M> {
    /// Slots that a feed needs whose consumer holds `held` batches.
    pub const fn slots(held: usize) -> usize {
        1 // being filled
            + 1 // begun by the workers that find nothing left to do in the one before
            + 1 // whole, waiting to be taken
            + held
    }

    /// Batches of the training set for the steps `first_step..first_step + steps` of a run. The
    /// same configuration gives the same bytes for any number of workers and any first step.
    ///
    /// # Errors
    /// If the set does not fill a batch, the configuration or the slots do not fit it, or a thread
    /// cannot be started.
    pub fn train(
        source: Arc<dyn Source>, config: &FeedConfig, slots: Vec<M>, first_step: u64,
        steps: u64,
    ) -> Result<Self, FeedError> {
        let len = source.len(Split::Train);
        if config.batch == 0 {
            return Err(FeedError::NoBatch);
        }
        let per_epoch = steps_per_epoch(len, config.batch);
        if per_epoch == 0 {
            let (split, batch) = (Split::Train, config.batch);
            return Err(FeedError::TooFew { split, images: len, batch });
        }
        let order = Order::new(config.shuffle, config.seed, len);
        let plan = Plan::Train { order, per_epoch };
        Self::start(source, config, slots, plan, first_step..first_step.saturating_add(steps))
    }

    /// Every sample of a split once, in order: centre crops of whole pictures, no lighting.
    ///
    /// # Errors
    /// If the configuration or the slots do not fit the set, or a thread cannot be started.
    pub fn evaluate(
        source: Arc<dyn Source>, config: &FeedConfig, split: Split, slots: Vec<M>,
    ) -> Result<Self, FeedError> {
        let len = source.len(split);
        if config.batch == 0 {
            return Err(FeedError::NoBatch);
        }
        let batches = len.div_ceil(config.batch as u64);
        let (decode, on_corrupt) = (DecodeMode::Exact, OnCorrupt::Fail);
        let config = FeedConfig { decode, on_corrupt, ..config.clone() };
        Self::start(source, &config, slots, Plan::Evaluate { split, len }, 0..batches)
    }

    fn start(
        source: Arc<dyn Source>, config: &FeedConfig, slots: Vec<M>, plan: Plan,
        steps: std::ops::Range<u64>,
    ) -> Result<Self, FeedError> {
        check(config, source.size(), &slots)?;
        let mut statistics = source.statistics().clone();
        if let Some(mean) = &config.mean {
            statistics.mean.clone_from(mean);
        }
        let (stored, workers) = (source.size(), config.workers);
        let augment =
            Augment::new(stored, config.crop, config.element, config.lighting, &statistics);
        let mut threads = Vec::new(); // joined after the channels below are closed, if one cannot be started
        let (abort, aborted) = bounded(0);
        // A task for each worker to begin with when it is done.
        let (tasks, work) = bounded(2 * workers);
        // Room for every slot and for every actor's last word: sending never waits.
        let (results, received) = bounded(slots.len() + workers + 1);
        let counters = Arc::new(Counters::default());
        let job = Arc::new(Job {
            augment,
            plan,
            config: config.clone(),
            counters: Arc::clone(&counters),
            source,
        });
        for i in 0..workers {
            let (job, work, results) = (Arc::clone(&job), work.clone(), results.clone());
            let aborted = aborted.clone();
            let body = move || worker::run(&job, &work, &results, &aborted);
            threads.push(Joined::spawn(&format!("data-{i}"), body).map_err(FeedError::Thread)?);
        }
        let ring = Arc::new(Ring::traced(slots, config.batch, &config.trace));
        let (next, end, of_dispatch) = (steps.start, steps.end, Arc::clone(&ring));
        let body = move || dispatch::run(&job, steps, &of_dispatch, &tasks, &aborted);
        threads.push(Joined::spawn("data-dispatch", body).map_err(FeedError::Thread)?);
        let early = BTreeMap::new();
        Ok(Self {
            results: received,
            early,
            next,
            end,
            counters,
            trace: config.trace.clone(),
            _abort: abort,
            _threads: threads,
            _ring: ring,
        })
    }

    /// The next batch in the order of the steps; `None` after the last, or after an error. Waits until
    /// there is one: for ever, if the caller's leases hold all slots.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator's adaptors would hide the leases"
    )]
    pub fn next(&mut self) -> Option<Result<Ready<M>, FeedError>> {
        let began = Instant::now();
        while self.next < self.end {
            if let Some(batch) = self.early.remove(&self.next) {
                self.next += 1;
                self.counters.empty(Stage::Deliver, began.elapsed());
                self.counters.busy(Stage::Deliver, Duration::ZERO); // handed on, not worked at
                self.trace.span("wait for a batch", began);
                self.trace.queue("ready batches", self.early.len() + self.results.len());
                return Some(Ok(batch));
            }
            match self.results.recv() {
                Ok(Ok((number, batch))) => drop(self.early.insert(number, batch)),
                Ok(Err(error)) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
                Err(_) => {
                    self.next = self.end;
                    return Some(Err(FeedError::Panicked("all left without a word".into())));
                }
            }
        }
        None
    }

    /// What every stage has done and waited for so far.
    pub fn stats(&self) -> Snapshot {
        self.counters.snapshot()
    }
}

/// Whether configuration, pictures and slots fit one another.
fn check<M: Memory>(config: &FeedConfig, stored: usize, slots: &[M]) -> Result<(), FeedError> {
    let crop = config.crop;
    if crop == 0 || crop > stored {
        return Err(FeedError::Crop { crop, stored });
    }
    if config.workers == 0 {
        return Err(FeedError::NoWorkers);
    }
    if slots.len() < 2 {
        return Err(FeedError::TooFewSlots { slots: slots.len() });
    }
    let needed = config.slot_bytes();
    if let Some(bytes) = slots.iter().map(|slot| slot.len()).find(|bytes| *bytes < needed) {
        return Err(FeedError::SlotTooSmall { bytes, needed });
    }
    let needed = 3 * stored * stored;
    match config.mean.as_ref().map(Vec::len) {
        Some(values) if values != needed => Err(FeedError::Mean { values, needed }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
