//! Why a file is not decoded.

use super::Region;
use crate::decode::{DIMENSION_MAX, PIXELS_MAX};

/// A file that is broken, or that another decoder is for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum JpegError {
    /// Sound, as far as was read, and of a kind that is not decoded.
    #[error("{0}, which is not supported")]
    Unsupported(&'static str),
    #[error("{reason}, at byte {offset}")]
    Broken { offset: usize, reason: Reason },
    #[error(
        "{width} x {height} pixels, more than {DIMENSION_MAX} a side or {PIXELS_MAX} in all"
    )]
    TooLarge { width: usize, height: usize },
    #[error("no such region in {width} x {height} pixels: {region:?}")]
    Region { region: Region, width: usize, height: usize },
}

/// What is wrong with a broken file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Reason {
    #[error("no start-of-image marker")]
    NoStart,
    #[error("the header ends early")]
    HeaderEnds,
    #[error("a segment shorter than its content")]
    SegmentShort,
    #[error("a marker 0xFF{0:02X} where none may be")]
    Marker(u8),
    #[error("a scan before the frame header")]
    NoFrame,
    #[error("a picture without pixels")]
    NoPixels,
    #[error("sampling factors that are not 1 to 4")]
    Sampling,
    #[error("a quantisation table that is not there")]
    NoQuantisation,
    #[error("a Huffman table that is not there")]
    NoHuffman,
    #[error("a table number that is not 0 to 3")]
    TableNumber,
    #[error("no Huffman code has these lengths")]
    HuffmanLengths,
    #[error("a DC code for more than 15 bits")]
    HuffmanSymbol,
    #[error("a scan of components that the frame does not have")]
    ScanComponents,
    #[error("a scan of coefficients or bits that no progressive picture has")]
    ScanParameters,
    #[error("more than {0} scans")]
    Scans(usize),
    #[error("coefficients that no scan codes, or not to their last bit")]
    Incomplete,
    #[error("a bit sequence that is no code")]
    Code,
    #[error("a coefficient after the last of its block")]
    Overrun,
    #[error("the entropy-coded data end early")]
    DataEnd,
    #[error("restart marker {expected} is missing")]
    Restart { expected: u8 },
}
