//! Reads a struct array from a MATLAB file of level 5 (MathWorks, "MAT-File Format"), as far as the
//! devkit's `meta.mat` needs it: texts and first numbers, compressed or not, of either byte order.
//! No crate on crates.io reads struct arrays without linking a C library.
//!
//! A file is a header of 128 bytes and elements: a tag (type, length), the bytes, zeros up to a
//! multiple of 8. An array is an element of elements: flags, dimensions, name, then its data.

use flate2::read::ZlibDecoder;
use std::{
    io::{self, Read as _},
    ops::Range,
};

const HEADER_BYTES: usize = 128;
/// All arrays together, decompressed; those of `meta.mat` have 2 MB.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// Cells of a table; ILSVRC-2012's has 1860 rows of 8.
const CELLS_MAX: usize = 1 << 20;
const FIELDS_MAX: usize = 64;

// Types of elements and classes of arrays, by the numbers of the format.
const INT8: u32 = 1;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const CLASS_STRUCT: u32 = 2;
const CLASS_CHAR: u32 = 4;
const CLASSES_NUMBER: Range<u32> = 6..16;

/// A table: rows of cells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) fields: Vec<String>,
    cells: Vec<Cell>,
}

impl Table {
    pub(super) fn rows(&self) -> impl Iterator<Item = &[Cell]> {
        self.cells.chunks_exact(self.fields.len())
    }
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Text(String),
    /// The first of an array of numbers.
    Number(f64),
    /// Empty, or of a class that is not read.
    Other,
}

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum MatError {
    #[error("not a MATLAB file of level 5")]
    NotMat,
    #[error("a MATLAB 7.3 file, which is HDF5 and not read")]
    Hdf5,
    #[error("byte {at}: truncated: {what} of {expected} bytes, {found} are left")]
    Truncated { at: usize, what: &'static str, found: usize, expected: usize },
    #[error("byte {at}: {what} of type {found}, expected {expected}")]
    Type { at: usize, what: &'static str, found: u32, expected: u32 },
    #[error("{what}: {found}, more than {limit}")]
    TooMany { what: &'static str, found: u64, limit: u64 },
    #[error("compressed data that is damaged")]
    Damaged(#[source] io::Error),
    #[error("no struct array {variable} is in it")]
    NoVariable { variable: &'static str },
    #[error("{variable} has no field {field}")]
    NoField { variable: &'static str, field: &'static str },
    #[error("row {row}: {reason}")]
    Row { row: usize, reason: &'static str },
}

/// The struct array of that name.
///
/// # Errors
/// If the file is damaged before it, or does not have it.
pub(super) fn read_struct(bytes: &[u8], variable: &'static str) -> Result<Table, MatError> {
    if bytes.starts_with(b"MATLAB 7.3") {
        return Err(MatError::Hdf5);
    }
    let big = match bytes.get(126..HEADER_BYTES) {
        Some(b"IM") => false,
        Some(b"MI") => true,
        _ => return Err(MatError::NotMat),
    };
    let mut file = Elements { bytes, at: HEADER_BYTES, big };
    let mut room = UNPACKED_BYTES_MAX;
    while !file.is_done() {
        let (kind, body) = file.next("a variable")?;
        let mut unpacked = Vec::new();
        let found = match kind {
            MATRIX => table(body, variable, big)?,
            COMPRESSED => {
                let mut unpacking = ZlibDecoder::new(body).take(room + 1);
                let found = unpacking.read_to_end(&mut unpacked).map_err(MatError::Damaged)?;
                let (found, limit) = (found as u64, UNPACKED_BYTES_MAX);
                room = room.checked_sub(found).ok_or(MatError::TooMany {
                    what: "decompressed bytes",
                    found: limit - room + found,
                    limit,
                })?;
                let (kind, body) =
                    Elements { bytes: &unpacked, at: 0, big }.next("a variable")?;
                if kind == MATRIX { table(body, variable, big)? } else { None }
            }
            _ => None,
        };
        if let Some(table) = found {
            return Ok(table);
        }
    }
    Err(MatError::NoVariable { variable })
}

/// A walk over elements.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Elements<'a> {
    fn is_done(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], MatError> {
        let left = &self.bytes[self.at.min(self.bytes.len())..];
        if len > left.len() {
            let (at, found, expected) = (self.at, left.len(), len);
            return Err(MatError::Truncated { at, what, found, expected });
        }
        self.at += len;
        Ok(&left[..len])
    }

    /// The next element: its type and its bytes.
    fn next(&mut self, what: &'static str) -> Result<(u32, &'a [u8]), MatError> {
        let word = self.take(4, what)?;
        let tag = u32_of(word, self.big);
        if tag >> 16 != 0 {
            // The short form: type and length in one word, and at most four bytes.
            let body = self.take(4, what)?;
            return Ok((tag & 0xFFFF, &body[..((tag >> 16) as usize).min(4)]));
        }
        let len = u32_of(self.take(4, what)?, self.big) as usize;
        let body = self.take(len, what)?;
        if tag != COMPRESSED {
            self.at += len.next_multiple_of(8) - len;
        }
        Ok((tag, body))
    }

    fn expect(&mut self, expected: u32, what: &'static str) -> Result<&'a [u8], MatError> {
        let at = self.at;
        match self.next(what)? {
            (found, body) if found == expected => Ok(body),
            (found, _) => Err(MatError::Type { at, what, found, expected }),
        }
    }

    /// What every array begins with: its class, how many values it has, and its name.
    fn array(&mut self) -> Result<(u32, u64, &'a [u8]), MatError> {
        let flags = self.expect(UINT32, "array flags")?;
        let class = flags.get(..4).map_or(0, |flags| u32_of(flags, self.big) & 0xFF);
        let sides = self.expect(INT32, "dimensions")?.chunks_exact(4);
        let count =
            sides.fold(1, |n: u64, side| n.saturating_mul(u64::from(u32_of(side, self.big))));
        Ok((class, count, self.expect(INT8, "a name")?))
    }
}

fn u32_of(bytes: &[u8], big: bool) -> u32 {
    let word = bytes.try_into().expect("four bytes");
    if big { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// An array as a table, if it is a struct array of that name.
fn table(bytes: &[u8], variable: &str, big: bool) -> Result<Option<Table>, MatError> {
    let mut elements = Elements { bytes, at: 0, big };
    let (class, rows, name) = elements.array()?;
    if class != CLASS_STRUCT || name != variable.as_bytes() {
        return Ok(None);
    }
    let at = elements.at;
    let width = match elements.expect(INT32, "the length of field names")? {
        [a, b, c, d] => u32_of(&[*a, *b, *c, *d], big) as usize,
        found => {
            let what = "the length of field names";
            return Err(MatError::Truncated { at, what, found: found.len(), expected: 4 });
        }
    };
    let names = elements.expect(INT8, "field names")?.chunks_exact(width.max(1));
    let fields: Vec<String> = names
        .map(|name| name.split(|byte| *byte == 0).next().unwrap_or_default())
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    let too_many = |what, found, limit| Err(MatError::TooMany { what, found, limit });
    if fields.is_empty() || fields.len() > FIELDS_MAX {
        return too_many("fields", fields.len() as u64, FIELDS_MAX as u64);
    }
    let count = rows.saturating_mul(fields.len() as u64);
    if count > CELLS_MAX as u64 {
        return too_many("cells", count, CELLS_MAX as u64);
    }
    let mut cells = Vec::new();
    for _ in 0..count {
        cells.push(cell(elements.expect(MATRIX, "a field")?, big)?);
    }
    Ok(Some(Table { fields, cells }))
}

fn cell(bytes: &[u8], big: bool) -> Result<Cell, MatError> {
    if bytes.is_empty() {
        return Ok(Cell::Other);
    }
    let mut elements = Elements { bytes, at: 0, big };
    let (class, count, _) = elements.array()?;
    if count == 0 {
        return Ok(Cell::Other);
    }
    if class == CLASS_CHAR {
        let (kind, body) = elements.next("text")?;
        return Ok(Cell::Text(text(kind, body, big)));
    }
    if CLASSES_NUMBER.contains(&class) {
        let (kind, body) = elements.next("numbers")?;
        return Ok(number(kind, body, big).map_or(Cell::Other, Cell::Number));
    }
    Ok(Cell::Other)
}

/// Characters of one byte, of UTF-8, of UTF-16 or of UTF-32; Latin-1 and ASCII are the same here.
fn text(kind: u32, body: &[u8], big: bool) -> String {
    match kind {
        4 | 17 => {
            let unit = |b: &[u8]| {
                if big {
                    u16::from_be_bytes([b[0], b[1]])
                } else {
                    u16::from_le_bytes([b[0], b[1]])
                }
            };
            let units: Vec<u16> = body.chunks_exact(2).map(unit).collect();
            String::from_utf16_lossy(&units)
        }
        18 => {
            let point =
                |b| char::from_u32(u32_of(b, big)).unwrap_or(char::REPLACEMENT_CHARACTER);
            body.chunks_exact(4).map(point).collect()
        }
        16 => String::from_utf8_lossy(body).into_owned(),
        _ => body.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The first number of an element.
fn number(kind: u32, body: &[u8], big: bool) -> Option<f64> {
    let bytes = match kind {
        1 | 2 => 1,
        3 | 4 => 2,
        5..=7 => 4,
        9 | 12 | 13 => 8,
        _ => return None,
    };
    let mut word = [0; 8];
    word[..bytes].copy_from_slice(body.get(..bytes)?);
    if big {
        word[..bytes].reverse();
    }
    let unsigned = u64::from_le_bytes(word);
    let shift = 64 - 8 * bytes as u32;
    Some(match kind {
        1 | 3 | 5 | 12 => ((unsigned << shift) as i64 >> shift) as f64,
        7 => f64::from(f32::from_bits(unsigned as u32)),
        9 => f64::from_bits(unsigned),
        _ => unsigned as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        random::Draws,
        source::testing::{ROWS, mat},
    };

    #[test]
    fn a_struct_array_is_read_in_either_byte_order_compressed_or_not() {
        for (big, compressed) in [(false, false), (false, true), (true, false), (true, true)] {
            let table = read_struct(&mat(&ROWS, big, compressed), "synsets").expect("sound");
            assert_eq!(table.fields[..2], ["ILSVRC2012_ID", "WNID"]);
            let rows: Vec<_> = table.rows().collect();
            assert_eq!(rows.len(), 4);
            assert_eq!(rows[2][0], Cell::Number(3.0));
            assert_eq!(rows[2][1], Cell::Text("n00000020".into()));
            assert_eq!(rows[2][2], Cell::Text("père".into()));
        }
    }

    /// `tests/golden/meta.py`: as MATLAB's, with all fields of the devkit, empty and nested ones.
    #[test]
    fn what_scipy_writes_is_read() {
        let bytes = include_bytes!("../../../tests/golden/meta.mat");
        let table = read_struct(bytes, "synsets").expect("sound");
        let fields = ["ILSVRC2012_ID", "WNID", "words", "gloss"];
        assert_eq!(table.fields[..4], fields);
        let rows: Vec<_> = table.rows().collect();
        let texts = |row: usize| match (&rows[row][1], &rows[row][2]) {
            (Cell::Text(wnid), Cell::Text(words)) => (wnid.as_str(), words.as_str()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rows.len(), 5);
        assert_eq!(rows[1][0], Cell::Number(2.0));
        assert_eq!(texts(0), ("n02119789", "kit fox, Vulpes macrotis"));
        assert_eq!(texts(3), ("n04404412", "télévision"));
        assert_eq!(rows[0][7], Cell::Number(1300.0));
        assert_eq!(rows[4][4], Cell::Number(4.0));
        assert_eq!(rows[4][5], Cell::Number(1.0)); // the first of its children
        assert_eq!(rows[0][5], Cell::Other); // it has none
    }

    #[test]
    fn no_truncation_and_no_mutation_leads_to_a_panic() {
        for (big, compressed) in [(false, false), (true, true)] {
            let sound = mat(&ROWS, big, compressed);
            for len in 0..sound.len() {
                assert!(read_struct(&sound[..len], "synsets").is_err(), "{len} bytes");
            }
            for i in 0..4000 {
                let mut draws = Draws::new(3, 0, 0, i);
                let mut bytes = sound.clone();
                for _ in 0..=draws.below(6) {
                    let at = 124 + draws.below(bytes.len() as u32 - 124) as usize;
                    bytes[at] = [0, 0xFF, 14, draws.below(256) as u8][draws.below(4) as usize];
                }
                let _ = read_struct(&bytes, "synsets"); // either will do
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let mut packer =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::copy(&mut io::repeat(0).take(UNPACKED_BYTES_MAX + 9), &mut packer)
            .expect("room");
        let packed = packer.finish().expect("room");
        let mut bytes = mat(&[], false, false)[..HEADER_BYTES].to_vec();
        bytes.extend(COMPRESSED.to_le_bytes());
        bytes.extend((packed.len() as u32).to_le_bytes());
        bytes.extend(packed);
        let error = read_struct(&bytes, "synsets").expect_err("a bomb").to_string();
        assert!(error.contains("decompressed bytes: 67108865, more than 67108864"), "{error}");
    }
}
