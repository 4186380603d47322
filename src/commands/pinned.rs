//! What a run's batches need of pinned memory, and what the system lets a process pin.

use crate::{config::Config, tower::BATCHES_IN_FLIGHT};
use gpu::cuda::pin_limit_bytes;
use pipeline::{
    augment::Element,
    feed::{Feed, slot_bytes},
};
use serde::Serialize;
use std::fmt;

/// The ring's need, and the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct PinnedLine {
    /// Of all slots.
    needed_bytes: u64,
    /// `ulimit -l`; nothing where there is no limit.
    limit_bytes: Option<u64>,
}

impl PinnedLine {
    /// Whether a driver that keeps to the limit would refuse it.
    pub(super) fn exceeds(&self) -> bool {
        self.limit_bytes.is_some_and(|limit| limit < self.needed_bytes)
    }

    /// For the batches of `config`.
    pub(super) fn of(config: &Config) -> Self {
        let slot = slot_bytes(config.train.batch, config.data.crop, Element::F32);
        let slots = Feed::<gpu::cpu::Slot>::slots(BATCHES_IN_FLIGHT);
        Self { needed_bytes: (slots * slot) as u64, limit_bytes: pin_limit_bytes() }
    }
}

impl fmt::Display for PinnedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        write!(f, "a run's batches need {} MiB, ", mib(self.needed_bytes))?;
        match self.limit_bytes {
            None => write!(f, "and `ulimit -l` sets no limit"),
            Some(limit) if limit >= self.needed_bytes => {
                write!(f, "and `ulimit -l` allows {} MiB", mib(limit))
            }
            Some(limit) => write!(
                f,
                "and `ulimit -l` allows {} MiB: where the driver keeps to that, they lie in pageable memory, which is \
                 copied more slowly; raise it with `ulimit -l unlimited`, or `--ulimit memlock=-1` of a container",
                mib(limit)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_the_need_says_what_to_do() {
        let with = |limit_bytes| PinnedLine { needed_bytes: 400 << 20, limit_bytes };
        assert_eq!(
            [None, Some(400 << 20), Some(8)].map(|limit| with(limit).exceeds()),
            [false, false, true]
        );
        let line = |limit_bytes| with(limit_bytes).to_string();
        assert_eq!(line(None), "a run's batches need 400 MiB, and `ulimit -l` sets no limit");
        assert!(line(Some(512 << 20)).ends_with("allows 512 MiB"));
        assert!(line(Some(8 << 20)).contains("allows 8 MiB: where the driver keeps to that"));
    }
}
