//! A tree to shards: workers decode, rescale and encode; one writer puts the records in the order of
//! their paths, so that any number of jobs writes the same bytes.

use super::{
    Progress,
    staging::{Staging, StagingError},
};
use crate::{
    dataset::{
        Class, Dataset, DatasetError, Encoding, FORMAT, ShardInfo, Skipped, Split, SplitInfo,
    },
    decode::DecodeError,
    resize::{FILTER, Stored},
    shard::{ShardError, ShardWriter},
    source::{self, Encoded, OpenError, SampleError, TreeFile},
    statistics::Accumulator,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    thread,
};

/// Records of a shard: 200 MB of raw pictures at 256 px.
pub const SHARD_RECORDS: u32 = 1024;
/// JPEG quality where none is asked for.
pub const QUALITY: u8 = 90;
/// Pictures under way for each job: enough that the slowest does not stop the others.
const AHEAD_PER_JOB: usize = 16;
/// Share of a class that may be left out before the set is called incomplete.
const SKIPPED_SHARE_MAX: f64 = 0.001;
/// Largest side of a stored picture, pixels.
const SIZE_MAX: usize = 4096;

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
    /// Classes that lost more than 0.1 % of their files: name, left out, in all.
    pub incomplete: Vec<(String, u64, u64)>,
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
    #[error("the source cannot be packed")]
    Source(#[from] OpenError),
    #[error("{} cannot be decoded", path.display())]
    Corrupt { path: PathBuf, source: SampleError },
    #[error("{split}: none of the {files} files can be decoded")]
    NothingLeft { split: Split, files: usize },
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    #[error(transparent)]
    Staging(#[from] StagingError),
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
    let mut splits = Vec::new();
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
        let info = packer.finish()?;
        if info.records == 0 {
            return Err(PackError::NothingLeft { split, files: files.len() });
        }
        splits.push(info);
    }
    let incomplete = incomplete(config, &classes, &splits);
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

/// Classes that lost too many files.
fn incomplete(
    config: &PackConfig, classes: &[Class], splits: &[SplitInfo],
) -> Vec<(String, u64, u64)> {
    let mut found = Vec::new();
    for info in splits {
        for (class, kept) in classes.iter().zip(&info.per_class) {
            let prefix = Path::new(info.split.name()).join(&class.wnid);
            let of_class = |skipped: &&Skipped| Path::new(&skipped.path).starts_with(&prefix);
            let lost = info.skipped.iter().filter(of_class).count() as u64;
            let all = kept + lost;
            if lost as f64 > SKIPPED_SHARE_MAX * all as f64 {
                found.push((config.source.join(&prefix).display().to_string(), lost, all));
            }
        }
    }
    found
}

/// One split being written.
struct Packer<'a> {
    config: &'a PackConfig,
    dir: &'a Path,
    split: Split,
    writer: Option<ShardWriter>,
    shards: Vec<ShardInfo>,
    per_class: Vec<u64>,
    skipped: Vec<Skipped>,
}

/// What a worker made of a file.
type Made = (usize, Result<Vec<u8>, SampleError>);

impl<'a> Packer<'a> {
    fn new(config: &'a PackConfig, dir: &'a Path, split: Split, classes: usize) -> Self {
        let per_class = vec![0; classes];
        Self { config, dir, split, writer: None, shards: vec![], per_class, skipped: vec![] }
    }

    /// Sends every file through the workers and writes what they made, in order.
    fn run(
        &mut self, files: &[TreeFile], written: &mut dyn FnMut(),
    ) -> Result<Accumulator, PackError> {
        let (config, jobs) = (self.config, self.config.jobs.max(1));
        let ahead = AHEAD_PER_JOB * jobs;
        let (tasks, work) = bounded::<usize>(ahead);
        let (results, made) = bounded::<Made>(ahead);
        thread::scope(|scope| {
            let workers = (0..jobs).map(|i| {
                let (work, results) = (work.clone(), results.clone());
                let body = move || prepare(config, files, &work, &results);
                thread::Builder::new().name(format!("pack-{i}")).spawn_scoped(scope, body)
            });
            let workers = workers.collect::<Result<Vec<_>, _>>().map_err(PackError::Thread)?;
            drop((work, results));
            let outcome = self.write_in_order(files, ahead, &tasks, &made, written);
            drop((tasks, made)); // on an error too: the workers find their channels closed
            let mut sums = Accumulator::new(config.size);
            for worker in workers {
                sums.merge(&worker.join().expect("decoding does not panic"));
            }
            outcome.map(|()| sums)
        })
    }

    /// Never more than `ahead` files are between the tasks and the shard.
    fn write_in_order(
        &mut self, files: &[TreeFile], ahead: usize, tasks: &Sender<usize>,
        made: &Receiver<Made>, written: &mut dyn FnMut(),
    ) -> Result<(), PackError> {
        let (mut sent, mut next, mut early) = (0, 0, BTreeMap::new());
        while next < files.len() {
            while sent < files.len() && sent - next < ahead {
                tasks.send(sent).expect("workers stay as long as there are tasks");
                sent += 1;
            }
            let (index, record) = made.recv().expect("workers answer every task");
            early.insert(index, record);
            while let Some(record) = early.remove(&next) {
                self.take(&files[next], record)?;
                next += 1;
                written();
            }
        }
        Ok(())
    }

    fn take(
        &mut self, file: &TreeFile, record: Result<Vec<u8>, SampleError>,
    ) -> Result<(), PackError> {
        match record {
            Ok(bytes) => self.push(file.label, &bytes),
            Err(source) if self.config.on_corrupt == PackPolicy::Fail => {
                Err(PackError::Corrupt { path: file.path.clone(), source })
            }
            Err(error) => {
                let path = file.path.strip_prefix(&self.config.source).unwrap_or(&file.path);
                let reason = match &error {
                    SampleError::Decode { source, .. } => source.to_string(),
                    other => other.to_string(),
                };
                tracing::warn!(path = %file.path.display(), reason, "left out");
                self.skipped
                    .push(Skipped { path: path.to_string_lossy().into_owned(), reason });
                Ok(())
            }
        }
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

/// A worker: files to records, and the sums over its pictures.
fn prepare(
    config: &PackConfig, files: &[TreeFile], work: &Receiver<usize>, results: &Sender<Made>,
) -> Accumulator {
    let mut sums = Accumulator::new(config.size);
    let (mut stored, mut bytes, mut square) = (Stored::new(), vec![], vec![]);
    for index in work {
        let path = &files[index].path;
        let mut record = || -> Result<Vec<u8>, SampleError> {
            source::read_into(path, &mut bytes)?;
            let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
            let place =
                |source| SampleError::Decode { place: path.display().to_string(), source };
            stored.square(encoded, config.size, &mut square).map_err(place)?;
            let record = match config.encoding {
                Encoding::Raw => square.clone(),
                Encoding::Original => bytes.clone(),
                Encoding::Jpeg => jpeg(&square, config).map_err(place)?,
            };
            sums.add(&square);
            Ok(record)
        };
        if results.send((index, record())).is_err() {
            break; // the writer gave up
        }
    }
    sums
}

fn jpeg(square: &[u8], config: &PackConfig) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    let side = config.size as u16; // at most SIZE_MAX
    jpeg_encoder::Encoder::new(&mut bytes, config.quality.unwrap_or(QUALITY))
        .encode(square, side, side, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| DecodeError::Broken { format: "JPEG", reason: e.to_string() })?;
    Ok(bytes)
}
