//! A buffer of the device trait, and what is known of who uses it.

use super::{context::Event, launch::Ptr, memory::Memory};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// Floats on a GPU: activations `[n, h, w, c]`, weights `[k, r, s, c]`.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    /// The last op that uses it.
    used: Cell<u64>,
    /// It is being copied to a peer until then.
    leaving: RefCell<Option<Arc<Event>>>,
}

impl Buffer {
    pub(super) fn new(memory: Memory) -> Self {
        Self { memory, used: Cell::new(0), leaving: RefCell::new(None) }
    }

    /// Floats that it holds.
    pub(super) fn len(&self) -> usize {
        self.memory.bytes() / size_of::<f32>()
    }

    pub(super) fn ptr(&self) -> Ptr {
        self.memory.ptr()
    }

    /// The last op that uses it.
    pub(super) fn used(&self) -> u64 {
        self.used.get()
    }

    /// Its address for op `op`, which uses it.
    pub(super) fn read_by(&self, op: u64) -> Ptr {
        self.used.set(op);
        self.ptr()
    }

    /// It is read until `event`.
    pub(super) fn leaves_until(&self, event: Arc<Event>) {
        self.leaving.replace(Some(event));
    }

    /// What a writer has to wait for, once.
    pub(super) fn take_leaving(&self) -> Option<Arc<Event>> {
        self.leaving.take()
    }
}
