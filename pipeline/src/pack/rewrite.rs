//! A file's bytes to those of the same pixels, in which a region's rows are found without decoding
//! the rows above it; held to each other before one takes the place of the other.

use crate::jpeg::{Decoder, JpegError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Rewrites one file at a time; keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct Rewriter {
    decoder: Decoder,
    out: Vec<u8>,
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Rewriter {
    /// The new bytes; none for other formats, and for the few JPEGs that are to stay as they are.
    pub(super) fn rewritten(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let Self { decoder, out, before, after } = self;
        let same = catch_unwind(AssertUnwindSafe(|| -> Result<bool, JpegError> {
            decoder.transcode(bytes, out)?;
            decoder.decode(bytes, before)?;
            decoder.decode(out, after)?;
            Ok(before == after)
        }));
        matches!(same, Ok(Ok(true))).then(|| out.clone())
    }
}
