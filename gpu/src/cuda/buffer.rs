//! A buffer of the device trait, and what is known of who uses it.

use super::{context::Event, launch::Ptr, memory::Memory, numbers::Numbers};
use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

/// Numbers on a GPU: activations `[n, h, w, c]`, weights `[k, r, s, c]`.
#[derive(Debug)]
pub struct Buffer {
    memory: Memory,
    numbers: Numbers,
    /// What products read, where they do not read `memory`.
    copy: Option<Memory>,
    /// `memory` was written since.
    stale: Cell<bool>,
    /// The last op that uses it.
    used: Cell<u64>,
    /// It is being copied to a peer until then.
    leaving: RefCell<Option<Arc<Event>>>,
}

impl Buffer {
    pub(super) fn new(memory: Memory, numbers: Numbers, copy: Option<Memory>) -> Self {
        let (stale, used) = (Cell::new(false), Cell::new(0));
        Self { memory, numbers, copy, stale, used, leaving: RefCell::new(None) }
    }

    /// Numbers that it holds.
    pub(super) fn len(&self) -> usize {
        self.memory.bytes() / self.numbers.bytes()
    }

    /// What they are.
    pub(super) fn numbers(&self) -> Numbers {
        self.numbers
    }

    pub(super) fn ptr(&self) -> Ptr {
        self.memory.ptr()
    }

    /// What products read, where they do not read the numbers themselves.
    pub(super) fn copy(&self) -> Option<Ptr> {
        self.copy.as_ref().map(Memory::ptr)
    }

    /// The numbers are written, and the copy is not.
    pub(super) fn outdate_copy(&self) {
        self.stale.set(true);
    }

    /// Whether the copy has to be made again, by who asks.
    pub(super) fn take_stale(&self) -> bool {
        self.stale.take()
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
