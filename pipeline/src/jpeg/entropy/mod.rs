//! Entropy-coded data to coefficients (T.81, annex F.2.2), or past them.
//!
//! In: bytes without stuffing, from [`Clean`](super::clean::Clean). Out: blocks of 64 coefficients.
//! The loop's pace is set by one chain: shift, look up, shift. So all else keeps off that chain:
//! the reservoir is refilled without a branch, values come out of the tables, and what a table does
//! not hold is computed beside the chain.

mod block;
mod bmi2;
mod reader;
mod skip;

pub(super) use reader::Reader;

use super::{
    header::COMPONENTS_MAX,
    huffman::Tables,
    level::{Level, Set},
};

/// What stops the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Bits that are no code.
    Code,
    /// A coefficient after the 63rd.
    Overrun,
    /// No bytes are left.
    Starved,
}

/// The order of the coefficients in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Row by row.
    Natural,
    /// As coded: the widest inverse transform sorts them itself.
    Zigzag,
}

impl Order {
    pub(super) fn of(level: Level) -> Self {
        match level.set() {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => Self::Zigzag,
            _ => Self::Natural,
        }
    }

    /// Where coefficient `k` of the zigzag is in a block.
    pub(super) fn place(self, k: usize) -> usize {
        match self {
            Self::Natural => usize::from(ZIGZAG[k]),
            Self::Zigzag => k,
        }
    }
}

/// Place of coefficient `k` of the zigzag in a block of rows (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27,
    20, 13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// One block of an MCU.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Slot {
    /// Index of its component in the scan.
    pub(super) component: usize,
    /// Its place among a group's blocks, for the group's first MCU.
    pub(super) first: usize,
    /// From there to its place for the next MCU.
    pub(super) step: usize,
}

/// What decoding an MCU takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mcu<'a> {
    pub(super) slots: &'a [Slot],
    /// By component.
    pub(super) tables: [&'a Tables; COMPONENTS_MAX],
}

/// The last DC value of each component.
pub(super) type Prediction = [i32; COMPONENTS_MAX];

/// Decodes `count` MCUs into `blocks`, which are zero.
pub(super) fn decode(
    level: Level, reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize,
    prediction: &mut Prediction, blocks: &mut [[i16; 64]],
) -> Result<(), Fault> {
    match level.set() {
        Set::Baseline => {
            block::decode::<block::Natural>(reader, data, mcu, count, prediction, blocks)
        }
        #[cfg(target_arch = "x86_64")]
        _ => bmi2::decode(level, reader, data, mcu, count, prediction, blocks),
    }
}

/// Passes over `count` MCUs.
pub(super) fn skip(
    level: Level, reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize,
    prediction: &mut Prediction,
) -> Result<(), Fault> {
    match level.set() {
        Set::Baseline => skip::skip(reader, data, mcu, count, prediction),
        #[cfg(target_arch = "x86_64")]
        _ => bmi2::skip(level, reader, data, mcu, count, prediction),
    }
}
