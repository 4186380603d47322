//! What each stage does and what it waits for, counted where it happens and added up when asked.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The stages of a sample, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Shard or file to bytes.
    Read,
    /// Bytes to RGB.
    Decode,
    /// RGB to the stored square.
    Resize,
    /// Square to the slot.
    Augment,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Read, Self::Decode, Self::Resize, Self::Augment];

    /// One word for the progress line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Resize => "resize",
            Self::Augment => "augment",
        }
    }
}

/// Counters shared by the actors of a feed. Relaxed: they order nothing and are read for the eye.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    items: [AtomicU64; 4],
    busy_ns: [AtomicU64; 4],
    waiting_empty_ns: AtomicU64,
    waiting_full_ns: AtomicU64,
    waiting_consumer_ns: AtomicU64,
    corrupt: AtomicU64,
}

impl Counters {
    pub(crate) fn stage(&self, stage: Stage, busy: Duration) {
        self.items[stage as usize].fetch_add(1, Ordering::Relaxed);
        add(&self.busy_ns[stage as usize], busy);
    }

    /// A worker had nothing to do.
    pub(crate) fn empty(&self, waited: Duration) {
        add(&self.waiting_empty_ns, waited);
    }

    /// The dispatcher had no free slot: the consumer is the slower one.
    pub(crate) fn full(&self, waited: Duration) {
        add(&self.waiting_full_ns, waited);
    }

    /// The consumer waited for a batch.
    pub(crate) fn consumer(&self, waited: Duration) {
        add(&self.waiting_consumer_ns, waited);
    }

    /// Counts a corrupt sample; returns how many there were before.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let read = |counters: &[AtomicU64; 4]| {
            std::array::from_fn(|i| counters[i].load(Ordering::Relaxed))
        };
        let busy_us = read(&self.busy_ns).map(|ns: u64| ns / 1000);
        Snapshot {
            items: read(&self.items),
            busy_us,
            waiting_empty_us: self.waiting_empty_ns.load(Ordering::Relaxed) / 1000,
            waiting_full_us: self.waiting_full_ns.load(Ordering::Relaxed) / 1000,
            waiting_consumer_us: self.waiting_consumer_ns.load(Ordering::Relaxed) / 1000,
            corrupt: self.corrupt.load(Ordering::Relaxed),
        }
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
}

/// The counters at one moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Samples through each stage, in the order of [`Stage::ALL`].
    pub items: [u64; 4],
    /// Time the workers spent in each stage, microseconds, all workers together.
    pub busy_us: [u64; 4],
    /// Time workers waited for work, microseconds, all workers together.
    pub waiting_empty_us: u64,
    /// Time the dispatcher waited for a free slot, microseconds.
    pub waiting_full_us: u64,
    /// Time the consumer waited for a batch, microseconds.
    pub waiting_consumer_us: u64,
    /// Corrupt samples met.
    pub corrupt: u64,
}

impl Snapshot {
    /// What happened between `earlier` and this.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, u64::saturating_sub)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// The stage that took the workers' time.
    pub fn busiest(&self) -> &'static str {
        let busiest = Stage::ALL.into_iter().max_by_key(|stage| self.busy_us[*stage as usize]);
        busiest.map_or("data", Stage::name)
    }

    fn with(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            items: std::array::from_fn(|i| f(self.items[i], other.items[i])),
            busy_us: std::array::from_fn(|i| f(self.busy_us[i], other.busy_us[i])),
            waiting_empty_us: f(self.waiting_empty_us, other.waiting_empty_us),
            waiting_full_us: f(self.waiting_full_us, other.waiting_full_us),
            waiting_consumer_us: f(self.waiting_consumer_us, other.waiting_consumer_us),
            corrupt: f(self.corrupt, other.corrupt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stage_of_an_interval_is_named() {
        let counters = Counters::default();
        counters.stage(Stage::Read, Duration::from_millis(9));
        let before = counters.snapshot();
        counters.stage(Stage::Decode, Duration::from_millis(2));
        counters.stage(Stage::Read, Duration::from_millis(1));
        let between = counters.snapshot().since(&before);
        assert_eq!(between.items, [1, 1, 0, 0]);
        assert_eq!(between.busiest(), "decode");
        assert_eq!(between.plus(&before), counters.snapshot());
    }
}
