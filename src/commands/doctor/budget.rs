//! How long `alexnet doctor` takes at most.

use std::time::{Duration, Instant};

/// A clock that began with the command, and when it is to end.
#[derive(Debug)]
pub(super) struct Budget {
    started: Instant,
    limit: Duration,
}

impl Budget {
    pub(super) fn of_seconds(seconds: u64) -> Self {
        Self { started: Instant::now(), limit: Duration::from_secs(seconds) }
    }

    /// All of it.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn spent(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether a share of it is left.
    pub(super) fn has(&self, share: f64) -> bool {
        self.spent() < self.limit.mul_f64(1.0 - share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_shrinks_to_nothing() {
        let budget = |spent| {
            let started = Instant::now().checked_sub(Duration::from_secs(spent));
            let started = started.expect("the machine has run for a while");
            Budget { started, limit: Duration::from_secs(10) }
        };
        assert!(budget(1).has(0.5) && budget(1).has(0.0));
        assert!(!budget(6).has(0.5) && budget(6).has(0.3));
        assert!(!budget(11).has(0.0));
    }
}
