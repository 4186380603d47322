//! What has been packed so far: the journal of a build under way, which goes on from it after any
//! interruption, and what a part of a data set says of itself. Two lines: JSON, and the CRC-32 of
//! the first.

use super::{PackError, plan::Part};
use crate::{
    dataset::{
        Class, Dataset, DatasetError, Duplicate, Encoding, FORMAT, MANIFEST, ShardInfo,
        Skipped, Split, SplitInfo,
    },
    shard::Shard,
    statistics::Accumulator,
    thread,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

/// A shard that is whole, and what was left out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packed {
    pub(super) split: Split,
    pub(super) shard: ShardInfo,
    pub(super) skipped: Vec<Skipped>,
    pub(super) duplicates: Vec<Duplicate>,
    /// Files of each class that are among the skipped.
    pub(super) lost: BTreeMap<u32, u64>,
}

/// The shards of a build or a part, in order, with the sums over their training pictures: whole
/// numbers, so that those of the parts add up to those of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// Of source and settings.
    pub(super) fingerprint: String,
    pub(super) part: Part,
    pub(super) size: usize,
    pub(super) encoding: Encoding,
    pub(super) filter: String,
    pub(super) quality: Option<u8>,
    pub(super) classes: Vec<Class>,
    pub(super) ilsvrc_ids: Vec<u32>,
    pub(super) train_expected: Vec<u64>,
    /// Pictures of the source by split and class.
    pub(super) listed: Vec<Vec<u64>>,
    pub(super) notes: Vec<String>,
    /// Shards of all parts together.
    pub(super) shards_of_all: usize,
    pub(super) shards: Vec<Packed>,
    pub(super) sums: Accumulator,
}

impl Manifest {
    /// Reads the manifest in `dir`.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub(super) fn load(dir: &Path) -> Result<Self, PackError> {
        let path = dir.join(MANIFEST);
        let text = fs::read_to_string(&path)
            .map_err(|source| PackError::Read { path: path.clone(), source })?;
        let damaged = |reason: String| PackError::Manifest { path: path.clone(), reason };
        let (json, check) = text.trim_end().split_once('\n').unwrap_or_default();
        let found = format!("{:08x}", crc32fast::hash(json.as_bytes()));
        if found != check {
            return Err(damaged(format!("checksum {found}, expected {check}")));
        }
        let manifest: Self =
            serde_json::from_str(json).map_err(|error| damaged(error.to_string()))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// Whether it holds together: another machine's may be anyone's.
    fn check(&self) -> Result<(), String> {
        let (part, shards, classes) = (self.part, self.shards.len(), self.classes.len());
        let counts = |counts: &[u64]| counts.iter().try_fold(0_u64, |a, b| a.checked_add(*b));
        let is_sound = part.is_one()
            && shards <= part.range(self.shards_of_all).len()
            && self.sums.is_of(self.size)
            && self.listed.len() == Split::COUNT
            && self.listed.iter().all(|all| all.len() == classes && counts(all).is_some())
            && self
                .shards
                .iter()
                .flat_map(|packed| packed.lost.keys())
                .all(|label| (*label as usize) < classes);
        if !is_sound {
            return Err("it does not hold together".into());
        }
        self.shards.iter().try_for_each(|packed| packed.shard.check())
    }

    /// Writes it in `dir`, in one step, and syncs it.
    ///
    /// # Errors
    /// If the file system refuses.
    pub(super) fn store(&self, dir: &Path) -> Result<(), PackError> {
        let path = dir.join(MANIFEST);
        let beside = dir.join("manifest.partial");
        let json = serde_json::to_string(self).expect("names and numbers");
        let text = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
        fs::write(&beside, text)
            .and_then(|()| File::open(&beside)?.sync_all())
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| DatasetError::Write { path, source }.into())
    }

    /// Whether all shards of the part are there.
    pub(super) fn is_whole(&self) -> bool {
        self.shards.len() == self.part.range(self.shards_of_all).len()
    }

    /// Reads all records of its shards with `jobs` threads and holds them against their checksums.
    ///
    /// # Errors
    /// If a shard is missing, damaged, or not the one that was written.
    pub(super) fn verify(&self, dir: &Path, jobs: usize) -> Result<(), PackError> {
        let checked = thread::map(jobs, self.shards.len(), |i| {
            let shard = self.shards[i].open(dir)?;
            (0..shard.len()).try_for_each(|record| shard.record(record).map(drop))?;
            Ok(())
        });
        checked.into_iter().collect()
    }

    /// The data set that its shards in `dir` make.
    ///
    /// # Errors
    /// If a shard cannot be opened, or a split has lost all of its pictures.
    pub(super) fn dataset(&self, dir: &Path) -> Result<Dataset, PackError> {
        let mut splits = Vec::new();
        for split in Split::ALL {
            let listed: u64 = self.listed[split as usize].iter().sum();
            if listed == 0 {
                continue;
            }
            let mut info = SplitInfo {
                split,
                records: 0,
                per_class: vec![0; self.classes.len()],
                shards: vec![],
                skipped: vec![],
                duplicates: vec![],
            };
            for packed in self.shards.iter().filter(|packed| packed.split == split) {
                let shard = packed.open(dir)?;
                for label in (0..shard.len()).map(|record| shard.label(record)) {
                    let count = info.per_class.get_mut(label as usize);
                    *count.ok_or_else(|| packed.is_another(dir))? += 1;
                }
                info.records += u64::from(shard.len());
                info.shards.push(packed.shard.clone());
                info.skipped.extend(packed.skipped.iter().cloned());
                info.duplicates.extend(packed.duplicates.iter().cloned());
            }
            if info.records == 0 {
                return Err(PackError::NothingLeft { split, files: listed as usize });
            }
            splits.push(info);
        }
        Ok(Dataset {
            format: FORMAT,
            size: self.size,
            encoding: self.encoding,
            filter: self.filter.clone(),
            quality: self.quality,
            classes: self.classes.clone(),
            ilsvrc_ids: self.ilsvrc_ids.clone(),
            splits,
            statistics: self.sums.finish(),
        })
    }
}

impl Packed {
    /// Opens its shard and holds it against what was written.
    fn open(&self, dir: &Path) -> Result<Shard, PackError> {
        let path: PathBuf = dir.join(&self.shard.file);
        let shard = Shard::open(&path)?;
        if shard.crc32() != self.shard.crc32 || shard.len() != self.shard.records {
            return Err(self.is_another(dir));
        }
        Ok(shard)
    }

    fn is_another(&self, dir: &Path) -> PackError {
        let error = "it is another shard than that which was written";
        PackError::Read { path: dir.join(&self.shard.file), source: io::Error::other(error) }
    }
}
