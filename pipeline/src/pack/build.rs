//! A tree to shards: workers decode, rescale and encode; one writer puts the records in the order of
//! their paths, so that any number of jobs writes the same bytes.

use super::{
    Progress,
    ordered::{Broken, ordered},
    staging::{Staging, StagingError},
};
use crate::{
    dataset::{
        Class, Dataset, DatasetError, Encoding, FORMAT, SIZE_MAX, ShardInfo, Skipped, Split,
        SplitInfo,
    },
    decode::DecodeError,
    resize::{FILTER, Stored},
    shard::{ShardError, ShardWriter},
    source::{self, Encoded, OpenError, SampleError, TreeFile},
    statistics::Accumulator,
};
use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

/// Records of a shard: 200 MB of raw pictures at 256 px.
pub const SHARD_RECORDS: u32 = 1024;
/// JPEG quality where none is asked for.
pub const QUALITY: u8 = 90;
/// Share of a class that may be left out before the set is called incomplete.
const SKIPPED_SHARE_MAX: f64 = 0.001;

/// What to do about a file that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackPolicy {
    /// Leave it out and list it.
    Skip,
    /// Give up.
    Fail,
}

/// What to pack, and how.
#[derive(Debug, Clone)]
pub struct PackConfig {
    /// `train/<class>/*` and `val/<class>/*`.
    pub source: PathBuf,
    /// A folder that does not exist yet, or is empty.
    pub out: PathBuf,
    /// Side of a stored picture, pixels.
    pub size: usize,
    /// Of every record.
    pub encoding: Encoding,
    /// JPEG quality, for [`Encoding::Jpeg`]; [`QUALITY`] if none.
    pub quality: Option<u8>,
    /// Threads.
    pub jobs: usize,
    /// What to do about a file that cannot be decoded.
    pub on_corrupt: PackPolicy,
    /// Records of a shard; the last of a split has fewer.
    pub shard_records: u32,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq)]
pub struct PackReport {
    /// As written to `dataset.json`.
    pub dataset: Dataset,
    /// Classes that lost more than 0.1 % of their files.
    pub incomplete: Vec<Incomplete>,
}

/// A class that lost too many of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The class's folder.
    pub folder: PathBuf,
    /// Files left out.
    pub lost: u64,
    /// Files in all.
    pub files: u64,
}

/// A tree that cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PackError {
    #[error("a stored size of {size} px, expected 1 to {SIZE_MAX}")]
    Size { size: usize },
    #[error("a JPEG quality of {quality}, expected 1 to 100")]
    Quality { quality: u8 },
    #[error(transparent)]
    Source(#[from] OpenError),
    #[error(transparent)]
    Corrupt(SampleError),
    #[error("{split}: none of the {files} files can be decoded")]
    NothingLeft { split: Split, files: usize },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("a bug in a packing thread: {0}")]
    Panicked(String),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Staging(#[from] StagingError),
}

impl From<Broken> for PackError {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Thread(source) => Self::Thread(source),
            Broken::Panicked(words) => Self::Panicked(words),
        }
    }
}

/// Packs a tree; `progress` hears of every picture. Written beside and renamed: `out` is whole or
/// absent.
///
/// # Errors
/// If the tree is unsound, a file cannot be decoded and the policy says so, or a file cannot be
/// written.
pub fn build(
    config: &PackConfig, progress: &(dyn Fn(Progress) + Sync),
) -> Result<PackReport, PackError> {
    let quality = config.quality.unwrap_or(QUALITY);
    if config.size == 0 || config.size > SIZE_MAX {
        return Err(PackError::Size { size: config.size });
    }
    if quality == 0 || quality > 100 {
        return Err(PackError::Quality { quality });
    }
    let (classes, files) = source::list(&config.source)?;
    let staging = Staging::create(&config.out)?;
    let total = files.iter().map(|files| files.len() as u64).sum();
    let mut done = 0;
    let mut sums = Accumulator::new(config.size);
    let (mut splits, mut incomplete) = (Vec::new(), Vec::new());
    for (split, files) in Split::ALL.into_iter().zip(&files) {
        if files.is_empty() {
            continue;
        }
        let mut packer = Packer::new(config, staging.path(), split, classes.len());
        let counted = packer.run(files, &mut || {
            done += 1;
            progress(Progress { done, total });
        })?;
        if split == Split::Train {
            sums.merge(&counted);
        }
        incomplete.extend(packer.incomplete(&classes));
        let info = packer.finish()?;
        if info.records == 0 {
            return Err(PackError::NothingLeft { split, files: files.len() });
        }
        splits.push(info);
    }
    let dataset = Dataset {
        format: FORMAT,
        size: config.size,
        encoding: config.encoding,
        filter: FILTER.into(),
        quality: (config.encoding == Encoding::Jpeg).then_some(quality),
        classes,
        splits,
        statistics: sums.finish(),
    };
    dataset.store(staging.path())?;
    staging.commit()?;
    Ok(PackReport { dataset, incomplete })
}

/// One split being written.
struct Packer<'a> {
    config: &'a PackConfig,
    dir: &'a Path,
    split: Split,
    writer: Option<ShardWriter>,
    shards: Vec<ShardInfo>,
    /// By label, records written and files left out.
    per_class: Vec<u64>,
    lost: Vec<u64>,
    skipped: Vec<Skipped>,
}

impl<'a> Packer<'a> {
    fn new(config: &'a PackConfig, dir: &'a Path, split: Split, classes: usize) -> Self {
        Self {
            config,
            dir,
            split,
            writer: None,
            shards: vec![],
            per_class: vec![0; classes],
            lost: vec![0; classes],
            skipped: vec![],
        }
    }

    /// Sends every file through the workers and writes what they made, in order.
    fn run(
        &mut self, files: &[TreeFile], written: &mut dyn FnMut(),
    ) -> Result<Accumulator, PackError> {
        let config = self.config;
        let workers = ordered(
            config.jobs,
            files.len(),
            || Worker::new(config),
            |worker, index| worker.record(&files[index].path),
            |index, record| {
                self.take(&files[index], record)?;
                written();
                Ok::<_, PackError>(())
            },
        )?;
        let mut sums = Accumulator::new(config.size);
        workers.iter().for_each(|worker| sums.merge(&worker.sums));
        Ok(sums)
    }

    fn take(
        &mut self, file: &TreeFile, record: Result<Vec<u8>, SampleError>,
    ) -> Result<(), PackError> {
        match record {
            Ok(bytes) => self.push(file.label, &bytes),
            Err(error) if self.config.on_corrupt == PackPolicy::Fail => {
                Err(PackError::Corrupt(error))
            }
            Err(error) => {
                let reason = match &error {
                    SampleError::Decode { source, .. } => source.to_string(),
                    SampleError::Read { source, .. } => source.to_string(),
                    SampleError::Shard(error) => error.to_string(),
                };
                tracing::warn!(path = %file.path.display(), reason, "left out");
                let path = file.path.strip_prefix(&self.config.source).unwrap_or(&file.path);
                self.skipped.push(Skipped { path: text(path), reason });
                self.lost[file.label as usize] += 1;
                Ok(())
            }
        }
    }

    /// Classes that lost too many files.
    fn incomplete(&self, classes: &[Class]) -> Vec<Incomplete> {
        let found = classes.iter().zip(&self.per_class).zip(&self.lost);
        found
            .filter_map(|((class, kept), &lost)| {
                let folder = self.config.source.join(self.split.name()).join(&class.wnid);
                let files = kept + lost;
                let many = lost as f64 > SKIPPED_SHARE_MAX * files as f64;
                many.then_some(Incomplete { folder, lost, files })
            })
            .collect()
    }

    fn push(&mut self, label: u32, bytes: &[u8]) -> Result<(), PackError> {
        if self.writer.as_ref().is_some_and(|w| w.len() >= self.config.shard_records as usize) {
            self.close()?;
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let name = format!("{}-{:05}.shard", self.split, self.shards.len());
                let (encoding, size) = (self.config.encoding, self.config.size);
                none.insert(ShardWriter::create(&self.dir.join(name), encoding, size)?)
            }
        };
        writer.push(label, bytes)?;
        self.per_class[label as usize] += 1;
        Ok(())
    }

    fn close(&mut self) -> Result<(), PackError> {
        if let Some(writer) = self.writer.take() {
            self.shards.push(writer.finish()?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<SplitInfo, PackError> {
        self.close()?;
        let Self { split, shards, per_class, skipped, .. } = self;
        Ok(SplitInfo { split, records: per_class.iter().sum(), per_class, shards, skipped })
    }
}

/// One thread: files to records, and the sums over its pictures.
struct Worker<'a> {
    config: &'a PackConfig,
    sums: Accumulator,
    stored: Stored,
    bytes: Vec<u8>,
    square: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(config: &'a PackConfig) -> Self {
        let (sums, stored) = (Accumulator::new(config.size), Stored::new());
        Self { config, sums, stored, bytes: vec![], square: vec![] }
    }

    fn record(&mut self, path: &Path) -> Result<Vec<u8>, SampleError> {
        source::read_into(path, &mut self.bytes)?;
        let encoded = Encoded { encoding: Encoding::Original, bytes: &self.bytes };
        let place = |source| SampleError::Decode { place: path.display().to_string(), source };
        self.stored.square(encoded, self.config.size, &mut self.square).map_err(place)?;
        let record = match self.config.encoding {
            Encoding::Raw => self.square.clone(),
            Encoding::Original => self.bytes.clone(),
            Encoding::Jpeg => jpeg(&self.square, self.config).map_err(place)?,
        };
        self.sums.add(&self.square);
        Ok(record)
    }
}

fn jpeg(square: &[u8], config: &PackConfig) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    let side = config.size as u16; // at most SIZE_MAX
    jpeg_encoder::Encoder::new(&mut bytes, config.quality.unwrap_or(QUALITY))
        .encode(square, side, side, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| DecodeError::Broken { format: "JPEG", reason: e.to_string() })?;
    Ok(bytes)
}

/// A path as text; what is not UTF-8 in it as `\xNN`.
fn text(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}"); // writing to a String cannot fail
        }
    }
    text
}

#[cfg(test)]
mod tests;
