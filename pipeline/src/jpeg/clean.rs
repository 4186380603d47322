//! Entropy-coded data without their stuffing (T.81, annex B.1.1.5): a 0x00 follows each 0xFF that
//! is no marker. Taken out first, a piece at a time, so that the decoder's loop need not look.

use super::{
    entropy::Reader,
    error::{JpegError, Reason},
    header::next_marker,
};

/// Bytes of a piece: small enough for the caches, and much more than any group of blocks takes.
const PIECE: usize = 32 << 10;
/// Bytes that a reader has loaded and may not have taken.
const RESERVOIR: usize = 8;
/// Zeros after the last byte, so that 8 bytes may be loaded at it.
const PAD: usize = 16;

/// What ends an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A marker, and the place after it.
    Marker(u8, usize),
    /// No more bytes.
    File,
}

/// The clean bytes of one interval between markers, as far as they are needed.
#[derive(Debug)]
pub(super) struct Clean {
    bytes: Box<[u8]>,
    filled: usize,
    /// Clean bytes of the interval that were dropped before [`bytes`](Self::bytes).
    dropped: usize,
    /// The interval's first byte in the file.
    start: usize,
    /// The next byte of the file.
    next: usize,
    end: Option<End>,
}

impl Clean {
    pub(super) fn new() -> Self {
        let bytes = vec![0; PIECE + PAD].into_boxed_slice();
        Self { bytes, filled: 0, dropped: 0, start: 0, next: 0, end: None }
    }

    /// Begins the interval at `start` of the file.
    pub(super) fn begin(&mut self, start: usize) {
        (self.filled, self.dropped, self.start, self.next) = (0, 0, start, start);
        self.end = None;
        self.bytes[..PAD].fill(0);
    }

    /// The bytes loaded, then zeros.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled + PAD]
    }

    /// Loads until `reader` may take `need` bytes, or all of the interval is there.
    pub(super) fn ensure(&mut self, file: &[u8], reader: &mut Reader, need: usize) {
        assert!(need + RESERVOIR <= PIECE, "{need} bytes at once");
        if self.end.is_some() || self.filled >= reader.loaded() + need {
            return;
        }
        // What the reservoir still holds is kept, since the reader counts from its bytes.
        let done = reader.loaded().saturating_sub(RESERVOIR).min(self.filled);
        self.bytes.copy_within(done..self.filled, 0);
        self.filled -= done;
        self.dropped += done;
        reader.rebase(done);
        while self.end.is_none() && self.filled < PIECE {
            self.load(file);
        }
        self.bytes[self.filled..self.filled + PAD].fill(0);
    }

    /// Bytes up to and with the next 0xFF, or a marker.
    fn load(&mut self, file: &[u8]) {
        let rest = file.get(self.next..).unwrap_or_default();
        let rest = &rest[..rest.len().min(PIECE - self.filled)];
        let plain = memchr::memchr(0xFF, rest);
        let len = plain.unwrap_or(rest.len());
        self.bytes[self.filled..self.filled + len].copy_from_slice(&rest[..len]);
        self.filled += len;
        self.next += len;
        if plain.is_none() {
            if self.next >= file.len() {
                self.end = Some(End::File);
            }
            return;
        }
        let mut after = self.next + 1;
        while file.get(after) == Some(&0xFF) {
            after += 1; // fill bytes
        }
        match file.get(after) {
            Some(0) => {
                self.bytes[self.filled] = 0xFF;
                self.filled += 1;
                self.next = after + 1;
            }
            Some(marker) => self.end = Some(End::Marker(*marker, after + 1)),
            None => self.end = Some(End::File),
        }
    }

    /// Whether more was taken than the interval has.
    pub(super) fn is_overdrawn(&self, reader: &Reader) -> bool {
        reader.position_bits() > 8 * self.filled
    }

    /// What ends the interval, whether its bytes are loaded or not.
    pub(super) fn end(&self, file: &[u8]) -> End {
        self.end.unwrap_or_else(|| Self::end_from(file, self.next))
    }

    /// The next marker from a byte of the file on.
    pub(super) fn end_from(file: &[u8], at: usize) -> End {
        match next_marker(file, at) {
            Ok((marker, after)) => End::Marker(marker, after),
            Err(_) => End::File,
        }
    }

    /// An error at the byte of the file that `reader` has come to.
    #[cold]
    pub(super) fn broken(&self, file: &[u8], reader: &Reader, reason: Reason) -> JpegError {
        let (mut offset, mut left) = (self.start, self.dropped + reader.position_bits() / 8);
        while left > 0 {
            offset += match file.get(offset..) {
                Some([0xFF, 0, ..]) => 2,
                Some([0xFF, 0xFF, ..]) => {
                    offset += 1;
                    continue;
                }
                Some([0xFF, ..] | []) | None => break,
                Some(_) => 1,
            };
            left -= 1;
        }
        JpegError::Broken { offset, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(file: &[u8]) -> (Vec<u8>, End) {
        let mut clean = Clean::new();
        clean.begin(0);
        clean.ensure(file, &mut Reader::default(), PIECE - RESERVOIR);
        (clean.bytes[..clean.filled].to_vec(), clean.end(file))
    }

    #[test]
    fn stuffing_and_fill_bytes_are_taken_out() {
        let file = [1, 0xFF, 0, 2, 0xFF, 0xFF, 0, 3, 0xFF, 0xFF, 0xD3, 4];
        assert_eq!(clean(&file), (vec![1, 0xFF, 2, 0xFF, 3], End::Marker(0xD3, 11)));
        assert_eq!(clean(&[7, 0xFF]), (vec![7], End::File));
        assert_eq!(clean(&[]), (vec![], End::File));
    }

    /// Bit by bit over the end of a piece, so that it ends with any number of bits in the reservoir.
    #[test]
    fn a_reader_knows_its_place_when_bytes_are_dropped() {
        let file: Vec<u8> = (0..3 * PIECE).map(|i| (i % 251) as u8).collect();
        for first in 1..9 {
            let (mut clean, mut reader) = (Clean::new(), Reader::default());
            clean.begin(0);
            let mut taken = 0;
            for len in [first].into_iter().chain((1..=17).cycle()) {
                clean.ensure(&file, &mut reader, 9);
                reader.refill(clean.bytes()).expect("bytes");
                reader.take_bits(len);
                taken += len as usize;
                assert_eq!(8 * clean.dropped + reader.position_bits(), taken);
                if taken > 8 * (2 * PIECE + 100) {
                    break;
                }
            }
        }
    }

    #[test]
    fn the_end_is_found_beyond_the_piece() {
        let mut file = vec![0x11; 3 * PIECE];
        file[PIECE + 5] = 0xFF;
        file[PIECE + 6] = 0;
        let len = file.len();
        file.extend_from_slice(&[0xFF, 0xD9]);
        assert_eq!(clean(&file).1, End::Marker(0xD9, len + 2));
    }

    #[test]
    fn an_error_names_the_byte_of_the_file() {
        let mut file: Vec<u8> = (0..5 * PIECE).map(|i| (i % 251) as u8).collect();
        for i in (100..file.len() - 2).step_by(777) {
            file[i..i + 2].copy_from_slice(&[0xFF, 0]);
        }
        let mut clean = Clean::new();
        clean.begin(10);
        let mut reader = Reader::default();
        let (mut taken, mut wanted) = (0, 10);
        while taken < 4 * PIECE {
            clean.ensure(&file, &mut reader, 1000);
            let JpegError::Broken { offset, .. } = clean.broken(&file, &reader, Reason::Code)
            else {
                panic!("broken is broken")
            };
            assert_eq!(offset, wanted);
            reader.advance_bytes(97);
            taken += 97;
            for _ in 0..97 {
                wanted += if file[wanted] == 0xFF { 2 } else { 1 };
            }
        }
    }
}
