//! A shard: records behind an index, memory-mapped. Version 1, little endian throughout:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `ALEXSHRD` |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | encoding: 0 raw, 1 jpeg, 2 original |
//! | 16 | 4 | side of a stored picture, pixels |
//! | 20 | 4 | records |
//! | 24 | 8 | offset of the index |
//! | 32 | 8 | length of the file |
//! | 40 | 4 | CRC-32 of the index |
//! | 44 | 16 | zero |
//! | 60 | 4 | CRC-32 of bytes 0 to 59 |
//! | 64 | | the records' bytes, one after another |
//! | index | 24 each | offset u64, length u32, label u32, CRC-32 of the bytes u32, zero u32 |

use crate::dataset::{Encoding, SIZE_MAX, ShardInfo};
use memmap2::Mmap;
use std::{
    fs::File,
    io::{self, BufWriter, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What every shard begins with.
pub const MAGIC: [u8; 8] = *b"ALEXSHRD";
/// The version written, and the latest that is read.
pub const VERSION: u32 = 1;
const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 24;

/// A shard that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum ShardError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{}: not a shard", path.display())]
    NotAShard { path: PathBuf },
    #[error("{}: shard version {found}, and this program reads up to {VERSION}", path.display())]
    Newer { path: PathBuf, found: u32 },
    #[error("{}: {found} bytes of {expected}: the file is truncated", path.display())]
    Truncated { path: PathBuf, found: u64, expected: u64 },
    #[error("{}: the {part} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, part: &'static str, reason: String },
    #[error(
        "{}: record {record} at byte {offset}: checksum {found:08x}, expected {expected:08x}",
        path.display()
    )]
    Record { path: PathBuf, record: u32, offset: u64, found: u32, expected: u32 },
}

/// One line of the index.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: u64,
    len: u32,
    label: u32,
    crc32: u32,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.label.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.crc32.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self {
            offset: u64_at(bytes, 0),
            len: u32_at(bytes, 8),
            label: u32_at(bytes, 12),
            crc32: u32_at(bytes, 16),
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Writes a shard front to back; its header last.
#[derive(Debug)]
pub struct ShardWriter {
    path: PathBuf,
    file: BufWriter<File>,
    encoding: Encoding,
    size: u32,
    entries: Vec<Entry>,
    offset: u64,
}

impl ShardWriter {
    /// A new file for pictures of side `size`.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn create(path: &Path, encoding: Encoding, size: usize) -> Result<Self, ShardError> {
        let write = |source| ShardError::Write { path: path.into(), source };
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).map_err(write)?);
        file.write_all(&[0; HEADER_BYTES]).map_err(write)?;
        let (path, size, entries) = (path.to_path_buf(), size as u32, Vec::new());
        Ok(Self { path, file, encoding, size, entries, offset: HEADER_BYTES as u64 })
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a record, shorter than 4 GiB.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, label: u32, bytes: &[u8]) -> Result<(), ShardError> {
        let write = |source| ShardError::Write { path: self.path.clone(), source };
        let len = u32::try_from(bytes.len()).map_err(|e| write(io::Error::other(e)))?;
        self.file.write_all(bytes).map_err(write)?;
        let crc32 = crc32fast::hash(bytes);
        self.entries.push(Entry { offset: self.offset, len, label, crc32 });
        self.offset += u64::from(len);
        Ok(())
    }

    /// Writes index and header, and syncs.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn finish(mut self) -> Result<ShardInfo, ShardError> {
        let index: Vec<u8> = self.entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        let bytes = self.offset + index.len() as u64;
        let crc32 = crc32fast::hash(&index);
        let records = self.entries.len() as u32;
        let code = Encoding::ALL.iter().position(|encoding| *encoding == self.encoding);
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&MAGIC);
        let words = [VERSION, code.expect("one of all") as u32, self.size, records];
        for (i, word) in words.into_iter().enumerate() {
            header[8 + 4 * i..12 + 4 * i].copy_from_slice(&word.to_le_bytes());
        }
        header[24..32].copy_from_slice(&self.offset.to_le_bytes());
        header[32..40].copy_from_slice(&bytes.to_le_bytes());
        header[40..44].copy_from_slice(&crc32.to_le_bytes());
        let check = crc32fast::hash(&header[..60]);
        header[60..].copy_from_slice(&check.to_le_bytes());
        let written = self
            .file
            .write_all(&index)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush())
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|source| ShardError::Write { path: self.path.clone(), source })?;
        let file = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(ShardInfo { file, records, bytes, crc32 })
    }
}

/// One record of a mapped shard.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// The class.
    pub label: u32,
    /// Its bytes, as the shard's encoding says.
    pub bytes: &'a [u8],
}

/// A shard, mapped into memory.
#[derive(Debug)]
pub struct Shard {
    path: PathBuf,
    map: Mmap,
    encoding: Encoding,
    size: usize,
    records: u32,
    index: usize,
    crc32: u32,
    /// A bit for each record whose bytes have been found sound.
    sound: Box<[AtomicU64]>,
}

impl Shard {
    /// Maps a file and checks its header and index; each record is checked when it is first read.
    ///
    /// # Errors
    /// If it is no shard, of a later version, truncated or damaged.
    pub fn open(path: &Path) -> Result<Self, ShardError> {
        let open = |source| ShardError::Open { path: path.into(), source };
        let file = File::open(path).map_err(open)?;
        // SAFETY: shards are written beside and renamed, never changed in place. Whoever truncates
        // one under a running program gets a bus error, as with any mapped file.
        let map = unsafe { Mmap::map(&file) }.map_err(open)?;
        let found = map.len() as u64;
        if map.len() < 8 || map[..8] != MAGIC {
            return Err(ShardError::NotAShard { path: path.into() });
        }
        let truncated =
            |expected| Err(ShardError::Truncated { path: path.into(), found, expected });
        if map.len() < HEADER_BYTES {
            return truncated(HEADER_BYTES as u64);
        }
        let damaged =
            |part, reason: String| Err(ShardError::Damaged { path: path.into(), part, reason });
        let version = u32_at(&map, 8);
        if version > VERSION {
            return Err(ShardError::Newer { path: path.into(), found: version });
        }
        let (crc, expected) = (crc32fast::hash(&map[..60]), u32_at(&map, 60));
        if crc != expected {
            return damaged("header", format!("checksum {crc:08x}, expected {expected:08x}"));
        }
        let Some(encoding) = Encoding::ALL.get(u32_at(&map, 12) as usize).copied() else {
            return damaged("header", format!("encoding {}", u32_at(&map, 12)));
        };
        let (size, records) = (u32_at(&map, 16) as usize, u32_at(&map, 20));
        if size == 0 || size > SIZE_MAX {
            return damaged("header", format!("pictures of {size} px"));
        }
        let (index, bytes) = (u64_at(&map, 24), u64_at(&map, 32));
        if found != bytes {
            return truncated(bytes);
        }
        let index_bytes = u64::from(records) * ENTRY_BYTES as u64;
        if index.checked_add(index_bytes) != Some(bytes) {
            return damaged("header", format!("an index at byte {index} of {bytes}"));
        }
        let index = index as usize;
        let (crc, crc32) = (crc32fast::hash(&map[index..]), u32_at(&map, 40));
        if crc != crc32 {
            return damaged("index", format!("checksum {crc:08x}, expected {crc32:08x}"));
        }
        let sound = (0..records.div_ceil(u64::BITS)).map(|_| AtomicU64::new(0)).collect();
        let path = path.into();
        let shard = Self { path, map, encoding, size, records, index, crc32, sound };
        for record in 0..records {
            let entry = shard.entry(record);
            if entry.offset.checked_add(entry.len.into()).is_none_or(|end| end > index as u64) {
                return damaged("index", format!("record {record} at byte {}", entry.offset));
            }
        }
        Ok(shard)
    }

    /// Records.
    pub fn len(&self) -> u32 {
        self.records
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// What the records are.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Side of a stored picture, pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checksum of the index.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// A record's class.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn label(&self, record: u32) -> u32 {
        self.entry(record).label
    }

    /// Where a record's bytes begin.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn offset(&self, record: u32) -> u64 {
        self.entry(record).offset
    }

    /// A record. Its bytes are held against their checksum the first time that it is read from
    /// this `Shard`, and again until they agree: 15 us for a raw picture, of which a crop takes 25.
    /// Later they are taken as they are: what the system reads from the disk once more, because
    /// memory was short, is the disk's to check.
    ///
    /// # Errors
    /// If its bytes are not those that were written.
    ///
    /// # Panics
    /// If there is no such record.
    pub fn record(&self, record: u32) -> Result<RecordRef<'_>, ShardError> {
        let Entry { offset, len, label, crc32 } = self.entry(record);
        let bytes = &self.map[offset as usize..][..len as usize]; // checked by `open`
        let (word, bit) =
            (&self.sound[(record / u64::BITS) as usize], 1 << (record % u64::BITS));
        // Relaxed: the bits order nothing, and two threads may check the same record.
        if word.load(Ordering::Relaxed) & bit == 0 {
            let found = crc32fast::hash(bytes);
            if found != crc32 {
                let path = self.path.clone();
                return Err(ShardError::Record {
                    path,
                    record,
                    offset,
                    found,
                    expected: crc32,
                });
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(RecordRef { label, bytes })
    }

    fn entry(&self, record: u32) -> Entry {
        assert!(record < self.records, "record {record} of {}", self.records);
        Entry::from_bytes(&self.map[self.index + record as usize * ENTRY_BYTES..])
    }
}

#[cfg(test)]
mod tests;
