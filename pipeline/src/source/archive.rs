//! The index of a tar archive: one pass over its headers, nothing unpacked. In goes a range of
//! bytes, out come the names and places of its files; an archive within an archive is a range.
//!
//! The fields of a header are read by the `tar` crate; the walk over them is ours, because the
//! crate's own takes names of any length into memory and an archive cut between two entries for
//! whole. Names may be long in GNU's way (`L`) or POSIX's (`x`), sizes octal or base-256.

use super::read_at::ReadAt;
use std::{io, ops::Range};
use tar::{EntryType, Header, PaxExtensions};

const BLOCK: u64 = 512;
/// Longest name, as a file system would take it (`PATH_MAX`).
const NAME_BYTES_MAX: u64 = 4096;
/// Longest POSIX extension of a header.
const PAX_BYTES_MAX: u64 = 64 << 10;
/// Entries of one archive; all of ImageNet has 14.2 million.
const ENTRIES_MAX: usize = 1 << 24;

/// A file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path in the archive, without `./` in front.
    pub(crate) name: Vec<u8>,
    /// Where its bytes begin, from the start of the outermost archive.
    pub(crate) offset: u64,
    /// Its length, bytes.
    pub(crate) len: u64,
}

/// The files of an archive in the order in which they stand.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) members: Vec<Member>,
    /// Links, devices and pipes: left out.
    pub(crate) left_out: u64,
    /// The name of the first of them.
    pub(crate) first_left_out: String,
}

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("byte {at}, {}: {fault}", if entry.is_empty() { "first entry" } else { entry })]
pub struct ArchiveError {
    /// Where the entry's header begins, from the start of the file.
    at: u64,
    /// Its name; before the name is known, that of the entry before.
    entry: String,
    #[source]
    fault: Fault,
}

impl ArchiveError {
    /// Whether it looks like one of which only a part is there.
    pub fn is_cut(&self) -> bool {
        matches!(self.fault, Fault::Truncated { .. } | Fault::NoEnd | Fault::Checksum { .. })
    }
}

/// What is wrong with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Fault {
    #[error("cannot be read")]
    Read(#[source] io::Error),
    #[error("truncated: {found} bytes are left of {expected}")]
    Truncated { found: u64, expected: u64 },
    #[error("truncated: no end-of-archive mark follows")]
    NoEnd,
    #[error("no tar header: checksum {found}, expected {expected}")]
    Checksum { found: u32, expected: String },
    #[error("a header with a field that is no number")]
    Number(#[source] io::Error),
    #[error("an extended header that cannot be read")]
    Extension(#[source] io::Error),
    #[error("a {what} of {found} bytes, more than {limit}")]
    TooLong { what: &'static str, found: u64, limit: u64 },
    #[error("more than {ENTRIES_MAX} entries")]
    TooMany,
    #[error("its name leads out of the archive")]
    Outside,
    #[error("a {0} file, whose bytes are not in one piece")]
    Pieces(&'static str),
}

/// Lists the archive that stands in `range`.
///
/// # Errors
/// If it is truncated, damaged, or holds what no archive of pictures does.
pub(crate) fn index(
    bytes: &(impl ReadAt + ?Sized), range: Range<u64>,
) -> Result<Index, ArchiveError> {
    let mut walk = Walk { bytes, at: range.start, end: range.end, entry: String::new() };
    let mut index = Index::default();
    let (mut named, mut sized) = (None, None); // by an extended header, for the entry after it
    let mut entries = 0;
    loop {
        let from = walk.at;
        let fail = |walk: &Walk<_>, fault| {
            Err(ArchiveError { at: from, entry: walk.entry.clone(), fault })
        };
        entries += 1;
        if entries > ENTRIES_MAX {
            return fail(&walk, Fault::TooMany);
        }
        let Some(header) = walk.header()? else { return Ok(index) };
        let kind = header.entry_type();
        let meta = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        let mut name = header.path_bytes().into_owned();
        if !meta {
            name = named.take().unwrap_or(name);
            walk.entry = String::from_utf8_lossy(&name).into_owned();
        }
        let len = match sized.take().filter(|_| !meta).map_or_else(|| header.entry_size(), Ok) {
            Ok(len) => len,
            Err(error) => return fail(&walk, Fault::Number(error)),
        };
        let body = walk.body(from, len)?;
        if kind.is_gnu_longname() {
            let mut long = walk.read(from, &body, "name", NAME_BYTES_MAX)?;
            long.truncate(long.iter().position(|byte| *byte == 0).unwrap_or(long.len()));
            named = Some(long);
        } else if kind.is_pax_local_extensions() {
            let text = walk.read(from, &body, "extended header", PAX_BYTES_MAX)?;
            match extensions(&text) {
                Ok((path, size)) => (named, sized) = (path.or(named), size),
                Err(fault) => return fail(&walk, fault),
            }
        } else if kind.is_gnu_sparse() || kind == EntryType::new(b'M') {
            let what = if kind.is_gnu_sparse() { "sparse" } else { "continued" };
            return fail(&walk, Fault::Pieces(what));
        } else if meta || kind.is_dir() || name.ends_with(b"/") {
            // of no use
        } else if kind.is_file() || kind == EntryType::Continuous {
            match inside(&name) {
                Some(name) => index.members.push(Member { name, offset: body.start, len }),
                None => return fail(&walk, Fault::Outside),
            }
        } else {
            if index.left_out == 0 {
                index.first_left_out.clone_from(&walk.entry);
            }
            index.left_out += 1;
        }
    }
}

/// Where the walk stands.
struct Walk<'a, R: ?Sized> {
    bytes: &'a R,
    at: u64,
    end: u64,
    entry: String,
}

impl<R: ReadAt + ?Sized> Walk<'_, R> {
    fn fail<T>(&self, at: u64, fault: Fault) -> Result<T, ArchiveError> {
        Err(ArchiveError { at, entry: self.entry.clone(), fault })
    }

    /// The next header, checked; `None` at the end-of-archive mark.
    fn header(&mut self) -> Result<Option<Header>, ArchiveError> {
        let at = self.at;
        if at == self.end {
            return self.fail(at, Fault::NoEnd);
        }
        if self.end - at < BLOCK {
            return self.fail(at, Fault::Truncated { found: self.end - at, expected: BLOCK });
        }
        let mut block = [0; BLOCK as usize];
        if let Err(error) = self.bytes.read_exact_at(&mut block, at) {
            return self.fail(at, Fault::Read(error));
        }
        self.at += BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None); // of the two blocks that POSIX asks for, one is enough
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum counts its own field (bytes 148 to 155) as spaces.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let found = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
        match header.cksum() {
            Ok(expected) if expected == found => Ok(Some(header)),
            expected => {
                let expected =
                    expected.map_or_else(|_| "a number".into(), |sum| sum.to_string());
                self.fail(at, Fault::Checksum { found, expected })
            }
        }
    }

    /// The bytes that follow a header; moves on to the next.
    fn body(&mut self, header: u64, len: u64) -> Result<Range<u64>, ArchiveError> {
        let (start, found) = (self.at, self.end - self.at);
        if len > found {
            return self.fail(header, Fault::Truncated { found, expected: len });
        }
        // The padding of the last entry may be cut away with the end mark.
        self.at = (start + len).next_multiple_of(BLOCK).min(self.end);
        Ok(start..start + len)
    }

    fn read(
        &self, header: u64, body: &Range<u64>, what: &'static str, limit: u64,
    ) -> Result<Vec<u8>, ArchiveError> {
        let found = body.end - body.start;
        if found > limit {
            return self.fail(header, Fault::TooLong { what, found, limit });
        }
        let mut text = vec![0; found as usize];
        match self.bytes.read_exact_at(&mut text, body.start) {
            Ok(()) => Ok(text),
            Err(error) => self.fail(header, Fault::Read(error)),
        }
    }
}

/// Name and size from a POSIX extended header.
fn extensions(text: &[u8]) -> Result<(Option<Vec<u8>>, Option<u64>), Fault> {
    let (mut path, mut size) = (None, None);
    for extension in PaxExtensions::new(text) {
        let extension = extension.map_err(Fault::Extension)?;
        let value = extension.value_bytes();
        match extension.key_bytes() {
            b"path" if value.len() as u64 > NAME_BYTES_MAX => {
                let (found, limit) = (value.len() as u64, NAME_BYTES_MAX);
                return Err(Fault::TooLong { what: "name", found, limit });
            }
            b"path" => path = Some(value.to_vec()),
            b"size" => {
                let number = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                let error = || io::Error::new(io::ErrorKind::InvalidData, "no size");
                size = Some(number.ok_or_else(|| Fault::Number(error()))?);
            }
            key if key.starts_with(b"GNU.sparse.") => return Err(Fault::Pieces("sparse")),
            _ => {}
        }
    }
    Ok((path, size))
}

/// A name without `./`, `//` and the like; nothing for one that is absolute, empty or climbs.
fn inside(name: &[u8]) -> Option<Vec<u8>> {
    if name.first() == Some(&b'/') || name.contains(&0) {
        return None;
    }
    let parts = name.split(|byte| *byte == b'/').filter(|part| !matches!(part, [] | [b'.']));
    let parts: Vec<_> = parts.collect();
    (!parts.is_empty() && !parts.contains(&&b".."[..])).then(|| parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{random::Draws, source::testing};

    fn names(bytes: &[u8]) -> Result<Vec<String>, ArchiveError> {
        let index = index(bytes, 0..bytes.len() as u64)?;
        Ok(index
            .members
            .iter()
            .map(|m| String::from_utf8_lossy(&m.name).into_owned())
            .collect())
    }

    fn header(kind: u8, name: &[u8], size: &[u8; 12]) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        header.as_old_mut().size = *size;
        header.set_entry_type(EntryType::new(kind));
        header.set_cksum();
        header.as_bytes().to_vec()
    }

    #[test]
    fn members_are_where_their_bytes_are_long_names_and_inner_archives_too() {
        let long = format!("{}/b", "a".repeat(300));
        let inner = testing::tar([("x", "first"), ("y", "second")]);
        let outer = testing::tar([(long.as_str(), b"1234".as_slice()), ("i.tar", &inner)]);
        let found = index(&outer[..], 0..outer.len() as u64).expect("sound");
        assert_eq!(found.members[0].name, long.as_bytes());
        let at = found.members[1].offset;
        let within = index(&outer[..], at..at + found.members[1].len).expect("sound");
        for (member, wanted) in within.members.iter().zip(["first", "second"]) {
            let range = member.offset as usize..(member.offset + member.len) as usize;
            assert_eq!(&outer[range], wanted.as_bytes());
        }
    }

    #[test]
    fn extended_headers_and_base_256_sizes_are_read() {
        let mut size = [0; 12];
        (size[0], size[11]) = (0x80, 3);
        let mut bytes = Vec::new();
        let path = "e".repeat(200);
        let text = format!("210 path={path}\n9 size=5\n");
        bytes.extend(header(b'x', b"pax", b"00000000333\0"));
        bytes.extend(text.bytes().chain(std::iter::repeat(0)).take(512));
        bytes.extend(header(b'0', b"short", b"00000000001\0"));
        bytes.extend([b'p'; 512]);
        bytes.extend(header(b'0', b"./c", &size));
        bytes.extend([b'c'; 512]);
        bytes.extend(header(b'5', b"d/", b"00000000000\0"));
        bytes.extend(header(b'2', b"link", b"00000000000\0"));
        bytes.extend([0; 1024]);
        let found = index(&bytes[..], 0..bytes.len() as u64).expect("sound");
        let members: Vec<_> =
            found.members.iter().map(|m| (m.name.as_slice(), m.offset, m.len)).collect();
        assert_eq!(members, [(path.as_bytes(), 1536, 5), (b"c", 2560, 3)]);
        assert_eq!((found.left_out, found.first_left_out.as_str()), (1, "link"));
    }

    #[test]
    fn every_truncation_is_noticed_with_place_and_entry() {
        let bytes = testing::tar([("first", vec![1; 700]), ("second", vec![2; 10])]);
        let end = 512 + 1024 + 512 + 512; // the end mark follows
        for len in 0..end {
            assert!(names(&bytes[..len]).is_err(), "{len} bytes");
        }
        let text = |len: usize| names(&bytes[..len]).expect_err("truncated").to_string();
        assert_eq!(text(1536 + 515), "byte 1536, second: truncated: 3 bytes are left of 10");
        assert_eq!(text(1536), "byte 1536, first: truncated: no end-of-archive mark follows");
        assert_eq!(names(&bytes[..end + 512]).expect("one zero block is enough").len(), 2);
    }

    #[test]
    fn what_no_archive_of_pictures_holds_is_refused() {
        let refused = |kind: u8, name: &str, size: &[u8; 12]| {
            let mut bytes = header(kind, name.as_bytes(), size);
            bytes.extend([0; 1024]);
            names(&bytes).expect_err("refused").to_string()
        };
        let none = b"00000000000\0";
        assert!(refused(b'0', "/etc/passwd", none).contains("leads out of the archive"));
        assert!(refused(b'0', "a/../../b", none).contains("leads out"));
        assert!(refused(b'S', "holes", none).contains("a sparse file"));
        assert!(refused(b'M', "more", none).contains("a continued file"));
        assert!(refused(b'0', "a", b"not a number").contains("no number"));
        assert!(refused(b'0', "a", b"77777777777\0").contains("truncated"));
        assert!(refused(b'0', "a", &[0xFF; 12]).contains("truncated"));
        let mut bytes = header(b'0', b"a", none);
        bytes[3] ^= 1;
        assert!(names(&bytes).expect_err("flipped").to_string().contains("no tar header"));
        let mut bytes = header(b'L', b"long", b"00000200000\0");
        bytes.resize(512 + 0o200_000 + 1024, b'a');
        assert!(names(&bytes).expect_err("long").to_string().contains("more than 4096"));
    }

    /// Headers are mutated with their checksums set right, so that all fields are reached.
    #[test]
    fn no_mutation_leads_out_of_the_archive_or_to_a_panic() {
        let inner = testing::tar([("x.JPEG", "1")]);
        let long = format!("{}/b", "a".repeat(200));
        let sound = testing::tar([("n1.tar", &inner[..]), (&long, b"long"), ("c", b"ccc")]);
        for i in 0..4000 {
            let mut draws = Draws::new(1, 0, 0, i);
            let mut bytes = sound.clone();
            for _ in 0..=draws.below(4) {
                let block = draws.below(bytes.len() as u32 / 512) as usize * 512;
                let at = block + draws.below(512) as usize;
                bytes[at] =
                    [0, 0xFF, b'7', b'/', draws.below(256) as u8][draws.below(5) as usize];
                let mut header = Header::from_byte_slice(&bytes[block..block + 512]).clone();
                header.set_cksum();
                bytes[block..block + 512].copy_from_slice(header.as_bytes());
            }
            bytes.truncate(bytes.len() - draws.below(512) as usize);
            if let Ok(index) = index(&bytes[..], 0..bytes.len() as u64) {
                for member in index.members {
                    assert!(member.offset + member.len <= bytes.len() as u64);
                    assert!(!member.name.starts_with(b"/"));
                }
            }
        }
    }
}
