//! The trainer actors: one thread per device, each with one part of the net.
//!
//! In come leases of a batch, lent to all towers at once; out come its score and where the time
//! went. A tower that fails poisons the exchange, so that all stop with the first error.

mod step;
mod watch;
pub mod core;
mod handed;
mod room;
mod needs;
mod actor;

use self::{
    actor::{Reply, Work, live},
    needs::{Planned, largest_batch},
};
pub use self::{
    core::Core,
    needs::Needs,
    room::Rows,
    step::{Outcome, Pass, StepError},
};
use crate::{
    config::Train,
    exchange::{Exchange, PARCELS_MAX, Poison},
    model::{Net, Part},
    weights::{self, Tensor},
};
use crossbeam_channel::{Receiver, Sender, bounded};
use gpu::device::{Device, DeviceError};
use pipeline::{
    feed::Feed,
    ring::{Memory, Ready},
    thread::Joined,
    trace::Trace,
};
use std::{
    io,
    iter::successors,
    time::{Duration, Instant},
};

/// Batches that towers hold: the one in work and the one that waits.
pub const BATCHES_IN_FLIGHT: usize = 1 + 1;

/// Why the towers stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TowerError {
    /// A device refused.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A device has no room for its part of the net.
    #[error("{device} has {} MiB free, and batch {batch} needs {needs} MiB{}", free_bytes >> 20, fits(*fitting))]
    NoRoom {
        /// The device's name.
        device: String,
        /// What is free of its memory.
        free_bytes: usize,
        /// The batch that is asked for.
        batch: usize,
        /// What its parts need, in MiB and by what.
        needs: String,
        /// The largest batch that fits.
        fitting: Option<usize>,
    },
    /// A device that said that it had room has none: others use it, or what is free lies in pieces.
    #[error(
        "{device} has no room for {} KiB more, {} MiB are free in all (CUDA_ERROR_OUT_OF_MEMORY), and batch {batch} \
         needs {needs} MiB{}",
        wanted_bytes.div_ceil(1 << 10), free_bytes >> 20, fits(*fitting)
    )]
    Full {
        /// The device's name.
        device: String,
        /// What it refused.
        wanted_bytes: usize,
        /// What was free of its memory then.
        free_bytes: usize,
        /// The batch that is asked for.
        batch: usize,
        /// What its parts need, in MiB and by what.
        needs: String,
        /// A batch that would have fitted.
        fitting: Option<usize>,
    },
    /// The operating system refused a thread.
    #[error("cannot start the thread of tower {tower}")]
    Thread {
        /// Which tower.
        tower: usize,
        /// Why.
        source: io::Error,
    },
    /// A tower failed; all have stopped.
    #[error("{first}")]
    Failed {
        /// The first error of any tower.
        first: String,
    },
}

/// The handle of one tower.
struct Tower<M> {
    mailbox: Sender<Work<M>>,
    replies: Receiver<Reply<M>>,
    _thread: Joined,
}

/// All towers of a net. Dropped, they finish what they have and are joined.
pub struct Towers<M: Memory> {
    actors: Vec<Tower<M>>,
    net: Net,
    poison: Poison,
    /// Dropped after the actors: freeing slots' memory waits for a GPU, however long that takes.
    kept: Vec<Feed<M>>,
}

impl<M: Memory> std::fmt::Debug for Towers<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Towers").field("devices", &self.actors.len()).finish_non_exhaustive()
    }
}

impl<M: Memory> Towers<M> {
    /// Starts one actor per device; together they carry `net`, its weights drawn from the seed.
    ///
    /// # Errors
    /// If a device or the operating system refuses.
    pub fn start<D: Device<Slot = M>>(
        devices: Vec<D>, net: &Net, train: &Train,
    ) -> Result<Self, TowerError> {
        Self::traced(devices, net, train, &Trace::off(), None)
    }

    /// The same; `trace` shows what each tower does when. A tower that waits for longer than `patience`,
    /// or than its device says, gives up and names what it waited for.
    ///
    /// # Errors
    /// If a device or the operating system refuses.
    pub fn traced<D: Device<Slot = M>>(
        devices: Vec<D>, net: &Net, train: &Train, trace: &Trace, patience: Option<Duration>,
    ) -> Result<Self, TowerError> {
        let patience = patience.unwrap_or(D::PATIENCE);
        let count = devices.len();
        let planned = plan(&devices, net, train.batch)?;
        let refused = |error| refused(error, &planned, train.batch);
        let core = |(index, device)| Core::new(device, net, index, count, train);
        let cores = devices.into_iter().enumerate().map(core).collect::<Result<Vec<_>, _>>();
        let mut cores = cores.map_err(refused)?;
        if trace.is_on() {
            cores.iter_mut().try_for_each(Core::watch)?;
        }
        let (exchanges, poison) = Exchange::between(count, patience, |from, to| {
            let (from, to): (&Core<D>, &Core<D>) = (&cores[from], &cores[to]);
            D::parcels(from.device(), to.device(), PARCELS_MAX, from.parcel_len())
        })
        .map_err(refused)?;
        let mut towers = Vec::new();
        for (index, (core, exchange)) in cores.into_iter().zip(exchanges).enumerate() {
            let (mailbox, work) = bounded(BATCHES_IN_FLIGHT);
            let (answer, replies) = bounded(BATCHES_IN_FLIGHT);
            let (poison, trace) = (poison.clone(), trace.clone());
            let body = move || live(index, core, exchange, &poison, &work, &answer, &trace);
            let thread = Joined::spawn(&format!("tower-{index}"), body)
                .map_err(|source| TowerError::Thread { tower: index, source })?;
            towers.push(Tower { mailbox, replies, _thread: thread });
        }
        Ok(Self { actors: towers, net: net.clone(), poison, kept: vec![] })
    }

    /// Keeps a feed, whose batches towers may still hold, until they are gone: for one that goes no further.
    pub fn outlive(&mut self, feed: Feed<M>) {
        self.kept.push(feed);
    }

    /// Hands a batch to every tower. At most [`BATCHES_IN_FLIGHT`] may wait for their outcome.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn submit(
        &mut self, batch: Ready<M>, pass: Pass, probabilities: bool,
    ) -> Result<(), TowerError> {
        for (tower, lease) in self.actors.iter().zip(batch.share(self.actors.len())) {
            self.send(tower, Work::Batch { lease, pass, probabilities })?;
        }
        Ok(())
    }

    /// Waits for the oldest submitted batch: its score, the mean of the towers' times, whether a gradient of any
    /// overflowed, and the probabilities `[valid, classes]` if they were asked for.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn outcome(&mut self) -> Result<(Outcome, Vec<f32>), TowerError> {
        let mut whole: Option<(Outcome, Vec<f32>)> = None;
        for tower in &self.actors {
            let Reply::Batch { outcome, probabilities } = self.receive(tower)? else {
                unreachable!("replies come in the order of the work")
            };
            match &mut whole {
                None => whole = Some((outcome, probabilities)), // the first adds up the logits
                Some((whole, _)) => {
                    whole.times.add(&outcome.times);
                    whole.overflowed |= outcome.overflowed;
                }
            }
        }
        let (mut outcome, probabilities) = whole.expect("at least one tower");
        outcome.times.scale(1.0 / self.actors.len() as f64);
        Ok((outcome, probabilities))
    }

    /// Memory for `count` batches of `bytes`, from the first tower's device.
    ///
    /// # Errors
    /// If the device has no room, or a tower has failed.
    pub fn slots(&mut self, count: usize, bytes: usize) -> Result<Vec<M>, TowerError> {
        let first = &self.actors[0];
        self.send(first, Work::Slots { count, bytes })?;
        match self.receive(first)? {
            Reply::Slots(slots) => Ok(slots?),
            _ => unreachable!("replies come in the order of the work"),
        }
    }

    /// What the user should hear of the devices, since the last call. No batch may be in flight.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn remarks(&mut self) -> Result<Vec<String>, TowerError> {
        let parts = self.ask_all(
            |_| Work::Remarks,
            |reply| match reply {
                Reply::Remarks(remarks) => remarks,
                _ => unreachable!("replies come in the order of the work"),
            },
        )?;
        Ok(parts.concat())
    }

    /// The whole net's weights and velocities. No batch may be in flight.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn tensors(&mut self) -> Result<Vec<Tensor>, TowerError> {
        let parts = self.ask_all(
            |_| Work::Rows,
            |reply| match reply {
                Reply::Rows(rows) => rows,
                _ => unreachable!("replies come in the order of the work"),
            },
        )?;
        Ok(weights::join(&self.net, parts))
    }

    /// Replaces weights and velocities. No batch may be in flight.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn set_tensors(&mut self, tensors: &[Tensor]) -> Result<(), TowerError> {
        let (devices, net) = (self.actors.len(), &self.net);
        let part = |index| Part::of_device(index, devices, net.towers);
        self.ask_all(|i| Work::SetRows(weights::split(net, part(i), tensors)), drop)?;
        Ok(())
    }

    /// Share of dead units per hidden layer after the last batch, mean over the towers.
    ///
    /// # Errors
    /// If a tower has failed.
    pub fn dead(&mut self) -> Result<Vec<(String, f64)>, TowerError> {
        let parts = self.ask_all(
            |_| Work::Dead,
            |reply| match reply {
                Reply::Dead(dead) => dead,
                _ => unreachable!("replies come in the order of the work"),
            },
        )?;
        let mut mean = parts[0].clone();
        for (i, (_, share)) in mean.iter_mut().enumerate() {
            *share = parts.iter().map(|part| part[i].1).sum::<f64>() / parts.len() as f64;
        }
        Ok(mean)
    }

    fn ask_all<T>(
        &self, work: impl Fn(usize) -> Work<M>, take: impl Fn(Reply<M>) -> T,
    ) -> Result<Vec<T>, TowerError> {
        for (i, tower) in self.actors.iter().enumerate() {
            self.send(tower, work(i))?;
        }
        self.actors.iter().map(|tower| self.receive(tower).map(&take)).collect()
    }

    fn send(&self, tower: &Tower<M>, work: Work<M>) -> Result<(), TowerError> {
        tower.mailbox.send(work).map_err(|_| self.failed())
    }

    fn receive(&self, tower: &Tower<M>) -> Result<Reply<M>, TowerError> {
        tower.replies.recv().map_err(|_| self.failed())
    }

    fn failed(&self) -> TowerError {
        let first = self.poison.first().unwrap_or("a tower left without a word").into();
        TowerError::Failed { first }
    }
}

/// Plans for what is free of the devices' memory; several parts may be on one device.
///
/// # Errors
/// If they do not fit.
fn plan<D: Device>(devices: &[D], net: &Net, batch: usize) -> Result<Vec<Planned>, TowerError> {
    let free: Vec<_> = devices.iter().map(Device::memory).collect();
    let count = free.len();
    let mut planned = vec![];
    for (device, free_bytes) in free.iter().flatten() {
        let here = |i: &usize| free[*i].as_ref().is_some_and(|(name, _)| name == device);
        let indices: Vec<usize> = (0..count).filter(here).collect();
        let of_batch = |batch| {
            let needs = indices.iter().map(|i| Needs::of(&devices[*i], net, *i, count, batch));
            needs.collect::<Vec<Needs>>()
        };
        let bytes = |needs: &[Needs]| needs.iter().map(Needs::sum).sum::<usize>();
        let needs = of_batch(batch);
        let words: Vec<_> = needs.iter().map(Needs::to_string).collect();
        let (device, free_bytes, needed) = (device.clone(), *free_bytes, bytes(&needs));
        let needs = words.join(" MiB, and ");
        if needed > free_bytes {
            let fitting = largest_batch(&devices[0], net, &indices, count, free_bytes, batch);
            return Err(TowerError::NoRoom { device, free_bytes, batch, needs, fitting });
        }
        let halves = successors(Some(batch / 2), |batch| Some(batch / 2));
        let halves = halves.take_while(|batch| *batch > 0);
        let halves = halves.map(|batch| (batch, bytes(&of_batch(batch)))).collect();
        planned.push(Planned { device, needs, halves });
    }
    Ok(planned)
}

/// The error of a device that had less room than it said.
fn refused(error: DeviceError, planned: &[Planned], batch: usize) -> TowerError {
    let DeviceError::OutOfMemory { device, wanted_bytes, counted: Some(counted) } = &error
    else {
        return error.into();
    };
    let Some(plan) = planned.iter().find(|plan| plan.device == *device) else {
        return error.into();
    };
    // What it had given until then, and less than what it refused.
    let had = counted.given_bytes + wanted_bytes.saturating_sub(1);
    TowerError::Full {
        device: device.clone(),
        wanted_bytes: *wanted_bytes,
        free_bytes: counted.free_bytes,
        batch,
        needs: plan.needs.clone(),
        fitting: plan.fitting(had),
    }
}

fn fits(batch: Option<usize>) -> String {
    batch.map_or("; no batch would fit".into(), |batch| format!("; batch {batch} would fit"))
}

/// A clock that returns the seconds since its last call, and records them by the name that it is given.
pub fn laps(trace: &Trace) -> impl FnMut(&'static str) -> f64 {
    let mut last = Instant::now();
    move |name| {
        trace.span(name, last);
        std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64()
    }
}

/// A clock that returns the seconds since its last call.
pub fn stopwatch() -> impl FnMut() -> f64 {
    let mut last = Instant::now();
    move || std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64()
}
