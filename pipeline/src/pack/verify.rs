//! Reads every record of a packed set and holds it against its checksum.

use crate::{
    dataset::{Encoding, Split},
    shard::Shard,
    source::{OpenError, Shards},
};
use std::path::Path;

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

/// Verifies a folder of shards, or one shard.
///
/// # Errors
/// If the folder or the shard cannot be opened at all; damaged records are listed in the report.
pub fn verify(path: &Path) -> Result<VerifyReport, OpenError> {
    let mut report = VerifyReport::default();
    if path.is_file() {
        report.read(&Shard::open(path)?);
        return Ok(report);
    }
    if !path.is_dir() {
        return Err(OpenError::Missing { path: path.into() });
    }
    let set = Shards::open(path)?;
    for split in Split::ALL {
        for shard in set.shards(split) {
            report.read(shard);
        }
        let Some(info) = set.dataset().split(split) else { continue };
        let mut counts = vec![0; info.per_class.len()];
        for shard in set.shards(split) {
            (0..shard.len()).for_each(|record| counts[shard.label(record) as usize] += 1);
        }
        for (class, (found, wanted)) in counts.iter().zip(&info.per_class).enumerate() {
            if found != wanted {
                let name = &set.dataset().classes[class].wnid;
                let says =
                    format!("{split}: class {name} has {found} records, expected {wanted}");
                report.problems.push(says);
            }
        }
    }
    Ok(report)
}

impl VerifyReport {
    fn read(&mut self, shard: &Shard) {
        self.shards += 1;
        for record in 0..shard.len() {
            self.records += 1;
            match shard.record(record) {
                Err(error) => self.problems.push(error.to_string()),
                Ok(found) => {
                    let expected = shard.size() * shard.size() * 3;
                    if shard.encoding() == Encoding::Raw && found.bytes.len() != expected {
                        self.problems.push(format!(
                            "{}: record {record} at byte {}: {} bytes, expected {expected}",
                            shard.path().display(),
                            shard.offset(record),
                            found.bytes.len()
                        ));
                    }
                }
            }
        }
    }
}
