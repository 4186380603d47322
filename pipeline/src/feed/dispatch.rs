//! The dispatcher: which samples make up which batch, a task for a few of them.

use super::worker::{Job, Task};
use crate::{
    dataset::Split,
    order::Order,
    ring::{Memory, Ring},
    stats::Stage,
};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::{
    ops::Range,
    time::{Duration, Instant},
};

/// Which samples a batch takes: a pure function of the batch's number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plan {
    Train { order: Order, per_epoch: u64 },
    Evaluate { split: Split, len: u64 },
}

impl Plan {
    pub(super) fn split(self) -> Split {
        match self {
            Self::Train { .. } => Split::Train,
            Self::Evaluate { split, .. } => split,
        }
    }

    /// Whether crops are drawn by chance, and bad samples are a matter of policy.
    pub(super) fn trains(self) -> bool {
        matches!(self, Self::Train { .. })
    }

    /// The epoch of batch `number`, and how many samples it has.
    pub(super) fn extent(self, number: u64, batch: usize) -> (u64, usize) {
        match self {
            Self::Train { per_epoch, .. } => (number / per_epoch, batch),
            Self::Evaluate { len, .. } => {
                (0, (len - number * batch as u64).min(batch as u64) as usize)
            }
        }
    }

    /// The sample at `index` of batch `number`.
    pub(super) fn sample(self, number: u64, batch: usize, index: usize) -> u64 {
        match self {
            Self::Train { order, per_epoch } => {
                let position = number % per_epoch * batch as u64 + index as u64;
                order.at(number / per_epoch, position)
            }
            Self::Evaluate { .. } => number * batch as u64 + index as u64,
        }
    }
}

/// Most samples in a task. To hand a task over takes 10 us where a thread must be woken for it; a
/// raw picture takes 27 us.
const RUN_MAX: usize = 16;

/// Samples in a task: so few that every worker gets several of each batch, and none waits long at
/// its end.
pub(super) fn run_len(batch: usize, workers: usize) -> usize {
    (batch / (4 * workers)).clamp(1, RUN_MAX)
}

/// Until the last step, or until nobody waits for it.
pub(super) fn run<M: Memory>(
    job: &Job, steps: Range<u64>, ring: &Ring<M>, tasks: &Sender<Task<M>>,
    aborted: &Receiver<()>,
) {
    let Job { plan, config, .. } = job;
    let (size, split) = (config.batch, plan.split());
    let run = run_len(size, config.workers);
    let sample_bytes = job.augment.sample_bytes();
    let trace = &config.trace;
    for number in steps {
        let began = Instant::now();
        let Some(mut filling) = ring.acquire(aborted) else { return };
        job.counters.empty(Stage::Dispatch, began.elapsed());
        trace.span("wait for a slot", began);
        trace.queue("free slots", ring.free());
        let (began, mut waited) = (Instant::now(), Duration::ZERO);
        let (epoch, valid) = plan.extent(number, size);
        let batch = filling.batch_mut();
        (batch.epoch, batch.step, batch.valid) = (epoch, number, valid);
        batch.ids.fill(0);
        batch.labels.fill(0);
        for index in 0..valid {
            let sample = plan.sample(number, size, index);
            batch.ids[index] = sample;
            batch.labels[index] = job.source.label(split, sample);
        }
        filling.zero_from(valid, sample_bytes);
        let mut cells = filling.into_cells(sample_bytes);
        while let Some(cells) = cells.split(run) {
            let task = Task { cells, number };
            let Err(TrySendError::Full(task)) = tasks.try_send(task) else { continue };
            let full = Instant::now();
            if tasks.send(task).is_err() {
                return; // all workers have left: one of them has said why
            }
            waited += full.elapsed();
        }
        job.counters.full(Stage::Dispatch, waited);
        job.counters.busy(Stage::Dispatch, began.elapsed().saturating_sub(waited));
        trace.span("dispatch", began);
    }
}
