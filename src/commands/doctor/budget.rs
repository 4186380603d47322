//! How long `alexnet doctor` takes at most.

use gpu::cuda::Setup;
use std::time::{Duration, Instant};

/// That a GPU is waited for, however little time there is.
const LEAST: Duration = Duration::from_secs(5);

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

    /// What is left, but for a GPU that is slow and sound some seconds at least.
    pub(super) fn left(&self) -> Duration {
        self.limit.saturating_sub(self.spent()).max(LEAST)
    }

    /// As the environment says; a GPU that says nothing is given up when there is no time left.
    pub(super) fn setup(&self) -> Setup {
        let environment = Setup::of_environment();
        Setup { patience: environment.patience.min(self.left()), ..environment }
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
        assert_eq!(budget(11).left(), LEAST);
        assert!(budget(1).left() > Duration::from_secs(8));
    }
}
