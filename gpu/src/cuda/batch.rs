//! What belongs to one batch on its way through a GPU: what it is computed with, what it scored, and
//! when it was read and done.

use super::{
    context::{Context, Event},
    launch::StepParams,
    memory::{Memory, Pinned},
    numbers::Numbers,
};
use crate::{
    device::{Demand, DeviceError, Pictures},
    ops::{
        conv::{Conv, cuda::packed_x_len},
        finish::Finish,
        softmax::{Score, cuda::RowScore},
    },
};
use cudarc::driver::DriverError;
use std::sync::Arc;

/// Labels of rows that do not count.
const NO_CLASS: u32 = u32::MAX;

/// The host's side of a batch. There are as many as may be on their way.
#[derive(Debug)]
pub(super) struct Batch {
    labels: Pinned,
    params: Pinned,
    scores: Pinned,
    /// `StepParams::overflowed` at the end.
    overflowed: Pinned,
    /// The pictures, until the GPU has read them.
    lent: Option<Pictures>,
    /// Rows that a softmax scored.
    pub(super) scored: usize,
    /// The pictures are on the GPU.
    pub(super) read: Event,
    /// The GPU begins to compute it.
    pub(super) began: Event,
    /// The way back begins.
    pub(super) turned: Event,
    /// All is done, and the scores are here.
    pub(super) done: Event,
}

impl Batch {
    pub(super) fn new(context: &Arc<Context>, rows: usize) -> Result<Self, DeviceError> {
        Ok(Self {
            labels: Pinned::new(context, rows * size_of::<u32>())?,
            params: Pinned::new(context, size_of::<StepParams>())?,
            scores: Pinned::new(context, rows * size_of::<RowScore>())?,
            overflowed: Pinned::new(context, size_of::<u32>())?,
            lent: None,
            scored: 0,
            read: Event::new(context)?,
            began: Event::timed(context)?,
            turned: Event::timed(context)?,
            done: Event::timed(context)?,
        })
    }

    /// Writes what the batch is computed with; the one before in this place must be done.
    pub(super) fn set(&mut self, labels: &[u32], params: StepParams) {
        let all: &mut [u32] = bytemuck::cast_slice_mut(&mut self.labels);
        let (given, rest) = all.split_at_mut(labels.len());
        given.copy_from_slice(labels);
        rest.fill(NO_CLASS);
        self.params.copy_from_slice(bytemuck::bytes_of(&params));
        self.overflowed.fill(0);
        self.scored = 0;
    }

    /// Holds the pictures that `copies` is about to have copied, until [`Batch::let_go`] finds `read` to have
    /// happened; for good, if it fails: nobody knows how much was asked for.
    pub(super) fn hold<T>(
        &mut self, pictures: &Pictures,
        copies: impl FnOnce(&Self, &[f32]) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        self.lent = Some(pictures.clone());
        let copied = copies(self, pictures.pixels());
        if copied.is_err() {
            std::mem::forget(self.lent.take());
        }
        copied
    }

    /// Lets go of the pictures if they have been read.
    pub(super) fn let_go(&mut self) -> Result<(), DriverError> {
        if self.lent.is_some() && self.read.happened()? {
            self.lent = None;
        }
        Ok(())
    }

    pub(super) fn labels(&self) -> &[u8] {
        &self.labels
    }

    pub(super) fn params(&self) -> &[u8] {
        &self.params
    }

    /// Where the scores of `rows` rows go.
    pub(super) fn scores_mut(&mut self, rows: usize) -> &mut [u8] {
        &mut self.scores[..rows * size_of::<RowScore>()]
    }

    /// Where it goes whether a gradient overflowed.
    pub(super) fn overflowed_mut(&mut self) -> &mut [u8] {
        &mut self.overflowed
    }

    /// What a batch that is done tells beside its score.
    pub(super) fn taken(&self) -> Taken {
        let overflowed = self.overflowed.iter().any(|byte| *byte != 0);
        Taken { seconds: self.seconds(), overflowed }
    }

    fn seconds(&self) -> Option<[f64; 2]> {
        let seconds = |ms: f32| f64::from(ms) * 1e-3;
        let there = self.turned.since_ms(&self.began).ok()?;
        let back = self.done.since_ms(&self.turned).ok()?;
        Some([seconds(there), seconds(back)])
    }

    /// The score of a batch that is done.
    pub(super) fn score(&self) -> Score {
        let rows: &[RowScore] = bytemuck::cast_slice(&self.scores);
        rows[..self.scored].iter().copied().collect()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // A GPU that was given up, or does not answer, may read them at any time.
        if let Some(pictures) = self.lent.take()
            && !self.read.waited_for()
        {
            std::mem::forget(pictures);
        }
    }
}

/// What a batch tells beside its score.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    /// Of the way there and of the way back.
    pub(super) seconds: Option<[f64; 2]>,
    /// A gradient did.
    pub(super) overflowed: bool,
}

/// The GPU's side, which one batch has at a time.
#[derive(Debug)]
pub(super) struct Feed {
    /// The pictures as the host wrote them.
    pub(super) pictures: Memory,
    /// The same by squares as large as the first layer's stride.
    pub(super) packed: Memory,
    pub(super) labels: Memory,
    pub(super) params: Memory,
    pub(super) scores: Memory,
    /// The pictures are packed: the next ones may come.
    pub(super) free: Event,
}

impl Feed {
    pub(super) fn new(
        context: &Arc<Context>, numbers: Numbers, demand: &Demand,
    ) -> Result<Self, DeviceError> {
        let bytes = FeedBytes::of(numbers, demand);
        Ok(Self {
            pictures: Memory::new(context, bytes.pictures)?,
            packed: Memory::new(context, bytes.packed)?,
            labels: Memory::new(context, bytes.labels)?,
            params: Memory::new(context, size_of::<StepParams>())?,
            scores: Memory::new(context, bytes.scores)?,
            free: Event::new(context)?,
        })
    }
}

/// What a [`Feed`] takes, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct FeedBytes {
    pictures: usize,
    packed: usize,
    labels: usize,
    scores: usize,
}

impl FeedBytes {
    pub(super) fn of(numbers: Numbers, demand: &Demand) -> Self {
        let first = demand.convs.first();
        Self {
            pictures: demand.batch * first.map_or(0, Conv::x_len) * size_of::<f32>(),
            packed: demand.batch * first.map_or(0, packed_x_len) * numbers.bytes(),
            labels: demand.batch * size_of::<u32>(),
            scores: demand.batch * size_of::<RowScore>(),
        }
    }

    pub(super) fn sum(self) -> usize {
        self.pictures + self.packed + self.labels + self.scores
    }
}

/// The largest batch of which no tensor has more numbers than kernels count in 32 bits.
pub(super) fn batch_max(demand: &Demand) -> usize {
    let convs = demand.convs.iter().map(|op| Conv::x_len(op).max(op.y_len()));
    let packed = demand.convs.first().map(packed_x_len);
    let linears = demand.linears.iter().map(|op| op.inputs.max(op.outputs));
    let finishes = demand.finishes.iter().map(Finish::y_len);
    let longest = convs.chain(packed).chain(linears).chain(finishes).max().unwrap_or(0);
    i32::MAX as usize / longest.max(1)
}
