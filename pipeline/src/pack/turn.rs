//! Whose turn it is, for those who must not get ahead.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Between two looks. Whoever waits has worked for far longer.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The number of the piece that is taken next.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicUsize);

impl Turn {
    /// Waits until it is the turn of piece `index`, or nobody takes any more.
    pub(super) fn wait(&self, index: usize) {
        while self.0.load(Ordering::Acquire) < index {
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Hands the turns out; when it is dropped, nobody waits any more.
    pub(super) fn hand_out(&self) -> Turns<'_> {
        Turns(self)
    }
}

/// Who says whose turn it is.
#[derive(Debug)]
pub(super) struct Turns<'a>(&'a Turn);

impl Turns<'_> {
    /// It is the turn of piece `index`.
    pub(super) fn now(&self, index: usize) {
        self.0.0.store(index, Ordering::Release);
    }
}

impl Drop for Turns<'_> {
    fn drop(&mut self) {
        self.now(usize::MAX);
    }
}
