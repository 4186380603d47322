//! When the learning rate drops: on a validation plateau, or after given epochs (section 5).

use crate::config::Train;
use serde::{Deserialize, Serialize};

/// The state of the schedule, kept in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Epochs that have been validated, or ended where there is nothing to validate on.
    pub epochs_done: u64,
    /// Drops by the plateau rule.
    pub drops: u32,
    /// Epochs since the best error or the last drop.
    pub waited: u64,
    /// The lowest validation error, 0 to 1.
    pub best_error: Option<f64>,
}

impl Schedule {
    /// The learning rate now.
    pub fn rate(&self, train: &Train) -> f32 {
        let drops = if train.drop_epochs.is_empty() {
            self.drops
        } else {
            train.drop_epochs.iter().filter(|epoch| **epoch <= self.epochs_done).count() as u32
        };
        // In double precision, so that 0.01 / 10 is the float nearest to 0.001.
        (train.rate / train.drop.powi(drops as i32)) as f32
    }

    /// Ends an epoch with its validation error, where there is one. Returns whether it is the best.
    pub fn end_epoch(&mut self, train: &Train, error: Option<f64>) -> bool {
        self.epochs_done += 1;
        let Some(error) = error else { return false };
        let best = self.best_error.is_none_or(|best| error < best);
        if best {
            self.best_error = Some(error);
            self.waited = 0;
        } else {
            self.waited += 1;
            if self.waited >= train.patience && self.drops < train.drops_max {
                self.drops += 1;
                self.waited = 0;
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn train(drop_epochs: &[u64]) -> Train {
        let mut train = Config::load("two-tower-2012", None).expect("a preset").train;
        train.drop_epochs = drop_epochs.to_vec();
        train.patience = 2;
        train
    }

    #[test]
    fn a_plateau_drops_the_rate_at_most_three_times() {
        let (train, mut schedule) = (train(&[]), Schedule::default());
        assert!(schedule.end_epoch(&train, Some(0.5)));
        let mut rates = vec![];
        for _ in 0..10 {
            schedule.end_epoch(&train, Some(0.5));
            rates.push((schedule.rate(&train) * 1e6).round());
        }
        assert_eq!(rates[..6], [10000.0, 1000.0, 1000.0, 100.0, 100.0, 10.0]);
        assert_eq!(rates[9], 10.0);
    }

    #[test]
    fn given_epochs_replace_the_plateau_rule() {
        let (train, mut schedule) = (train(&[2, 3]), Schedule::default());
        let mut rates = vec![];
        for _ in 0..4 {
            rates.push((schedule.rate(&train) * 1e6).round());
            schedule.end_epoch(&train, Some(0.5));
        }
        assert_eq!(rates, [10000.0, 10000.0, 1000.0, 100.0]);
    }
}
