//! Markers and the segments after them (T.81, annex B.1.1).

use crate::jpeg::error::{JpegError, Reason};

pub(super) fn broken(offset: usize, reason: Reason) -> JpegError {
    JpegError::Broken { offset, reason }
}

/// The next marker at or after `at`, and the place after it. Bytes before it are passed over, as
/// libjpeg does.
pub(in crate::jpeg) fn next_marker(
    bytes: &[u8], mut at: usize,
) -> Result<(u8, usize), JpegError> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(found) = memchr::memchr(0xFF, rest) else {
            return Err(broken(bytes.len(), Reason::HeaderEnds));
        };
        at += found + 1;
        match bytes.get(at) {
            None => return Err(broken(bytes.len(), Reason::HeaderEnds)),
            Some(0xFF) => {} // a fill byte
            Some(0) => at += 1,
            Some(marker) => return Ok((*marker, at + 1)),
        }
    }
}

/// The bytes after a segment's length.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub(super) bytes: &'a [u8],
    /// Where they are in the file.
    offset: usize,
}

pub(super) fn segment(bytes: &[u8], start: usize) -> Result<Segment<'_>, JpegError> {
    let ends = || broken(bytes.len(), Reason::HeaderEnds);
    let length = bytes.get(start..start + 2).ok_or_else(ends)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    if length < 2 {
        return Err(broken(start, Reason::SegmentShort));
    }
    let content = bytes.get(start + 2..start + length).ok_or_else(ends)?;
    Ok(Segment { bytes: content, offset: start + 2 })
}

impl<'a> Segment<'a> {
    pub(super) fn end(self) -> usize {
        self.offset + self.bytes.len()
    }

    pub(super) fn broken(self, reason: Reason) -> JpegError {
        broken(self.offset, reason)
    }

    pub(super) fn slice(self, at: usize, len: usize) -> Result<&'a [u8], JpegError> {
        self.bytes.get(at..at + len).ok_or_else(|| self.broken(Reason::SegmentShort))
    }

    pub(super) fn u8(self, at: usize) -> Result<u8, JpegError> {
        Ok(self.slice(at, 1)?[0])
    }

    pub(super) fn u16(self, at: usize) -> Result<usize, JpegError> {
        let pair = self.slice(at, 2)?;
        Ok(usize::from(u16::from_be_bytes([pair[0], pair[1]])))
    }
}
