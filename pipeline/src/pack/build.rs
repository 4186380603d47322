//! A source in any layout to a folder of shards, in one go or in parts on several machines. A build
//! that is interrupted, by a kill or a full disk, goes on after the last shard that was whole.

use super::{
    Dedupe, Part, Progress, expected,
    manifest::{Manifest, Packed},
    ordered::Broken,
    packer::Packer,
    plan::Plan,
    space,
    staging::{Staging, StagingError},
};
use crate::{
    dataset::{Class, Dataset, DatasetError, Duplicate, Encoding, MANIFEST, SIZE_MAX, Split},
    resize::{FILTER, FILTER_UPRIGHT},
    shard::ShardError,
    source::{ListConfig, OpenError, SampleError},
};
use std::{
    fs, io,
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
    /// A folder in any [`Layout`](crate::source::Layout).
    pub source: PathBuf,
    /// How to list it.
    pub list: ListConfig,
    /// A folder that does not exist yet, or is empty.
    pub out: PathBuf,
    /// Side of a stored picture, pixels.
    pub size: usize,
    /// Of every record.
    pub encoding: Encoding,
    /// JPEG quality, for [`Encoding::Jpeg`]; [`QUALITY`] if none.
    pub quality: Option<u8>,
    /// Rewrite original JPEGs without loss, a restart marker after each row of MCUs.
    pub row_markers: bool,
    /// Turn pictures by their EXIF orientation, which is ignored otherwise.
    pub upright: bool,
    /// Threads.
    pub jobs: usize,
    /// What to do about a file that cannot be decoded.
    pub on_corrupt: PackPolicy,
    /// What to do about copies.
    pub dedupe: Dedupe,
    /// Pictures of the source for a shard; it has fewer records if some are left out.
    pub shard_records: u32,
}

impl PackConfig {
    /// For `dataset.json`.
    pub(super) fn filter(&self) -> &'static str {
        if self.upright { FILTER_UPRIGHT } else { FILTER }
    }

    /// Raw pictures of 256 px, by one thread, leaving out what cannot be decoded.
    pub fn new(source: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Self {
            source: source.into(),
            list: ListConfig::default(),
            out: out.into(),
            size: 256,
            encoding: Encoding::Raw,
            quality: None,
            row_markers: false,
            upright: false,
            jobs: 1,
            on_corrupt: PackPolicy::Skip,
            dedupe: Dedupe::Keep,
            shard_records: SHARD_RECORDS,
        }
    }
}

/// What was packed.
#[derive(Debug, Clone, PartialEq)]
pub struct PackReport {
    /// As written to `dataset.json`.
    pub dataset: Dataset,
    /// Classes that lost more than 0.1 % of their files.
    pub incomplete: Vec<Incomplete>,
    /// What someone should look at: of the source, of counts and of statistics.
    pub notes: Vec<String>,
    /// Copies that were found, whether they were left out or not.
    pub duplicates: Vec<Duplicate>,
    /// Shards that an earlier, interrupted build had packed.
    pub resumed: usize,
}

/// A class that lost too many of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incomplete {
    /// The class's folder, as in a tree.
    pub folder: PathBuf,
    /// Files left out.
    pub lost: u64,
    /// Files in all, less copies left out.
    pub files: u64,
}

/// What was packed of a part.
#[derive(Debug, Clone, PartialEq)]
pub struct PartReport {
    /// Which.
    pub part: Part,
    /// Its shards.
    pub shards: usize,
    /// Those of all parts together.
    pub shards_of_all: usize,
    /// Records in its shards.
    pub records: u64,
    /// Files left out.
    pub skipped: u64,
    /// Copies that were found in the whole source, whether they are left out or not.
    pub duplicates: Vec<Duplicate>,
    /// Shards that an earlier, interrupted build had packed.
    pub resumed: usize,
}

/// A source that cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PackError {
    #[error("a stored size of {size} px, expected 1 to {SIZE_MAX}")]
    Size { size: usize },
    #[error("a JPEG quality of {quality}, expected 1 to 100")]
    Quality { quality: u8 },
    #[error("original files stay as they are: none can be turned upright")]
    UprightOriginal,
    #[error("there is no part {part}")]
    NoPart { part: Part },
    #[error(transparent)]
    Source(#[from] OpenError),
    #[error(transparent)]
    Corrupt(SampleError),
    #[error("{split}: none of the {files} files can be decoded")]
    NothingLeft { split: Split, files: usize },
    #[error("{}: {needed} bytes are needed, and {free} are free", path.display())]
    NoRoom { path: PathBuf, needed: u64, free: u64 },
    #[error("{} holds {shards} shards of a build with other settings or of another source",
        path.display())]
    OtherBuild { path: PathBuf, shards: usize },
    #[error("{}: what an interrupted build has left there is damaged", path.display())]
    DamagedBuild { path: PathBuf, source: Box<PackError> },
    #[error("{}: no sound manifest: {reason}", path.display())]
    Manifest { path: PathBuf, reason: String },
    #[error("the parts do not make a whole: {reason}")]
    Parts { reason: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
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

/// Packs a source; `progress` hears of every picture. Written beside and renamed: `out` is whole or
/// absent. If it is interrupted, the next call with the same settings goes on.
///
/// # Errors
/// If the source is unsound, a file cannot be decoded and the policy says so, or a file cannot be
/// written.
pub fn build(
    config: &PackConfig, progress: &(dyn Fn(Progress) + Sync),
) -> Result<PackReport, PackError> {
    let plan = Plan::new(config)?;
    let (staging, manifest, resumed) = pack(&plan, Part::WHOLE, progress)?;
    let duplicates = duplicates(&plan);
    let report = finish(staging, &manifest, &config.source)?;
    Ok(PackReport { duplicates, resumed, ..report })
}

/// Packs one of several parts into a folder that [`merge`](super::merge()) takes. All machines must
/// have the same source and settings.
///
/// # Errors
/// As [`build`].
pub fn build_part(
    config: &PackConfig, part: Part, progress: &(dyn Fn(Progress) + Sync),
) -> Result<PartReport, PackError> {
    if !(1..=part.of).contains(&part.index) {
        return Err(PackError::NoPart { part });
    }
    let plan = Plan::new(config)?;
    let (staging, manifest, resumed) = pack(&plan, part, progress)?;
    staging.commit()?;
    let shards = &manifest.shards;
    Ok(PartReport {
        part,
        shards: shards.len(),
        shards_of_all: manifest.shards_of_all,
        records: shards.iter().map(|packed| u64::from(packed.shard.records)).sum(),
        skipped: shards.iter().map(|packed| packed.skipped.len() as u64).sum(),
        duplicates: duplicates(&plan),
        resumed,
    })
}

/// Packs a part, from where an earlier build of it stopped; returns how many shards that had.
fn pack(
    plan: &Plan<'_>, part: Part, progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Staging, Manifest, usize), PackError> {
    let mut staging = Staging::resume(&plan.config.out)?;
    let mut manifest = plan.manifest(part);
    if staging.path().join(MANIFEST).exists() {
        staging.keep();
        let found = Manifest::load(staging.path())?;
        if !found.shards.is_empty() {
            let (path, shards) = (staging.path().to_path_buf(), found.shards.len());
            let skipped = found.shards.iter().any(|packed| !packed.skipped.is_empty());
            let same = found.fingerprint == manifest.fingerprint && found.part == part;
            if !same || (skipped && plan.config.on_corrupt == PackPolicy::Fail) {
                return Err(PackError::OtherBuild { path, shards });
            }
            found
                .verify(&path, plan.config.jobs)
                .map_err(|error| PackError::DamagedBuild { path, source: Box::new(error) })?;
            manifest = found;
        }
    }
    let resumed = manifest.shards.len();
    // What was being written when the build stopped is beside the shards of the manifest.
    staging.clear(|name| {
        let shard = |packed: &Packed| packed.shard.file == name;
        name == MANIFEST || manifest.shards.iter().any(shard)
    })?;
    let range = part.range(plan.chunks.len());
    space::check(plan, range.start + resumed..range.end, staging.path())?;
    let manifest = Packer::new(plan, &mut staging, manifest).run(progress)?;
    manifest.store(staging.path())?; // of a part without shards, too
    Ok((staging, manifest, resumed))
}

/// Makes a data set of the shards of a whole manifest and gives the folder its name.
pub(super) fn finish(
    mut staging: Staging, manifest: &Manifest, source: &Path,
) -> Result<PackReport, PackError> {
    let dataset = manifest.dataset(staging.path());
    if let Err(PackError::NothingLeft { .. }) = dataset {
        staging.discard(); // going on would come to the same
    }
    let dataset = dataset?;
    dataset.store(staging.path())?;
    let out = staging.commit()?;
    // Only now: killed before, the next build goes on; killed here, the set has a file too many.
    let manifest_path = out.join(MANIFEST);
    if let Err(source) = fs::remove_file(&manifest_path)
        && source.kind() != io::ErrorKind::NotFound
    {
        return Err(PackError::Write { path: manifest_path, source });
    }
    let notes = expected::notes(manifest, &dataset);
    for note in &notes {
        tracing::warn!("{note}");
    }
    let notes = manifest.notes.iter().cloned().chain(notes).collect();
    let incomplete = incomplete(manifest, &dataset, source);
    Ok(PackReport { dataset, incomplete, notes, duplicates: vec![], resumed: 0 })
}

/// Classes that lost too many files.
fn incomplete(manifest: &Manifest, dataset: &Dataset, source: &Path) -> Vec<Incomplete> {
    let mut found = Vec::new();
    for info in &dataset.splits {
        let mut lost = vec![0; dataset.classes.len()];
        for packed in manifest.shards.iter().filter(|packed| packed.split == info.split) {
            packed.lost.iter().for_each(|(label, count)| lost[*label as usize] += count);
        }
        for ((Class { wnid, .. }, kept), lost) in
            dataset.classes.iter().zip(&info.per_class).zip(lost)
        {
            if is_too_many(lost, kept + lost) {
                let folder = source.join(info.split.name()).join(wnid);
                found.push(Incomplete { folder, lost, files: kept + lost });
            }
        }
    }
    found
}

fn is_too_many(lost: u64, files: u64) -> bool {
    lost as f64 > SKIPPED_SHARE_MAX * files as f64
}

fn duplicates(plan: &Plan<'_>) -> Vec<Duplicate> {
    let of = |((split, index), (of_split, of_index)): (&(Split, u64), &(Split, u64))| {
        Duplicate { path: plan.name(*split, *index), of: plan.name(*of_split, *of_index) }
    };
    plan.copies.iter().map(of).collect()
}

#[cfg(test)]
mod tests;
