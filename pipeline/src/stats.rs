//! What each stage does and what it waits for, counted where it happens and added up when asked.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The stages of a batch, in order. A worker takes a sample from [`Read`](Self::Read) to
/// [`Augment`](Self::Augment) in one go: between these nothing waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A free slot to a task for each of its samples. Its items are batches.
    Dispatch,
    /// Shard or file to bytes.
    Read,
    /// Bytes to RGB.
    Decode,
    /// RGB to the stored square.
    Resize,
    /// Square to the slot.
    Augment,
    /// Whole batches to the consumer, in the order of the steps. Its items are batches.
    Deliver,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 6] =
        [Self::Dispatch, Self::Read, Self::Decode, Self::Resize, Self::Augment, Self::Deliver];
    /// Those that workers do to every sample.
    pub const WORK: [Self; 4] = [Self::Read, Self::Decode, Self::Resize, Self::Augment];

    /// One word for the progress line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Read => "read",
            Self::Decode => "decode",
            Self::Resize => "resize",
            Self::Augment => "augment",
            Self::Deliver => "deliver",
        }
    }
}

/// What one stage did and waited for, all its threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageStats {
    /// Samples, or batches, that went through.
    pub items: u64,
    /// At work.
    pub busy_us: u64,
    /// With nothing to do: the stage before is the slower one. For the dispatcher that is the consumer,
    /// which has all slots.
    pub waiting_empty_us: u64,
    /// With nowhere to put what is done: the stage behind is the slower one.
    pub waiting_full_us: u64,
}

impl StageStats {
    fn with(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            items: f(self.items, other.items),
            busy_us: f(self.busy_us, other.busy_us),
            waiting_empty_us: f(self.waiting_empty_us, other.waiting_empty_us),
            waiting_full_us: f(self.waiting_full_us, other.waiting_full_us),
        }
    }
}

/// Of one stage; relaxed: they order nothing and are read for the eye.
#[derive(Debug, Default)]
struct StageCounters {
    items: AtomicU64,
    busy_ns: AtomicU64,
    waiting_empty_ns: AtomicU64,
    waiting_full_ns: AtomicU64,
}

/// Counters shared by the actors of a feed.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    stages: [StageCounters; Stage::ALL.len()],
    corrupt: AtomicU64,
}

impl Counters {
    /// An item went through.
    pub(crate) fn busy(&self, stage: Stage, busy: Duration) {
        let counters = &self.stages[stage as usize];
        counters.items.fetch_add(1, Ordering::Relaxed);
        add(&counters.busy_ns, busy);
    }

    /// There was nothing to do.
    pub(crate) fn empty(&self, stage: Stage, waited: Duration) {
        add(&self.stages[stage as usize].waiting_empty_ns, waited);
    }

    /// There was no room for what was done.
    pub(crate) fn full(&self, stage: Stage, waited: Duration) {
        add(&self.stages[stage as usize].waiting_full_ns, waited);
    }

    /// Counts a corrupt sample; returns how many there were before.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let us = |counter: &AtomicU64| counter.load(Ordering::Relaxed) / 1000;
        let stages = std::array::from_fn(|i| StageStats {
            items: self.stages[i].items.load(Ordering::Relaxed),
            busy_us: us(&self.stages[i].busy_ns),
            waiting_empty_us: us(&self.stages[i].waiting_empty_ns),
            waiting_full_us: us(&self.stages[i].waiting_full_ns),
        });
        Snapshot { stages, corrupt: self.corrupt.load(Ordering::Relaxed) }
    }
}

fn add(counter: &AtomicU64, time: Duration) {
    counter.fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
}

/// The counters at one moment, or between two.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// In the order of [`Stage::ALL`]; serialized, by name.
    #[serde(with = "by_name")]
    stages: [StageStats; Stage::ALL.len()],
    /// Corrupt samples met.
    pub corrupt: u64,
}

impl Snapshot {
    /// Of one stage.
    pub fn stage(&self, stage: Stage) -> StageStats {
        self.stages[stage as usize]
    }

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
    pub fn busiest(&self) -> Stage {
        let busiest = Stage::WORK.into_iter().max_by_key(|stage| self.stage(*stage).busy_us);
        busiest.expect("there are stages")
    }

    fn with(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            stages: std::array::from_fn(|i| self.stages[i].with(other.stages[i], &f)),
            corrupt: f(self.corrupt, other.corrupt),
        }
    }
}

mod by_name {
    use super::{BTreeMap, Deserialize, Serialize, Stage, StageStats};
    use serde::{Deserializer, Serializer, de::Error as _};

    type Stages = [StageStats; Stage::ALL.len()];

    pub(super) fn serialize<S: Serializer>(stages: &Stages, to: S) -> Result<S::Ok, S::Error> {
        let named = Stage::ALL.map(|stage| (stage.name(), stages[stage as usize]));
        BTreeMap::from(named).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Stages, D::Error> {
        let mut named = BTreeMap::<String, StageStats>::deserialize(from)?;
        let mut stages = Stages::default();
        for stage in Stage::ALL {
            let stats = named.remove(stage.name());
            stages[stage as usize] =
                stats.ok_or_else(|| D::Error::missing_field(stage.name()))?;
        }
        match named.keys().next() {
            None => Ok(stages),
            Some(name) => Err(D::Error::custom(format!("no stage is called {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stage_of_an_interval_is_named() {
        let counters = Counters::default();
        counters.busy(Stage::Read, Duration::from_millis(9));
        let before = counters.snapshot();
        counters.busy(Stage::Decode, Duration::from_millis(2));
        counters.busy(Stage::Read, Duration::from_millis(1));
        counters.busy(Stage::Dispatch, Duration::from_millis(8));
        counters.full(Stage::Dispatch, Duration::from_millis(3));
        let between = counters.snapshot().since(&before);
        let read = StageStats { items: 1, busy_us: 1000, ..StageStats::default() };
        assert_eq!(between.stage(Stage::Read), read);
        assert_eq!(between.stage(Stage::Dispatch).waiting_full_us, 3000);
        assert_eq!(between.busiest(), Stage::Decode);
        assert_eq!(between.plus(&before), counters.snapshot());
        let text = serde_json::to_string(&between).expect("plain values");
        assert!(text.contains(r#""dispatch":{"items":1,"busy_us":8000,"#), "{text}");
        assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("its own text"), between);
    }
}
