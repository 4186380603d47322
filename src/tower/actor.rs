//! The thread of a tower: takes work from its mailbox and answers in the same order.
//!
//! A device that works on its own is asked for the next batch while the one before is computed, so
//! that its pictures travel meanwhile; it holds the lease itself until it has read them.

use super::{
    core::{Core, PAUSE},
    laps,
    room::Rows,
    step::{Outcome, Pass, StepError},
};
use crate::exchange::{Exchange, Poison, Times, panic_text};
use crossbeam_channel::{Receiver, Sender};
use gpu::device::{Device, DeviceError, Pictures, Span};
use pipeline::{ring::InUse, trace::Trace};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Instant,
};

/// What a tower is asked. Batches may follow one another; all else is asked when none is in flight.
pub(super) enum Work<M> {
    Batch { lease: InUse<M>, pass: Pass, probabilities: bool },
    Slots { count: usize, bytes: usize },
    SetRows(Vec<Rows>),
    Rows,
    Dead,
    Remarks,
}

/// What it answers.
pub(super) enum Reply<M> {
    Batch { outcome: Outcome, probabilities: Vec<f32> },
    Slots(Result<Vec<M>, DeviceError>),
    RowsSet,
    Rows(Vec<Rows>),
    Dead(Vec<(String, f64)>),
    Remarks(Vec<String>),
}

/// The thread of a tower. Its exchange ends are dropped after the poison is set, so that whoever
/// meets the closed channel finds the reason.
pub(super) fn live<D: Device>(
    index: usize, mut core: Core<D>, mut exchange: Exchange<D::Parcel>, poison: &Poison,
    work: &Receiver<Work<D::Slot>>, replies: &Sender<Reply<D::Slot>>, trace: &Trace,
) {
    let served = core.home().run(|| {
        catch_unwind(AssertUnwindSafe(|| {
            Server {
                started: VecDeque::with_capacity(1 + D::AHEAD),
                core: &mut core,
                exchange: &mut exchange,
                work,
                replies,
                trace,
            }
            .serve()
        }))
    });
    if !matches!(served, Ok(Ok(()))) {
        core.give_up();
    }
    match served {
        // Batches that nobody waits for any more still use parcels.
        Ok(Ok(())) => core.settle(exchange.patience()),
        Ok(Err(error)) => poison.set(error.to_string()),
        Err(panic) => {
            poison.set(format!("a bug in tower {index}: {}", panic_text(panic.as_ref())));
        }
    }
    drop(exchange);
    // What waits will not be computed: its leases go home now, not with the handle.
    work.try_iter().for_each(drop);
}

/// A batch that the device was asked for.
struct Started {
    valid: usize,
    probabilities: bool,
    times: Times,
}

struct Server<'a, D: Device> {
    /// Oldest first.
    started: VecDeque<Started>,
    core: &'a mut Core<D>,
    exchange: &'a mut Exchange<D::Parcel>,
    work: &'a Receiver<Work<D::Slot>>,
    replies: &'a Sender<Reply<D::Slot>>,
    trace: &'a Trace,
}

impl<D: Device> Server<'_, D> {
    /// Until nobody asks or listens any more.
    fn serve(&mut self) -> Result<(), StepError> {
        let mut idle_since = Instant::now();
        loop {
            let Ok(work) = self.work.recv() else { return Ok(()) };
            let reply = match work {
                Work::Batch { lease, pass, probabilities } => {
                    let waited = idle_since.elapsed().as_secs_f64();
                    self.trace.span("wait for a batch", idle_since);
                    self.start(&lease, pass, probabilities, waited)?;
                    drop(lease);
                    if !self.finish_all()? {
                        return Ok(());
                    }
                    idle_since = Instant::now();
                    continue;
                }
                Work::Slots { count, bytes } => {
                    Reply::Slots((0..count).map(|_| self.core.slot(bytes)).collect())
                }
                Work::SetRows(rows) => {
                    self.core.set_rows(&rows);
                    Reply::RowsSet
                }
                Work::Rows => Reply::Rows(self.core.rows()),
                Work::Dead => Reply::Dead(self.core.dead()),
                Work::Remarks => Reply::Remarks(self.core.remarks()),
            };
            // What was asked of the device may have failed: then the answer is none.
            self.core.progress()?;
            if self.replies.send(reply).is_err() {
                return Ok(()); // nobody waits for it: the handle is being dropped
            }
            idle_since = Instant::now();
        }
    }

    fn start(
        &mut self, lease: &InUse<D::Slot>, pass: Pass, probabilities: bool, waited: f64,
    ) -> Result<(), StepError> {
        let batch = lease.batch();
        let (valid, labels) = (batch.valid, &batch.labels[..batch.valid]);
        let (pictures, lap) = (Pictures::new(lease.shared()), &mut laps(self.trace));
        let mut times = self.core.start(pass, &pictures, labels, self.exchange, lap)?;
        times.data = waited;
        self.started.push_back(Started { valid, probabilities, times });
        Ok(())
    }

    /// Waits for all batches that were started, and meanwhile starts those that come, as far ahead as
    /// the device goes. Returns whether anybody listens.
    fn finish_all(&mut self) -> Result<bool, StepError> {
        let mut since = Instant::now();
        loop {
            let progress = self.core.progress()?;
            let first = self.core.started() - self.started.len() as u64;
            if progress.done > first {
                if !self.finish() {
                    return Ok(false);
                }
                since = Instant::now();
                if self.started.is_empty() {
                    return Ok(true);
                }
                continue;
            }
            if since.elapsed() >= self.exchange.patience() {
                return Err(self.core.stuck(self.exchange.tower(), since.elapsed()));
            }
            // The next batch overwrites what probabilities are read from.
            let more = self.started.len() <= D::AHEAD
                && self.started.iter().all(|batch| !batch.probabilities)
                && self.core.may_start();
            match more.then(|| self.work.recv_timeout(PAUSE)) {
                Some(Ok(Work::Batch { lease, pass, probabilities })) => {
                    self.start(&lease, pass, probabilities, 0.0)?;
                }
                Some(Ok(_)) => unreachable!("all but batches is asked when none is in flight"),
                Some(Err(error)) if error.is_timeout() => {}
                _ => thread::sleep(PAUSE),
            }
        }
    }

    /// Answers for the oldest batch, which is done. Returns whether anybody listens.
    fn finish(&mut self) -> bool {
        let Started { valid, probabilities, mut times, .. } =
            self.started.pop_front().expect("a batch that is done");
        let score = self.core.score();
        self.core.seconds(&mut times);
        let (trace, tower) = (self.trace, self.exchange.tower());
        self.core.spans(&mut |span: Span| {
            trace.lane(
                &format!("tower-{tower} {}", span.stream),
                span.name,
                span.began,
                span.took,
            );
        });
        let outcome = Outcome { score, times, overflowed: self.core.overflowed() };
        let probabilities = if probabilities { self.core.probabilities(valid) } else { vec![] };
        self.replies.send(Reply::Batch { outcome, probabilities }).is_ok()
    }
}
