//! Reads every record of a packed set and holds it against its checksum; goes on after whatever is
//! wrong, so that one look tells all.

use super::Progress;
use crate::{
    dataset::{Dataset, Encoding, SplitInfo},
    shard::{Shard, ShardError},
    source::{self, OpenError},
};
use std::{error::Error, fmt::Write as _, path::Path};

/// What was read, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Shards read.
    pub shards: u64,
    /// Records read.
    pub records: u64,
    /// One line for each thing that is wrong.
    pub problems: Vec<String>,
}

/// Verifies a folder of shards, or one shard; `progress` hears of every record.
///
/// # Errors
/// If there is no such folder or file, or `dataset.json` cannot be used; what is wrong with shards
/// and records is listed in the report.
pub fn verify(
    path: &Path, progress: &(dyn Fn(Progress) + Sync),
) -> Result<VerifyReport, OpenError> {
    let mut reader = Reader { report: VerifyReport::default(), total: 0, progress };
    if path.is_file() {
        match Shard::open(path) {
            Err(error @ ShardError::Open { .. }) => return Err(error.into()),
            Err(error) => reader.problem(&error),
            Ok(shard) => {
                reader.total = shard.len().into();
                reader.read(&shard);
            }
        }
    } else if path.is_dir() {
        let dataset = Dataset::load(path)?;
        reader.total = dataset.splits.iter().map(|info| info.records).sum();
        dataset.splits.iter().for_each(|info| reader.split(path, &dataset, info));
    } else {
        return Err(OpenError::Missing { path: path.into() });
    }
    Ok(reader.report)
}

struct Reader<'a> {
    report: VerifyReport,
    total: u64,
    progress: &'a (dyn Fn(Progress) + Sync),
}

impl Reader<'_> {
    fn split(&mut self, dir: &Path, dataset: &Dataset, info: &SplitInfo) {
        let classes = dataset.classes.len();
        let (mut counts, mut all) = (vec![0; classes], true);
        for wanted in &info.shards {
            let opened = Shard::open(&dir.join(&wanted.file)).map_err(OpenError::from);
            let shard = match opened {
                Ok(shard) => shard,
                Err(error) => {
                    self.problem(&error);
                    all = false;
                    continue;
                }
            };
            if let Err(error) = source::agrees(&shard, wanted, dataset) {
                self.problem(&error);
            }
            self.read(&shard);
            for record in 0..shard.len() {
                let label = shard.label(record);
                if let Some(count) = counts.get_mut(label as usize) {
                    *count += 1;
                } else {
                    let path = shard.path().into();
                    self.problem(&OpenError::Label { path, record, label, classes });
                }
            }
        }
        // With a shard missing, the counts would only repeat that.
        for (class, (found, wanted)) in counts.iter().zip(&info.per_class).enumerate() {
            if all && found != wanted {
                let (split, name) = (info.split, &dataset.classes[class].wnid);
                let says =
                    format!("{split}: class {name} has {found} records, expected {wanted}");
                self.report.problems.push(says);
            }
        }
    }

    fn read(&mut self, shard: &Shard) {
        self.report.shards += 1;
        let expected = shard.size() * shard.size() * 3;
        for record in 0..shard.len() {
            match shard.record(record) {
                Err(error) => self.problem(&error),
                Ok(found) if shard.encoding() == Encoding::Raw => {
                    let found = found.bytes.len();
                    if found != expected {
                        let (path, offset) = (shard.path().display(), shard.offset(record));
                        self.report.problems.push(format!(
                            "{path}: record {record} at byte {offset}: {found} bytes, expected \
                             {expected}",
                        ));
                    }
                }
                Ok(_) => {}
            }
            self.report.records += 1;
            (self.progress)(Progress { done: self.report.records, total: self.total });
        }
    }

    /// An error and its causes, in one line.
    fn problem(&mut self, error: &dyn Error) {
        let mut line = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let _ = write!(line, ": {error}"); // writing to a String cannot fail
            cause = error.source();
        }
        self.report.problems.push(line);
    }
}
