//! Where samples come from: a folder of shards, or a tree of image files. In goes (split, index),
//! out come the bytes of one sample and its label.

mod shards;
mod tree;

use crate::{
    dataset::{self, Class, DatasetError, Encoding, Split, Statistics},
    decode::DecodeError,
    shard::ShardError,
};
use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use shards::Shards;
pub(crate) use shards::agrees;
pub(crate) use tree::read_into;
pub use tree::{Listing, STATISTICS_MAX, Tree, TreeFile, list};

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
    /// One line: what was found.
    fn describe(&self) -> String;
}

/// A sample that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SampleError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
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
    #[error("{}: neither {} nor a folder `train` is in it", path.display(), dataset::FILE)]
    NotData { path: PathBuf },
    #[error("{}: no folder `train` is in it", path.display())]
    NotATree { path: PathBuf },
    #[error("{}: the name of a class is not UTF-8", path.display())]
    ClassName { path: PathBuf },
    #[error("{}: no {split} images", path.display())]
    Empty { path: PathBuf, split: Split },
    #[error("{}: one class only ({class}), and a classifier needs two", path.display())]
    OneClass { path: PathBuf, class: String },
    #[error("{}: class {class} is not in `train`", path.display())]
    UnknownClass { path: PathBuf, class: String },
    #[error("{}: record {record} has label {label}, and there are {classes} classes", path.display())]
    Label { path: PathBuf, record: u32, label: u32, classes: usize },
    #[error("{}: {what} is {found}, and {} says {expected}", path.display(), dataset::FILE)]
    Mismatch { path: PathBuf, what: &'static str, found: String, expected: String },
    #[error("cannot list {}", path.display())]
    List { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Shard(#[from] ShardError),
}

/// Opens a folder of shards, or a tree `train/<class>/*`, `val/<class>/*` of image files, whose
/// pictures are then stored at side `size` and whose statistics take `jobs` threads.
///
/// # Errors
/// If it is neither, or does not hold together.
pub fn open(dir: &Path, size: usize, jobs: usize) -> Result<Arc<dyn Source>, OpenError> {
    if !dir.is_dir() {
        return Err(OpenError::Missing { path: dir.into() });
    }
    if dir.join(dataset::FILE).exists() {
        Ok(Arc::new(Shards::open(dir)?))
    } else if dir.join(Split::Train.name()).is_dir() {
        Ok(Arc::new(Tree::open(dir, size, jobs)?))
    } else {
        Err(OpenError::NotData { path: dir.into() })
    }
}
