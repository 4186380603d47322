//! How many bytes of finished work wait for their turn: whoever would go over the limit waits, but
//! for the one whose turn it is.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    /// Whose turn it is.
    next: usize,
    /// Nobody takes any more.
    over: bool,
}

/// The bytes that wait, of at most `max`, and besides the piece whose turn it is.
#[derive(Debug)]
pub(super) struct Held {
    state: Mutex<State>,
    changed: Condvar,
    max: u64,
}

impl Held {
    pub(super) fn new(max: u64) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), max }
    }

    /// Waits until the `bytes` of piece `index` may be handed over.
    pub(super) fn enter(&self, index: usize, bytes: u64) {
        let waits = |state: &mut State| {
            !state.over && index > state.next && state.bytes + bytes > self.max
        };
        let state = self.changed.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).bytes += bytes;
    }

    /// The `bytes` of piece `index` were taken; it is the next one's turn.
    pub(super) fn leave(&self, index: usize, bytes: u64) {
        let mut state = self.lock();
        state.bytes -= bytes;
        state.next = index + 1;
        self.changed.notify_all();
    }

    /// Lets everybody go, when it is dropped.
    pub(super) fn until_dropped(&self) -> impl Drop + '_ {
        struct Over<'a>(&'a Held);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.lock().over = true;
                self.0.changed.notify_all();
            }
        }
        Over(self)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
