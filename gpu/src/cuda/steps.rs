//! Batches on a GPU: how one begins and ends, and how far all are.

use super::{
    batch::Batch,
    board::{ARRIVALS, BATCHES, Cuda},
    launch::{Ptr, StepParams},
    memory::some_lie_pageable,
    numbers::Numbers,
};
use crate::{
    device::{Demand, DeviceError, Pictures, Progress, Step},
    ops::{conv::Conv, softmax::Score},
};
use cudarc::driver::{DriverError, result};
use std::sync::Arc;

impl Cuda {
    /// Whether a copy of pictures keeps nobody waiting: the driver may do so until the room for pageable ones is
    /// free, which a GPU that hangs would never let it be.
    pub(super) fn may_copy_pictures(&mut self) -> bool {
        if !some_lie_pageable() || self.has_failed() {
            return true;
        }
        self.bind();
        self.flush();
        // An error is the next look's to tell.
        self.rooms.as_ref().is_none_or(|rooms| rooms.feed.free.happened().unwrap_or(true))
    }

    /// Has the batch's pictures and labels copied; returns by what convolution the pictures are to be
    /// packed, and how many.
    pub(super) fn begin_batch(
        &mut self, pictures: &Pictures, labels: &[u32], step: Step,
    ) -> Option<(Conv, usize)> {
        let under_way = self.begun - self.progress.done;
        assert!(under_way < BATCHES as u64, "{under_way} batches are under way");
        self.bind();
        self.flush();
        if self.has_failed() {
            return None;
        }
        let rooms = self.rooms.as_mut().expect("reserved before the first batch");
        let counted = labels.iter().filter(|label| (**label as usize) < rooms.classes).count();
        let params = StepParams::new(step.rate, step.step, counted).scaled(step.scale);
        let batch = &mut rooms.batches[self.begun as usize % BATCHES];
        batch.set(labels, params);
        let (feed, queues, timeline) = (&rooms.feed, &self.queues, &mut self.timeline);
        let copied = batch.hold(pictures, |batch, pixels| {
            let bytes: &[u8] = bytemuck::cast_slice(pixels);
            assert_eq!(bytes.len(), feed.pictures.bytes(), "pictures of another size");
            let (copy, compute) = (&queues.copy, &queues.compute);
            copy.wait(&feed.free)?;
            let to = feed.pictures.ptr().0;
            // SAFETY: the batch holds the pictures, and so the slot, until `read` has happened or for good;
            // the memory is as long.
            let copies = || unsafe { result::memcpy_htod_async(to, bytes, copy.handle()) };
            match timeline {
                Some(timeline) => timeline.span("copy", copy, "pictures", copies)?,
                None => copies()?,
            }
            copy.record(&batch.read)?;
            // SAFETY: the batch's own memory is written again when the batch is done only.
            unsafe {
                result::memcpy_htod_async(feed.labels.ptr().0, batch.labels(), compute.handle())
            }?;
            // SAFETY: as above.
            unsafe {
                result::memcpy_htod_async(feed.params.ptr().0, batch.params(), compute.handle())
            }?;
            compute.wait(&batch.read)?;
            compute.record(&batch.began)
        });
        let first = rooms.first.map(|op| (op, rooms.rows));
        self.keep("copying a batch", copied).and(first)
    }

    /// The pictures are packed behind all that was asked: others may come.
    pub(super) fn free_pictures(&mut self) {
        self.flush();
        let free = &self.rooms.as_ref().expect("reserved").feed.free;
        let recorded = self.queues.compute.record(free);
        self.keep("freeing the pictures", recorded);
    }

    /// The way back begins.
    pub(super) fn turn_back(&mut self) {
        self.flush();
        let rooms = self.rooms.as_ref().expect("reserved before the first batch");
        let batch = &rooms.batches[self.begun as usize % BATCHES];
        let turned = self.queues.compute.record(&batch.turned);
        self.keep("turning back", turned);
    }

    /// The softmax has scored `rows` rows.
    pub(super) fn scores_of(&mut self, rows: usize) {
        let rooms = self.rooms.as_mut().expect("reserved");
        rooms.batches[self.begun as usize % BATCHES].scored = rows;
    }

    pub(super) fn end_batch(&mut self) {
        self.flush();
        let rooms = self.rooms.as_mut().expect("reserved before the first batch");
        let batch = &mut rooms.batches[self.begun as usize % BATCHES];
        self.begun += 1;
        if self.failed.is_some() {
            return;
        }
        let (rows, feed, compute) = (batch.scored, &rooms.feed, &self.queues.compute);
        let copied = |to: &mut [u8], from: Ptr| {
            // SAFETY: scores and flag, below, are as long here and there, and the batch is read when it is done
            // only.
            unsafe { result::memcpy_dtoh_async(to, from.0, compute.handle()) }
        };
        let scored = match rows {
            0 => Ok(()),
            rows => copied(batch.scores_mut(rows), feed.scores.ptr()),
        };
        let told = scored.and_then(|()| match self.numbers {
            Numbers::F16 => {
                copied(batch.overflowed_mut(), StepParams::overflowed_at(feed.params.ptr()))
            }
            Numbers::F32 | Numbers::Bf16 | Numbers::Tf32 => Ok(()),
        });
        let done = told.and_then(|()| compute.record(&batch.done));
        self.keep("ending a batch", done);
    }

    pub(super) fn look(&mut self) -> Result<Progress, DeviceError> {
        if let Some(error) = self.failed.take() {
            self.context.give_up();
            return Err(error);
        }
        let looked = self.count_events();
        let context = Arc::clone(&self.context);
        looked.map_err(|error| {
            context.give_up();
            let failed = context.check("computing", Err::<(), _>(error));
            failed.expect_err("an error")
        })
    }

    fn count_events(&mut self) -> Result<Progress, DriverError> {
        let Some(rooms) = &mut self.rooms else { return Ok(self.progress) };
        let progress = &mut self.progress;
        let batch = |number: u64| &rooms.batches[number as usize % BATCHES];
        // In this order: of a batch that is done, all else is seen to have happened, too.
        while progress.done < self.begun && batch(progress.done).done.happened()? {
            progress.done += 1;
        }
        while progress.unpacked < self.unpacked
            && self.arrivals[progress.unpacked as usize % ARRIVALS].happened()?
        {
            progress.unpacked += 1;
        }
        rooms.batches.iter_mut().try_for_each(Batch::let_go)?;
        Ok(*progress)
    }

    pub(super) fn take_score(&mut self) -> Score {
        let batch = &self.rooms().batches[self.scored as usize % BATCHES];
        let (score, taken) = (batch.score(), batch.taken());
        self.taken = taken;
        self.scored += 1;
        score
    }
}

/// Bytes that the ops need, one after the other.
pub(super) fn workspace_bytes(numbers: Numbers, demand: &Demand) -> usize {
    use crate::ops::{conv, finish, linear};
    let n = demand.batch;
    let convs = demand.convs.iter().map(|op| conv::cuda::workspace_bytes(numbers, op, n));
    let linears = demand.linears.iter().map(|op| {
        let bias = linear::cuda::bias_workspace_bytes(n, op.outputs, 1);
        linear::cuda::workspace_bytes(numbers, op, n).max(bias)
    });
    let finishes = demand.finishes.iter().map(|op| finish::cuda::workspace_bytes(op, n));
    convs.chain(linears).chain(finishes).max().unwrap_or(0)
}
