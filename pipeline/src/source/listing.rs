//! What a folder holds, whatever its layout: the classes, and for each split its samples in order,
//! each with its label and the place of its bytes, which is a file or a range of an archive.

use super::{OpenError, SampleError, lister::Lister, read_at::ReadAt as _};
use crate::dataset::{Class, Split};
use flate2::read::GzDecoder;
use std::{
    ffi::OsStr,
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Longest file that is taken for a picture, bytes; ILSVRC's longest has 16 MB.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// How a folder is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `train/<class>/*`, `val/<class>/*`; or flat `val/*`, with ground truth beside.
    Tree,
    /// The archives of ILSVRC of a year, as downloaded.
    Archives(u16),
    /// The Kaggle competition's `ILSVRC/Data/CLS-LOC`.
    Kaggle,
    /// One archive per synset, as ImageNet's releases have them.
    Synsets,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tree => f.write_str("a tree of image files"),
            Self::Archives(year) => write!(f, "the ILSVRC-{year} archives"),
            Self::Kaggle => f.write_str("Kaggle's ILSVRC folders"),
            Self::Synsets => f.write_str("one archive per synset"),
        }
    }
}

/// How to list a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListConfig {
    /// With a seed, half of each class becomes the validation split, where the layout has none of
    /// its own ([`Layout::Synsets`]): the paper's protocol for ImageNet's Fall 2009 release.
    pub halves: Option<u64>,
}

/// One picture: 40 bytes and its name, of which a release of ImageNet has 14 million.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) folder: u32,
    pub(super) label: u32,
    pub(super) leaf: Box<OsStr>,
    pub(super) place: Place,
}

/// Where a sample's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The whole of a file, by its name.
    File,
    /// A range of the archive that its folder is in.
    Range { offset: u64, len: u32 },
}

/// A folder of the source, or an archive, or a folder within one.
#[derive(Debug)]
pub(super) struct Folder {
    /// Below the source, archives counting as folders.
    pub(super) path: PathBuf,
    /// The archive that holds its bytes.
    pub(super) archive: Option<u32>,
}

/// An archive file.
#[derive(Debug)]
pub(super) struct Archive {
    pub(super) path: PathBuf,
    /// Open, as long as there are few of them.
    pub(super) file: Option<File>,
}

/// All samples of a source.
#[derive(Debug)]
pub struct Listing {
    pub(super) dir: PathBuf,
    pub(super) layout: Layout,
    pub(super) classes: Vec<Class>,
    pub(super) ilsvrc_ids: Vec<u32>,
    pub(super) train_expected: Vec<u64>,
    pub(super) folders: Vec<Folder>,
    pub(super) archives: Vec<Archive>,
    pub(super) splits: [Vec<Sample>; Split::COUNT],
    pub(super) notes: Vec<String>,
}

impl Listing {
    /// Finds out how `dir` is laid out and lists it; of archives, the headers are read.
    ///
    /// # Errors
    /// If it is laid out in no known way, or does not hold together.
    pub fn open(dir: &Path, config: &ListConfig) -> Result<Self, OpenError> {
        Lister::open(dir, config)
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// How it is laid out.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// In the order of the labels: of their WNIDs.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// The devkit's number (`ILSVRC2012_ID`) of each class; empty where there is no devkit.
    pub fn ilsvrc_ids(&self) -> &[u32] {
        &self.ilsvrc_ids
    }

    /// Training pictures of each class as the devkit has them (`num_train_images`); empty where
    /// there is no devkit.
    pub fn train_expected(&self) -> &[u64] {
        &self.train_expected
    }

    /// What a reader should know: what was left out, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Samples of a split.
    pub fn len(&self, split: Split) -> u64 {
        self.splits[split as usize].len() as u64
    }

    /// Samples of a split by class.
    pub fn per_class(&self, split: Split) -> Vec<u64> {
        let mut counts = vec![0; self.classes.len()];
        self.splits[split as usize].iter().for_each(|s| counts[s.label as usize] += 1);
        counts
    }

    /// A sample's class.
    pub fn label(&self, split: Split, index: u64) -> u32 {
        self.sample(split, index).label
    }

    /// A sample's path below the source, archives counting as folders.
    pub fn name(&self, split: Split, index: u64) -> PathBuf {
        let sample = self.sample(split, index);
        self.folder(sample).path.join(&*sample.leaf)
    }

    /// Where a sample stands, for messages.
    pub fn place(&self, split: Split, index: u64) -> String {
        let path = self.dir.join(self.name(split, index));
        match self.sample(split, index).place {
            Place::File => path.display().to_string(),
            Place::Range { offset, .. } => format!("{} at byte {offset}", path.display()),
        }
    }

    /// The length of a sample, bytes.
    ///
    /// # Errors
    /// If its file is not there any more.
    pub fn bytes(&self, split: Split, index: u64) -> io::Result<u64> {
        match self.sample(split, index).place {
            Place::Range { len, .. } => Ok(len.into()),
            Place::File => {
                fs::metadata(self.dir.join(self.name(split, index))).map(|found| found.len())
            }
        }
    }

    /// The length of a sample as far as the listing itself has it: of those in archives.
    pub(crate) fn bytes_known(&self, split: Split, index: u64) -> Option<u64> {
        match self.sample(split, index).place {
            Place::Range { len, .. } => Some(len.into()),
            Place::File => None,
        }
    }

    /// Reads a sample into `bytes`, whose memory is used again. What is compressed by gzip, as a
    /// few pictures of ILSVRC-2010 are, is decompressed.
    ///
    /// # Errors
    /// If its bytes cannot be read.
    pub fn read(
        &self, split: Split, index: u64, bytes: &mut Vec<u8>,
    ) -> Result<(), SampleError> {
        self.read_range(split, index, bytes, |_| 0)?;
        if bytes.starts_with(&[0x1F, 0x8B]) {
            let packed = std::mem::take(bytes);
            GzDecoder::new(&packed[..])
                .take(FILE_BYTES_MAX + 1)
                .read_to_end(bytes)
                .and_then(|len| match len as u64 {
                    ..=FILE_BYTES_MAX => Ok(()),
                    _ => Err(io::ErrorKind::FileTooLarge.into()),
                })
                .map_err(|source| self.unread(split, index, source))?;
        }
        Ok(())
    }

    /// Reads at most the last `len_max` bytes of a sample, as they stand.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(crate) fn read_tail(
        &self, split: Split, index: u64, len_max: u64, bytes: &mut Vec<u8>,
    ) -> Result<(), SampleError> {
        self.read_range(split, index, bytes, |len| len.saturating_sub(len_max))
    }

    /// Reads from the byte that `from` makes of the length to the end.
    fn read_range(
        &self, split: Split, index: u64, bytes: &mut Vec<u8>, from: impl Fn(u64) -> u64,
    ) -> Result<(), SampleError> {
        let sample = self.sample(split, index);
        let folder = self.folder(sample);
        let mut read = || -> io::Result<()> {
            bytes.clear();
            let opened;
            let (file, start, len) = match sample.place {
                Place::File => {
                    opened = File::open(self.dir.join(&folder.path).join(&*sample.leaf))?;
                    (&opened, 0, opened.metadata()?.len())
                }
                Place::Range { offset, len } => {
                    let archive = folder.archive.expect("a range is of an archive") as usize;
                    let archive = &self.archives[archive];
                    let file = if let Some(file) = &archive.file {
                        file
                    } else {
                        opened = File::open(&archive.path)?;
                        &opened
                    };
                    (file, offset, u64::from(len))
                }
            };
            if len > FILE_BYTES_MAX {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let from = from(len);
            bytes.resize((len - from) as usize, 0);
            file.read_exact_at(bytes, start + from)
        };
        read().map_err(|source| self.unread(split, index, source))
    }

    fn unread(&self, split: Split, index: u64, source: io::Error) -> SampleError {
        SampleError::Read { place: self.place(split, index), source }
    }

    fn sample(&self, split: Split, index: u64) -> &Sample {
        &self.splits[split as usize][index as usize]
    }

    fn folder(&self, sample: &Sample) -> &Folder {
        &self.folders[sample.folder as usize]
    }

    /// One line: what was found.
    pub fn describe(&self) -> String {
        format!(
            "{}: {}, {} images; {}",
            self.dir.display(),
            self.layout,
            super::counts(Split::ALL.map(|split| self.len(split))),
            super::in_order(&self.classes)
        )
    }
}
