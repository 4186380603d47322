//! What goes into which shard: a pure function of the source and the settings, so that a build in
//! one go, one that was interrupted, and one in parts on several machines write the same bytes.
//!
//! Shards are cut by place in the source: shard `n` of a split has the pictures `n x shard_records`
//! to `(n + 1) x shard_records - 1`, less those that are left out. Which pictures another shard
//! left out does not matter to it; a shard may hold fewer than `shard_records`, even none.

use super::{Dedupe, PackConfig, PackError, dedupe, manifest::Manifest};
use crate::{
    dataset::{Encoding, SIZE_MAX, Split},
    source::{self, Listing},
    statistics::Accumulator,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    ops::Range,
    path::Path,
    str::FromStr,
};

/// Version of the way in which shards are cut and made: a build goes on with its own only.
const SCHEME: &str = "alexnet pack 1";

/// One of several parts of a data set, packed each by a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Part {
    /// From 1 on.
    pub index: u32,
    /// How many there are.
    pub of: u32,
}

impl Part {
    /// All of it.
    pub const WHOLE: Self = Self { index: 1, of: 1 };

    /// Whether there is such a part.
    pub(super) fn is_one(self) -> bool {
        (1..=self.of).contains(&self.index)
    }

    /// Its shards among `shards`: whole ones, next to one another.
    pub(super) fn range(self, shards: usize) -> Range<usize> {
        let cut = |i: u32| (shards as u64 * u64::from(i) / u64::from(self.of)) as usize;
        cut(self.index - 1)..cut(self.index)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    /// ```
    /// let part: pipeline::pack::Part = "2/3".parse().unwrap();
    /// assert_eq!((part.index, part.of), (2, 3));
    /// ```
    fn from_str(text: &str) -> Result<Self, String> {
        let part = text.split_once('/').and_then(|(index, of)| {
            Some(Self { index: index.parse().ok()?, of: of.parse().ok()? })
        });
        part.filter(|part| part.is_one())
            .ok_or_else(|| format!("{text:?} is no part such as 2/3"))
    }
}

/// The pictures of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) split: Split,
    /// Of the shard within its split.
    pub(super) number: u32,
    pub(super) samples: Range<u64>,
}

impl Chunk {
    pub(super) fn file(&self) -> String {
        format!("{}-{:05}.shard", self.split, self.number)
    }
}

/// What to pack.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) config: &'a PackConfig,
    pub(super) quality: u8,
    pub(super) listing: Listing,
    pub(super) chunks: Vec<Chunk>,
    /// Copies, by split and place: the place of what they are copies of.
    pub(super) copies: BTreeMap<(Split, u64), (Split, u64)>,
    fingerprint: String,
}

impl<'a> Plan<'a> {
    pub(super) fn new(config: &'a PackConfig) -> Result<Self, PackError> {
        let quality = config.quality.unwrap_or(super::QUALITY);
        if config.size == 0 || config.size > SIZE_MAX {
            return Err(PackError::Size { size: config.size });
        }
        if quality == 0 || quality > 100 {
            return Err(PackError::Quality { quality });
        }
        if config.upright && config.encoding == Encoding::Original {
            return Err(PackError::UprightOriginal);
        }
        let listing = Listing::open(&config.source, &config.list)?;
        tracing::info!("{}", listing.describe());
        for note in listing.notes() {
            tracing::warn!("{note}");
        }
        let records = u64::from(config.shard_records.max(1));
        let mut chunks = Vec::new();
        for split in Split::ALL {
            let len = listing.len(split);
            chunks.extend((0..len.div_ceil(records)).map(|number| Chunk {
                split,
                number: number as u32,
                samples: number * records..len.min((number + 1) * records),
            }));
        }
        let copies = match config.dedupe {
            Dedupe::Keep => BTreeMap::new(),
            Dedupe::Report | Dedupe::Drop => dedupe::copies(&listing, config.jobs),
        };
        let fingerprint = fingerprint(config, quality, &listing);
        Ok(Self { config, quality, listing, chunks, copies, fingerprint })
    }

    /// Pictures in some of the shards.
    pub(super) fn pictures(&self, chunks: Range<usize>) -> u64 {
        self.chunks[chunks].iter().map(|chunk| chunk.samples.end - chunk.samples.start).sum()
    }

    /// A picture's path below the source, for `dataset.json`.
    pub(super) fn name(&self, split: Split, index: u64) -> String {
        text(&self.listing.name(split, index))
    }

    /// Whether a picture is left out because it is a copy.
    pub(super) fn is_dropped(&self, split: Split, index: u64) -> bool {
        self.config.dedupe == Dedupe::Drop
            && split == Split::Train
            && self.copies.contains_key(&(split, index))
    }

    /// A manifest with no shards yet.
    pub(super) fn manifest(&self, part: Part) -> Manifest {
        let Self { config, quality, listing, .. } = self;
        Manifest {
            fingerprint: self.fingerprint.clone(),
            part,
            size: config.size,
            encoding: config.encoding,
            filter: config.filter().into(),
            quality: (config.encoding == Encoding::Jpeg).then_some(*quality),
            classes: listing.classes().to_vec(),
            ilsvrc_ids: listing.ilsvrc_ids().to_vec(),
            train_expected: listing.train_expected().to_vec(),
            listed: Split::ALL.map(|split| listing.per_class(split)).to_vec(),
            notes: listing.notes().to_vec(),
            shards_of_all: self.chunks.len(),
            shards: vec![],
            sums: Accumulator::new(config.size),
        }
    }
}

/// A digest of all that decides about the bytes: settings, classes, and the names, labels and, as
/// far as the listing has them, lengths of the pictures. Where the source stands is not in it, nor
/// what is done about corrupt pictures: a build that failed for one may go on and leave it out.
fn fingerprint(config: &PackConfig, quality: u8, listing: &Listing) -> String {
    let PackConfig { size, encoding, shard_records, dedupe, .. } = config;
    let (encoding, drops) = (encoding.name(), *dedupe == Dedupe::Drop);
    let filter = config.filter();
    let rewritten = if config.row_markers { " row markers" } else { "" };
    let settings = format!(
        "{SCHEME} {} {size} {encoding} {quality} {filter} {shard_records} {drops}{rewritten}",
        env!("CARGO_PKG_VERSION")
    );
    let mut digest = Sha256::new().chain_update(settings);
    let mut add = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    for class in listing.classes() {
        add(class.wnid.as_bytes());
        add(class.name.as_bytes());
    }
    for split in Split::ALL {
        add(split.name().as_bytes());
        for index in 0..listing.len(split) {
            add(listing.name(split, index).as_os_str().as_encoded_bytes());
            add(&listing.label(split, index).to_le_bytes());
            add(&listing.bytes_known(split, index).unwrap_or(0).to_le_bytes());
        }
    }
    source::hex(&digest.finalize())
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
mod tests {
    use super::*;

    #[test]
    fn parts_share_all_shards_among_them() {
        for (shards, of) in [(10, 3), (2, 5), (0, 2), (7, 7)] {
            let ranges = (1..=of).map(|index| Part { index, of }.range(shards));
            assert!(ranges.flatten().eq(0..shards), "{shards} shards in {of} parts");
        }
        for text in ["", "1", "0/3", "4/3", "1/0", "a/b", "-1/3"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_told_byte_by_byte() {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
        let path = Path::new(OsStr::from_bytes(b"train/n1/caf\xe9 \xff.jpg"));
        assert_eq!(text(path), "train/n1/caf\\xe9 \\xff.jpg");
        assert_eq!(text(Path::new("val/n1/caf\u{e9}.jpg")), "val/n1/caf\u{e9}.jpg");
    }
}
