//! Products of matrices by tiles: how many blocks share one, and what becomes of its sums.

use super::{
    launch::{Args, Launch, Ptr, Sink, int},
    numbers::{Numbers, kernels},
};
use bytemuck::{Pod, Zeroable};

/// Threads of a block that makes a tile: `TILE_THREADS` of `tile_f32.cuh`.
pub(crate) const THREADS: [u32; 3] = [256, 1, 1];
/// Blocks that keep a large device busy: two for each of 128 multiprocessors. Not asked of the device, so
/// that all devices add in the same order.
const BLOCKS_WANTED: usize = 256;
/// Terms that are worth a block of their own.
const TERMS_MIN: usize = 128;
/// Parts at most: their sums are written and read again.
const PARTS_MAX: usize = 64;

/// Into how many parts the terms of a product are split that has `tiles` tiles.
pub(crate) fn parts(tiles: usize, terms: usize) -> usize {
    let most = (terms / TERMS_MIN).clamp(1, PARTS_MAX);
    BLOCKS_WANTED.div_ceil(tiles).min(most)
}

/// What becomes of sums: the twin of `Finished` in `sums.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Finished {
    out: Ptr,
    bias: Ptr,
    rooms: Ptr,
    m: i32,
    n: i32,
    pitch: i32,
    accumulate: i32,
    relu: i32,
    wide: i32,
}

/// Where a product goes, `[m, groups n]`, and what is done on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epilogue {
    /// The sums.
    pub out: Ptr,
    /// Added to each row, if given.
    pub bias: Option<Ptr>,
    /// Add to what is there.
    pub accumulate: bool,
    /// `max(0, sum)` at the end.
    pub relu: bool,
    /// `out` is `f32`, whatever was multiplied.
    pub wide: bool,
}

impl Epilogue {
    /// Sums that overwrite `out`.
    pub const fn plain(out: Ptr) -> Self {
        Self { out, bias: None, accumulate: false, relu: false, wide: false }
    }

    /// For `groups` products of `m` by `n` sums, in `rooms` if their terms are split.
    pub(crate) fn of(&self, m: usize, n: usize, groups: usize, rooms: Ptr) -> Finished {
        Finished {
            out: self.out,
            bias: Ptr::or_null(self.bias),
            rooms,
            m: int(m),
            n: int(n),
            pitch: int(groups * n),
            accumulate: self.accumulate.into(),
            relu: self.relu.into(),
            wide: self.wide.into(),
        }
    }
}

/// Bytes of the rooms in which `parts` leave their sums; none for a single one.
pub(crate) const fn room_bytes(m: usize, n: usize, groups: usize, parts: usize) -> usize {
    if parts > 1 { parts * groups * m * n * size_of::<f32>() } else { 0 }
}

/// Adds up the parts, where there are several, to `out` of these numbers.
pub(crate) fn join(
    numbers: Numbers, finished: Finished, groups: usize, parts: usize, sink: Sink<'_>,
) {
    let sums = groups * finished.m as usize * finished.n as usize;
    let args = Args::new().with(finished).with(int(groups)).with(int(parts));
    sink(Launch::each(numbers.of(kernels!("join_parts")), sums, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tiles_with_many_terms_are_split_and_many_tiles_are_not() {
        assert_eq!(parts(7, 387_200), 37);
        assert_eq!(parts(1, 1 << 20), PARTS_MAX);
        assert_eq!(parts(300, 1 << 20), 1);
        assert_eq!(parts(1, 100), 1);
    }
}
