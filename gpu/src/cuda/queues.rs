//! The streams of a GPU and how they wait for one another.
//!
//! `copy` brings batches, `compute` runs the kernels, `out` and `inward` carry parcels. What is asked of
//! `compute` is counted, and marked by events now and then: so a copy into a buffer waits for its last
//! use, and not for all that was asked since.

use super::context::{Context, Event, Stream};
use crate::device::DeviceError;
use cudarc::driver::DriverError;
use std::{collections::VecDeque, sync::Arc};

/// Marks that are kept: more than parcels cross in a step, so that those of the step before are there.
const MARKS: usize = 64;

/// The streams of one GPU.
#[derive(Debug)]
pub(super) struct Queues {
    /// Batches from the host.
    pub(super) copy: Stream,
    /// The ops.
    pub(super) compute: Stream,
    /// Parcels to peers.
    pub(super) out: Stream,
    /// Parcels from peers.
    pub(super) inward: Stream,
    /// Ops asked of `compute`.
    ops: u64,
    /// Events behind the first so many ops, oldest first.
    marks: VecDeque<(u64, Event)>,
}

impl Queues {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, DeviceError> {
        Ok(Self {
            copy: Stream::new(context)?,
            compute: Stream::new(context)?,
            out: Stream::new(context)?,
            inward: Stream::new(context)?,
            ops: 0,
            marks: (0..MARKS)
                .map(|_| Ok((0, Event::new(context)?)))
                .collect::<Result<_, DeviceError>>()?,
        })
    }

    /// Counts an op that is about to be asked of `compute`.
    pub(super) fn count(&mut self) -> u64 {
        self.ops += 1;
        self.ops
    }

    /// Which mark stands behind the first `ops` ops; a new one if none does.
    fn mark(&mut self, ops: u64) -> Result<usize, DriverError> {
        let found = self.marks.partition_point(|(behind, _)| *behind < ops);
        if found < MARKS {
            return Ok(found);
        }
        let (_, event) = self.marks.pop_front().expect("there are some");
        self.compute.record(&event)?;
        self.marks.push_back((self.ops, event));
        Ok(MARKS - 1)
    }

    /// `out` goes on behind all that was asked of `compute` so far.
    pub(super) fn out_follows(&mut self) -> Result<(), DriverError> {
        let mark = self.mark(self.ops)?;
        self.out.wait(&self.marks[mark].1)
    }

    /// `inward` goes on behind the first `ops` ops of `compute`.
    pub(super) fn inward_follows(&mut self, ops: u64) -> Result<(), DriverError> {
        let mark = self.mark(ops)?;
        self.inward.wait(&self.marks[mark].1)
    }

    /// Waits until all that was asked has happened.
    pub(super) fn synchronize(&self) -> Result<(), DriverError> {
        [&self.copy, &self.compute, &self.out, &self.inward]
            .into_iter()
            .try_for_each(Stream::synchronize)
    }
}
