//! What the conductor tells the supervisor, and the one thing it is told: to stop.

use crate::exchange::Times;
use gpu::ops::softmax::Score;
use pipeline::stats::Snapshot;
use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::mpsc;

/// Events under way: some seconds of steps, so that a slow terminal does not slow the towers.
const EVENTS_MAX: usize = 256;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A training step was done.
    Step(Box<StepReport>),
    /// A validation goes on.
    Validating {
        /// Images scored.
        done: u64,
        /// Images in all.
        total: u64,
    },
    /// A validation was done.
    Validation {
        /// Steps done.
        step: u64,
        /// Which pass over the training set, from 1.
        epoch: u64,
        /// What it scored.
        score: Score,
    },
    /// A checkpoint was written.
    Checkpoint {
        /// Steps done.
        step: u64,
        /// The file.
        path: PathBuf,
    },
    /// Something worth a line.
    Note(String),
    /// Something to look at.
    Warning(String),
}

/// One training step.
#[derive(Debug, Clone, Copy)]
pub struct StepReport {
    /// Steps done.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// Which pass over the training set, from 0.
    pub epoch: u64,
    /// The batch's score.
    pub score: Score,
    /// Where the towers' time went, in seconds.
    pub times: Times,
    /// By the clock, since the step before.
    pub seconds: f64,
    /// What the pipeline did meanwhile.
    pub pipeline: Snapshot,
}

/// The conductor's end.
#[derive(Debug, Clone)]
pub struct Events(mpsc::Sender<Event>);

/// The supervisor's end.
pub type Heard = mpsc::Receiver<Event>;

impl Events {
    /// A bounded channel.
    pub fn channel() -> (Self, Heard) {
        let (sender, heard) = mpsc::channel(EVENTS_MAX);
        (Self(sender), heard)
    }

    /// Waits for room. If nobody listens any more, the event is lost: it was for the eye only.
    pub fn send(&self, event: Event) {
        let _ = self.0.blocking_send(event);
    }

    /// Sends each as a [`Event::Note`].
    pub fn notes(&self, texts: Vec<String>) {
        texts.into_iter().for_each(|text| self.send(Event::Note(text)));
    }
}

/// Asks the conductor to finish its step, checkpoint and end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed); // a flag of its own: it orders nothing else
    }

    /// Whether it was asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
