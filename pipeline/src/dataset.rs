//! `dataset.json`: what a folder of shards holds, in words and numbers.

mod check;

use serde::{Deserialize, Serialize};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Version of `dataset.json`.
pub const FORMAT: u32 = 1;
/// Its name.
pub const FILE: &str = "dataset.json";
/// Largest side of a stored picture, pixels.
pub const SIZE_MAX: usize = 4096;
/// What a folder has in its place while it is being packed, or if it is a part of a data set.
pub const MANIFEST: &str = "manifest";

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is learnt from.
    Train,
    /// What is measured on while learning.
    Val,
    /// What is measured on once, where its labels are known: ILSVRC-2010's.
    Test,
}

impl Split {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All, in order.
    pub const ALL: [Self; Self::COUNT] = [Self::Train, Self::Val, Self::Test];

    /// The folder's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the bytes of a record are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// `size x size x 3` RGB bytes.
    Raw,
    /// A JPEG of the stored square.
    Jpeg,
    /// The file's own bytes; rescaled when read.
    Original,
}

impl Encoding {
    /// All, in the order of their codes in a shard.
    pub const ALL: [Self; 3] = [Self::Raw, Self::Jpeg, Self::Original];

    /// `raw`, `jpeg` or `original`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Jpeg => "jpeg",
            Self::Original => "original",
        }
    }
}

/// A class; its label is its place in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// The folder's name: a WordNet id, in ILSVRC.
    pub wnid: String,
    /// For people.
    pub name: String,
}

/// What augmentation needs to know of the training pixels, in grey levels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Training images counted.
    pub images: u64,
    /// The mean image, `[3, size, size]`.
    pub mean: Vec<f32>,
    /// Covariance of R, G and B over all pixels.
    pub covariance: [[f64; 3]; 3],
    /// Its eigenvalues, largest first: *variances*, in squared grey levels.
    pub eigenvalues: [f64; 3],
    /// `eigenvectors[i]` is the unit vector (R, G, B) of `eigenvalues[i]`.
    pub eigenvectors: [[f64; 3]; 3],
}

/// One shard file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardInfo {
    /// Its name in the folder.
    pub file: String,
    /// Records in it.
    pub records: u32,
    /// Its length.
    pub bytes: u64,
    /// The checksum of its index, which holds those of the records.
    pub crc32: u32,
}

/// A file that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Below the source folder, archives counting as folders.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// A picture that was left out because it is another's copy, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Duplicate {
    /// Below the source folder, archives counting as folders.
    pub path: String,
    /// The one that is kept.
    pub of: String,
}

/// One split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitInfo {
    /// Which.
    pub split: Split,
    /// Records in all shards.
    pub records: u64,
    /// Records by class.
    pub per_class: Vec<u64>,
    /// The shards in order.
    pub shards: Vec<ShardInfo>,
    /// Files left out.
    pub skipped: Vec<Skipped>,
    /// Copies left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<Duplicate>,
}

/// Before the checksum of `dataset.json`.
const SEAL: &str = r#"{"crc32":""#;

/// All of `dataset.json` but its checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dataset {
    /// [`FORMAT`].
    pub format: u32,
    /// Side of a stored picture, pixels.
    pub size: usize,
    /// Of every record.
    pub encoding: Encoding,
    /// How pictures were rescaled.
    pub filter: String,
    /// JPEG quality, where the encoding has one.
    pub quality: Option<u8>,
    /// In the order of the labels.
    pub classes: Vec<Class>,
    /// The devkit's number of each class (`ILSVRC2012_ID`), where the source had a devkit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ilsvrc_ids: Vec<u32>,
    /// In the order of [`Split::ALL`], those that are there.
    pub splits: Vec<SplitInfo>,
    /// Of the training pixels.
    pub statistics: Statistics,
}

/// A `dataset.json` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DatasetError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: no sound data set: {reason}", path.display())]
    Invalid { path: PathBuf, reason: String },
    #[error("{}: format {found}, and this version reads up to {FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
}

impl Dataset {
    /// Reads and checks `dataset.json` in `dir`.
    ///
    /// # Errors
    /// If it is missing, of a later version, or does not hold together.
    pub fn load(dir: &Path) -> Result<Self, DatasetError> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path)
            .map_err(|source| DatasetError::Read { path: path.clone(), source })?;
        let invalid = |reason: String| DatasetError::Invalid { path: path.clone(), reason };
        if let Ok(Version { format }) = serde_json::from_str(&text)
            && format > u64::from(FORMAT)
        {
            return Err(DatasetError::Newer { path, found: format });
        }
        let object = unsealed(&text).map_err(invalid)?;
        let dataset: Self =
            serde_json::from_str(&object).map_err(|e| invalid(e.to_string()))?;
        dataset.check().map_err(invalid)?;
        Ok(dataset)
    }

    /// Writes `dataset.json` in `dir` and syncs it.
    ///
    /// # Errors
    /// If the file system refuses.
    pub fn store(&self, dir: &Path) -> Result<(), DatasetError> {
        let path = dir.join(FILE);
        let beside = dir.join("dataset.partial");
        let text = serde_json::to_string(self)
            .map_err(|e| DatasetError::Invalid { path: path.clone(), reason: e.to_string() })?;
        fs::write(&beside, sealed(&text))
            .and_then(|()| fs::File::open(&beside)?.sync_all())
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|source| DatasetError::Write { path, source })
    }

    /// The records of a split; nothing if it is not there.
    pub fn split(&self, split: Split) -> Option<&SplitInfo> {
        self.splits.iter().find(|info| info.split == split)
    }
}

#[derive(Deserialize)]
struct Version {
    format: u64,
}

/// An object's text, its checksum as the first key: of all bytes that follow it.
fn sealed(object: &str) -> String {
    let rest = format!("{}\n", &object[1..]);
    format!("{SEAL}{:08x}\",{rest}", crc32fast::hash(rest.as_bytes()))
}

/// The object again, if not a byte has changed.
fn unsealed(text: &str) -> Result<String, String> {
    let sealed = text.strip_prefix(SEAL).and_then(|text| text.split_once("\","));
    let (crc32, rest) = sealed.ok_or("it does not begin with its checksum")?;
    let found = format!("{:08x}", crc32fast::hash(rest.as_bytes()));
    if found != crc32 {
        return Err(format!("it is damaged: checksum {found}, expected {crc32}"));
    }
    Ok(format!("{{{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn dataset() -> Dataset {
        let class = |wnid: &str| Class { wnid: wnid.into(), name: wnid.into() };
        Dataset {
            format: FORMAT,
            size: 2,
            encoding: Encoding::Raw,
            filter: "bilinear".into(),
            quality: None,
            classes: vec![class("n1"), class("n2")],
            ilsvrc_ids: vec![2, 1],
            splits: vec![SplitInfo {
                split: Split::Train,
                records: 3,
                per_class: vec![1, 2],
                shards: vec![ShardInfo { file: "a".into(), records: 3, bytes: 9, crc32: 7 }],
                skipped: vec![],
                duplicates: vec![],
            }],
            statistics: Statistics {
                images: 3,
                mean: (0..12).map(|i| i as f32 / 7.0).collect(),
                covariance: [[0.1 + 0.2; 3]; 3],
                eigenvalues: [1.0 / 3.0; 3],
                eigenvectors: [[0.577; 3]; 3],
            },
        }
    }

    #[test]
    fn every_number_survives_the_text() {
        let dir = tempfile::tempdir().expect("a folder");
        dataset().store(dir.path()).expect("room");
        assert_eq!(Dataset::load(dir.path()).expect("its own file"), dataset());
    }

    #[test]
    fn no_byte_can_change_unseen() {
        let dir = tempfile::tempdir().expect("a folder");
        dataset().store(dir.path()).expect("room");
        let whole = fs::read(dir.path().join(FILE)).expect("stored");
        for i in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[i] ^= 1;
            fs::write(dir.path().join(FILE), flipped).expect("room");
            Dataset::load(dir.path()).expect_err("a flipped bit");
        }
    }

    #[test]
    fn later_versions_and_wrong_sums_are_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let newer = Dataset { format: FORMAT + 1, ..dataset() };
        newer.store(dir.path()).expect("room");
        let error = Dataset::load(dir.path()).expect_err("newer");
        assert!(matches!(error, DatasetError::Newer { found: 2, .. }), "{error}");
        let mut wrong = dataset();
        wrong.splits[0].per_class[0] = 9;
        wrong.store(dir.path()).expect("room");
        let error = Dataset::load(dir.path()).expect_err("wrong").to_string();
        assert!(error.contains("dataset.json") && error.contains("3 records"), "{error}");
        for size in [0, SIZE_MAX + 1, usize::MAX] {
            Dataset { size, ..dataset() }.store(dir.path()).expect("room");
            let error = Dataset::load(dir.path()).expect_err("a size").to_string();
            assert!(error.contains("expected 1 to 4096"), "{error}");
        }
    }
}
