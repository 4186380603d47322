//! A worker: one sample at a time, from its source to its place in a slot.

use super::{DecodeMode, FeedConfig, FeedError, OnCorrupt, Outcome, SKIPPED, dispatch::Plan};
use crate::{
    augment::{Augment, Draw},
    dataset::Encoding,
    decode::DecodeError,
    resize::{Stored, Window},
    ring::{Cell, Cells, Memory},
    source::{SampleError, Source},
    stats::{Counters, Stage},
};
use crossbeam_channel::{Receiver, Sender, TryRecvError};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

/// Samples of batch `number` to be put in their places.
pub(super) struct Task<M: Memory> {
    pub(super) cells: Cells<M>,
    pub(super) number: u64,
}

/// What all workers of a feed share.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) source: Arc<dyn Source>,
    pub(super) augment: Augment,
    pub(super) config: FeedConfig,
    pub(super) plan: Plan,
    pub(super) counters: Arc<Counters>,
}

/// Until there are no more tasks, nobody waits for them, or one fails.
pub(super) fn run<M: Memory>(
    job: &Job, tasks: &Receiver<Task<M>>, results: &Sender<Outcome<M>>, aborted: &Receiver<()>,
) {
    let work = || -> Result<(), FeedError> {
        let mut buffers = Buffers::default();
        loop {
            let began = Instant::now();
            let Ok(Task { cells, number }) = tasks.recv() else { return Ok(()) };
            job.counters.empty(Stage::Read, began.elapsed());
            for mut cell in cells {
                if aborted.try_recv() == Err(TryRecvError::Disconnected) {
                    return Ok(());
                }
                job.fill(&mut cell, number, &mut buffers)?;
                if let Some(ready) = cell.finish()
                    && results.send(Ok((number, ready))).is_err()
                {
                    return Ok(());
                }
            }
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(FeedError::Panicked(text.unwrap_or_default()))
    });
    if let Err(error) = ended {
        let _ = results.try_send(Err(error)); // an error means that nobody waits for it
    }
}

/// A worker's own, used for every sample.
#[derive(Debug, Default)]
struct Buffers {
    encoded: Vec<u8>,
    stored: Stored,
    square: Vec<u8>,
}

impl Job {
    /// Fills a place in batch `number`, by the policy if its sample cannot be used.
    fn fill<M: Memory>(
        &self, cell: &mut Cell<M>, number: u64, buffers: &mut Buffers,
    ) -> Result<(), FeedError> {
        let batch = self.config.batch;
        let (epoch, _) = self.plan.extent(number, batch);
        let wanted = self.plan.sample(number, batch, cell.index());
        let mut sample = wanted;
        loop {
            let draw = if self.plan.trains() {
                self.augment.draw(self.config.seed, epoch, sample)
            } else {
                self.augment.centre()
            };
            let Err(error) = self.load(sample, &draw, buffers, cell.bytes_mut()) else {
                if sample != wanted {
                    cell.set_sample(self.source.label(self.plan.split(), sample), sample);
                }
                return Ok(());
            };
            if self.config.on_corrupt == OnCorrupt::Fail {
                return Err(FeedError::Sample(error));
            }
            let corrupt_max = self.config.corrupt_max;
            if self.counters.corrupt() >= corrupt_max {
                return Err(FeedError::TooManyCorrupt { corrupt_max, source: error });
            }
            let done = match self.config.on_corrupt {
                OnCorrupt::Substitute => "the next of its class takes its place",
                OnCorrupt::Skip => "its place stays empty",
                OnCorrupt::Fail => unreachable!("returned above"),
            };
            tracing::warn!("{error}: {done}");
            if self.config.on_corrupt == OnCorrupt::Skip {
                cell.bytes_mut().fill(0);
                cell.set_sample(SKIPPED, wanted);
                return Ok(());
            }
            match self.source.next_of_class(self.plan.split(), sample) {
                Some(next) if next != wanted => sample = next,
                _ => return Err(FeedError::NoSubstitute(error)),
            }
        }
    }

    /// Read, decode, resize, augment.
    fn load(
        &self, sample: u64, draw: &Draw, buffers: &mut Buffers, out: &mut [u8],
    ) -> Result<(), SampleError> {
        let Buffers { encoded: scratch, stored, square } = buffers;
        let size = self.source.size();
        let mut watch = Watch { job: self, since: Instant::now() };
        let encoded = self.source.read(self.plan.split(), sample, scratch)?;
        watch.lap(Stage::Read);
        let place = |source: DecodeError| SampleError::Decode {
            place: self.source.place(self.plan.split(), sample),
            source,
        };
        let image = if encoded.encoding == Encoding::Raw {
            let (found, expected) = (encoded.bytes.len(), size * size * 3);
            if found != expected {
                return Err(place(DecodeError::WrongLength { found, expected }));
            }
            encoded.bytes
        } else {
            match self.config.decode {
                DecodeMode::Exact => stored.decode(encoded),
                DecodeMode::Region => {
                    let window = Window { x: draw.x, y: draw.y, side: self.config.crop };
                    stored.decode_window(encoded, size, window)
                }
            }
            .map_err(place)?;
            watch.lap(Stage::Decode);
            stored.resize(size, square).map_err(place)?;
            watch.lap(Stage::Resize);
            square
        };
        // Raw or exact, it is the stored square; else the crop of it.
        if image.len() == size * size * 3 {
            self.augment.crop(out, image, draw);
        } else {
            self.augment.cropped(out, image, draw);
        }
        watch.lap(Stage::Augment);
        Ok(())
    }
}

/// Books the time since the last lap under a stage.
struct Watch<'a> {
    job: &'a Job,
    since: Instant,
}

impl Watch<'_> {
    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        self.job.counters.busy(stage, now - self.since);
        self.job.config.trace.span(stage.name(), self.since);
        self.since = now;
    }
}
