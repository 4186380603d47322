//! A folder of shards, as `prepack build` writes it.

use super::{Encoded, OpenError, SampleError, Source};
use crate::{
    dataset::{Class, Dataset, ShardInfo, Split, Statistics},
    shard::Shard,
};
use std::path::{Path, PathBuf};

/// The shards of a folder, mapped.
#[derive(Debug)]
pub struct Shards {
    dir: PathBuf,
    dataset: Dataset,
    splits: [Part; Split::COUNT],
}

/// The shards of one split, of any number of records each.
#[derive(Debug, Default)]
struct Part {
    shards: Vec<Shard>,
    /// The index of each shard's first record, and one past the last.
    firsts: Vec<u64>,
    /// Per class, its records in order.
    by_class: Vec<Vec<u32>>,
}

impl Shards {
    /// Maps all shards and holds them against `dataset.json`.
    ///
    /// # Errors
    /// If one is missing, damaged, newer, or not the one that was written.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let dataset = Dataset::load(dir)?;
        if let [only] = dataset.classes.as_slice() {
            return Err(OpenError::OneClass { path: dir.into(), class: only.wnid.clone() });
        }
        let mut splits = <[Part; Split::COUNT]>::default();
        for split in Split::ALL {
            splits[split as usize] = Part::open(dir, &dataset, split)?;
        }
        if splits[0].len() == 0 {
            return Err(OpenError::Empty { path: dir.into(), split: Split::Train });
        }
        Ok(Self { dir: dir.into(), dataset, splits })
    }

    /// What `dataset.json` says.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The shards of a split, in order.
    pub fn shards(&self, split: Split) -> &[Shard] {
        &self.splits[split as usize].shards
    }

    /// The records of a class in a split, in order.
    ///
    /// # Panics
    /// If there is no such class.
    pub fn of_class(&self, split: Split, label: u32) -> &[u32] {
        &self.part(split).by_class[label as usize]
    }

    fn part(&self, split: Split) -> &Part {
        &self.splits[split as usize]
    }
}

/// Holds a shard against what `dataset.json` says of it.
///
/// # Errors
/// If it is another one.
pub(crate) fn agrees(
    shard: &Shard, wanted: &ShardInfo, dataset: &Dataset,
) -> Result<(), OpenError> {
    let index = |crc32: u32, records: u32| format!("{crc32:08x} of {records} records");
    let (found, expected) = (shard.encoding().name(), dataset.encoding.name());
    let said = [
        ("the encoding", found.to_owned(), expected.to_owned()),
        ("the size", shard.size().to_string(), dataset.size.to_string()),
        (
            "the checksum",
            index(shard.crc32(), shard.len()),
            index(wanted.crc32, wanted.records),
        ),
    ];
    match said.into_iter().find(|(_, found, expected)| found != expected) {
        Some((what, found, expected)) => {
            Err(OpenError::Mismatch { path: shard.path().into(), what, found, expected })
        }
        None => Ok(()),
    }
}

impl Part {
    fn open(dir: &Path, dataset: &Dataset, split: Split) -> Result<Self, OpenError> {
        let mut part = Self { firsts: vec![0], ..Self::default() };
        part.by_class.resize(dataset.classes.len(), vec![]);
        let Some(info) = dataset.split(split) else { return Ok(part) };
        for wanted in &info.shards {
            let shard = Shard::open(&dir.join(&wanted.file))?;
            agrees(&shard, wanted, dataset)?;
            let first = *part.firsts.last().expect("never empty");
            for record in 0..shard.len() {
                let label = shard.label(record);
                let Some(class) = part.by_class.get_mut(label as usize) else {
                    let (path, classes) = (shard.path().into(), dataset.classes.len());
                    return Err(OpenError::Label { path, record, label, classes });
                };
                class.push(first as u32 + record);
            }
            part.firsts.push(first + u64::from(shard.len()));
            part.shards.push(shard);
        }
        let found = part.by_class.iter().map(Vec::len);
        let wrong = found.zip(&info.per_class).position(|(found, said)| found as u64 != *said);
        if let Some(label) = wrong {
            let (path, what) = (dir.to_path_buf(), "the number of images of a class");
            let of = |count: u64| format!("{count} of {}", dataset.classes[label].wnid);
            let found = of(part.by_class[label].len() as u64);
            let expected = of(info.per_class[label]);
            return Err(OpenError::Mismatch { path, what, found, expected });
        }
        Ok(part)
    }

    fn len(&self) -> u64 {
        *self.firsts.last().expect("never empty")
    }

    fn at(&self, index: u64) -> (&Shard, u32) {
        let shard = self.firsts.partition_point(|first| *first <= index) - 1;
        (&self.shards[shard], (index - self.firsts[shard]) as u32)
    }
}

impl Source for Shards {
    fn size(&self) -> usize {
        self.dataset.size
    }

    fn classes(&self) -> &[Class] {
        &self.dataset.classes
    }

    fn statistics(&self) -> &Statistics {
        &self.dataset.statistics
    }

    fn len(&self, split: Split) -> u64 {
        self.part(split).len()
    }

    fn label(&self, split: Split, index: u64) -> u32 {
        let (shard, record) = self.part(split).at(index);
        shard.label(record)
    }

    fn read<'a>(
        &'a self, split: Split, index: u64, _scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError> {
        let (shard, record) = self.part(split).at(index);
        Ok(Encoded { encoding: self.dataset.encoding, bytes: shard.record(record)?.bytes })
    }

    fn next_of_class(&self, split: Split, index: u64) -> Option<u64> {
        super::next_in(&self.part(split).by_class[self.label(split, index) as usize], index)
    }

    fn place(&self, split: Split, index: u64) -> String {
        let (shard, record) = self.part(split).at(index);
        format!("{}: record {record} at byte {}", shard.path().display(), shard.offset(record))
    }

    fn filter(&self) -> &str {
        &self.dataset.filter
    }

    fn describe(&self) -> String {
        let shards = self.splits.iter().map(|part| part.shards.len()).sum::<usize>();
        format!(
            "{}: {shards} shard{} ({}, {} px), {} images; {}",
            self.dir.display(),
            if shards == 1 { "" } else { "s" },
            self.dataset.encoding.name(),
            self.dataset.size,
            super::counts(Split::ALL.map(|split| self.len(split))),
            super::in_order(&self.dataset.classes),
        )
    }
}
