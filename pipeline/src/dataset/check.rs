//! Whether a `dataset.json` holds together: it may have been written by anyone.

use super::{Dataset, SIZE_MAX, ShardInfo, SplitInfo, Statistics};
use std::{collections::HashSet, path::Path};

/// A variance may be that far below zero by rounding, squared grey levels.
const VARIANCE_MIN: f64 = -1e-6;

impl Dataset {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.size == 0 || self.size > SIZE_MAX {
            return Err(format!("pictures of {} px, expected 1 to {SIZE_MAX}", self.size));
        }
        let mut seen = HashSet::new();
        if let Some(class) = self.classes.iter().find(|class| !seen.insert(&class.wnid)) {
            return Err(format!("class {} is there twice", class.wnid));
        }
        if !self.ilsvrc_ids.is_empty() && self.ilsvrc_ids.len() != self.classes.len() {
            return Err(format!("ids of {} classes", self.ilsvrc_ids.len()));
        }
        if !self.splits.is_sorted_by(|a, b| a.split < b.split) {
            return Err("the splits are not each there once, in order".into());
        }
        self.splits.iter().try_for_each(|info| info.check(self.classes.len()))?;
        self.statistics.check(self.size)
    }
}

impl SplitInfo {
    fn check(&self, classes: usize) -> Result<(), String> {
        let records = self.shards.iter().map(|shard| u64::from(shard.records)).sum::<u64>();
        let by_class =
            self.per_class.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count));
        if records != self.records || by_class != Some(records) {
            return Err(format!("{}: the shards hold {records} records", self.split));
        }
        if self.per_class.len() != classes {
            return Err(format!("{}: counts of {} classes", self.split, self.per_class.len()));
        }
        self.shards.iter().try_for_each(ShardInfo::check)
    }
}

impl ShardInfo {
    /// Whether its file is one of the folder itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        let name = Path::new(&self.file).file_name();
        if name.is_some_and(|name| name == self.file.as_str()) {
            return Ok(());
        }
        Err(format!("{:?} is no name of a shard in the same folder", self.file))
    }
}

impl Statistics {
    fn check(&self, size: usize) -> Result<(), String> {
        let (found, wanted) = (self.mean.len(), 3 * size * size);
        if found != wanted {
            return Err(format!("a mean image of {found} values, expected {wanted}"));
        }
        if let Some(level) = self.mean.iter().find(|level| !(0.0..=255.0).contains(*level)) {
            return Err(format!("a mean of {level}, expected 0 to 255"));
        }
        let is_variance = |x: &f64| x.is_finite() && *x >= VARIANCE_MIN;
        let Some(variance) = self.eigenvalues.iter().find(|x| !is_variance(x)) else {
            let rest = self.eigenvectors.iter().chain(&self.covariance).flatten();
            let finite = rest.into_iter().all(|x| x.is_finite());
            return if finite { Ok(()) } else { Err("statistics that are no numbers".into()) };
        };
        Err(format!("an eigenvalue of {variance}, and they are variances"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::dataset;
    use super::*;
    use crate::dataset::Split;

    #[test]
    fn what_does_not_hold_together_is_refused() {
        type Change = fn(&mut Dataset);
        let changes: [(Change, &str); 9] = [
            (|set| set.classes[1].wnid = "n1".into(), "class n1 is there twice"),
            (|set| set.splits.push(set.splits[0].clone()), "not each there once"),
            (|set| set.splits[0].per_class = vec![u64::MAX, 4], "hold 3 records"),
            (|set| set.splits[0].shards[0].file = "../a.shard".into(), "no name of a shard"),
            (|set| set.splits[0].shards[0].file = "/a.shard".into(), "no name of a shard"),
            (|set| set.splits[0].shards[0].file = "..".into(), "no name of a shard"),
            (|set| set.statistics.mean[3] = 1e38, "a mean of 1"),
            (|set| set.statistics.eigenvalues[2] = -1.0, "an eigenvalue of -1"),
            (|set| set.statistics.eigenvectors[1][1] = f64::NAN, "no numbers"),
        ];
        dataset().check().expect("sound");
        assert_eq!(dataset().splits[0].split, Split::Train);
        for (change, says) in changes {
            let mut set = dataset();
            change(&mut set);
            let error = set.check().expect_err(says);
            assert!(error.contains(says), "{error}");
        }
    }
}
