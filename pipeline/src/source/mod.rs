//! Where samples come from: a folder of shards, or pictures in any of the layouts that ILSVRC comes
//! in, which nobody unpacks. In goes (split, index), out come the bytes of one sample and its label.

mod read_at;
mod archive;
mod mat;
mod devkit;
mod truth;
mod tree;
mod ilsvrc;
mod kaggle;
mod synsets;
mod checksums;
mod layout;
mod lister;
mod listing;
mod listed;
mod shards;
#[cfg(test)]
pub(crate) mod testing;

use crate::{
    dataset::{self, Class, DatasetError, Encoding, Split, Statistics},
    decode::DecodeError,
    resize::FILTER,
    shard::ShardError,
};
use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use archive::{ArchiveError, Fault};
pub(crate) use checksums::hex;
pub use checksums::{Checked, verify_source};
pub use listed::{Listed, STATISTICS_MAX};
pub use listing::{FILE_BYTES_MAX, Layout, ListConfig, Listing};
pub use mat::MatError;
pub use shards::Shards;
pub(crate) use shards::agrees;

/// The bytes of one sample.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'a> {
    /// What they are.
    pub encoding: Encoding,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// A data set that can be read at any place in O(1), from any thread.
pub trait Source: Send + Sync + Debug {
    /// Side of a stored picture, pixels.
    fn size(&self) -> usize;
    /// The classes, in the order of the labels.
    fn classes(&self) -> &[Class];
    /// Of the training pixels.
    fn statistics(&self) -> &Statistics;
    /// Samples of a split.
    fn len(&self, split: Split) -> u64;
    /// The class of a sample.
    fn label(&self, split: Split, index: u64) -> u32;
    /// The bytes of a sample, lent from a map or read into `scratch`.
    ///
    /// # Errors
    /// If they cannot be read, or are not those that were written.
    fn read<'a>(
        &'a self, split: Split, index: u64, scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError>;
    /// The next sample of the same class, by index, from the start again after the last. `None` if
    /// there is no other.
    fn next_of_class(&self, split: Split, index: u64) -> Option<u64> {
        let (len, label) = (self.len(split), self.label(split, index));
        (1..len).map(|step| (index + step) % len).find(|i| self.label(split, *i) == label)
    }
    /// Where a sample stands, for messages.
    fn place(&self, split: Split, index: u64) -> String;
    /// How its pictures come to their stored size.
    fn filter(&self) -> &str {
        FILTER
    }
    /// One line: what was found.
    fn describe(&self) -> String;
}

/// A sample that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SampleError {
    #[error("cannot read {place}")]
    Read { place: String, source: io::Error },
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error("{place}: {source}")]
    Decode { place: String, source: DecodeError },
}

/// A folder that is no data set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum OpenError {
    #[error("{}: there is no such folder", path.display())]
    Missing { path: PathBuf },
    #[error("{}: a file, and not the folder of a data set", path.display())]
    NotAFolder { path: PathBuf },
    #[error(
        "{}: neither {} nor a folder `train` nor an archive of training images is in it",
        path.display(), dataset::FILE
    )]
    NotData { path: PathBuf },
    #[error("{}: no folder `train` is in it, and no archive of training images", path.display())]
    NotListed { path: PathBuf },
    #[error("{}: the name of a class is not UTF-8", path.display())]
    ClassName { path: PathBuf },
    #[error("{}: a part of a data set, and not the whole of it", path.display())]
    Part { path: PathBuf },
    #[error("{}: no {split} images", path.display())]
    Empty { path: PathBuf, split: Split },
    #[error("{}: {layout}, and only one tar a synset can be split in halves", path.display())]
    NoHalves { path: PathBuf, layout: Layout },
    #[error("{}: one class only ({class}), and a classifier needs two", path.display())]
    OneClass { path: PathBuf, class: String },
    #[error("{}: class {class} is not in `train`", path.display())]
    UnknownClass { path: PathBuf, class: String },
    #[error("{}: class {class} is there once more", path.display())]
    Twice { path: PathBuf, class: String },
    #[error("{}: class {class} is not in the table of class names", path.display())]
    Unnamed { path: PathBuf, class: String },
    #[error("{} stands beside {other}: two data sets in one folder", path.display())]
    Ambiguous { path: PathBuf, other: String },
    #[error("{}: none of the archives whose MD5 sums are published is in it", path.display())]
    NoSums { path: PathBuf },
    #[error("{}: {bytes} bytes are too long", path.display())]
    Oversize { path: PathBuf, bytes: u64 },
    #[error("{}: {source}", path.display())]
    Archive { path: PathBuf, source: ArchiveError },
    #[error("{path}: {source}")]
    Meta { path: String, source: MatError },
    #[error("{path}: line {line}: {reason}")]
    Line { path: String, line: u64, reason: String },
    #[error("{path}: {lines} lines, and there are {images} images")]
    Counts { path: String, lines: usize, images: usize },
    #[error("{path}: no row for image {image}")]
    NoRow { path: String, image: String },
    #[error(
        "{}: {images} {split} images without ground truth: no devkit and no LOC_{split}_solution.csv",
        path.display()
    )]
    NoTruth { path: PathBuf, split: Split, images: usize },
    #[error("{}: record {record} has label {label}, and there are {classes} classes", path.display())]
    Label { path: PathBuf, record: u32, label: u32, classes: usize },
    #[error("{}: {what} is {found}, and {} says {expected}", path.display(), dataset::FILE)]
    Mismatch { path: PathBuf, what: &'static str, found: String, expected: String },
    #[error("cannot read {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Shard(#[from] ShardError),
}

/// Opens a folder of shards, or one in any [`Layout`], whose pictures are then stored at side
/// `size` and whose statistics take `jobs` threads.
///
/// # Errors
/// If it is neither, or does not hold together.
pub fn open(dir: &Path, size: usize, jobs: usize) -> Result<Arc<dyn Source>, OpenError> {
    open_with(dir, size, jobs, &ListConfig::default())
}

/// As [`open`], for layouts that can be taken in more than one way.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    dir: &Path, size: usize, jobs: usize, config: &ListConfig,
) -> Result<Arc<dyn Source>, OpenError> {
    if dir.is_file() {
        Err(OpenError::NotAFolder { path: dir.into() })
    } else if dir.join(dataset::FILE).exists() {
        Ok(Arc::new(Shards::open(dir)?))
    } else if dir.join(dataset::MANIFEST).exists() {
        Err(OpenError::Part { path: dir.into() })
    } else {
        match Listed::open(dir, size, jobs, config) {
            Err(OpenError::NotListed { path }) => Err(OpenError::NotData { path }),
            listed => Ok(Arc::new(listed?)),
        }
    }
}

/// How many classes and in which order, in words: their place is their label.
fn in_order(classes: &[Class]) -> String {
    let (count, sorted) = (classes.len(), classes.is_sorted_by(|a, b| a.wnid <= b.wnid));
    let order = if sorted { "sorted" } else { "in an order of their own" };
    let [first, .., last] = classes else { return format!("{count} classes") };
    format!("{count} classes, {order}: {} to {}", first.wnid, last.wnid)
}

/// Images of each split in words, those that are there.
fn counts(images: [u64; Split::COUNT]) -> String {
    let there = Split::ALL.into_iter().zip(images).filter(|(_, images)| *images > 0);
    there.map(|(split, images)| format!("{images} {split}")).collect::<Vec<_>>().join(", ")
}

/// The sample after `index` in the sorted list of its class, from the start again after the last.
fn next_in(class: &[u32], index: u64) -> Option<u64> {
    let after = class.partition_point(|sample| u64::from(*sample) <= index);
    let next = class.get(after).or(class.first())?;
    Some(u64::from(*next)).filter(|next| *next != index)
}

#[cfg(test)]
mod tests;
