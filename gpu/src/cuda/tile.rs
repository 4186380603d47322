//! Products of matrices by tiles: which there are, how many blocks share a product, and what becomes of its sums.

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

/// The sums that a block makes at a time, rows by columns: the twin of `FOR_TILES` in `tile_cores.cuh`.
///
/// A sum adds its terms in the same order whatever the tile, and is split into as many parts: a tile changes how
/// long a product takes, and no bit of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tile {
    /// 64 by 64: for few sums, or many terms.
    Small,
    /// 128 by 64.
    Tall,
    /// 128 by 128: reads the least, and wants the most registers.
    Large,
}

impl Tile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Small, Self::Tall, Self::Large];

    /// The name in kernels, tables and files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Small => "64x64",
            Self::Tall => "128x64",
            Self::Large => "128x128",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tile| tile.name() == name)
    }

    /// Rows.
    pub const fn rows(self) -> usize {
        match self {
            Self::Small => 64,
            Self::Tall | Self::Large => 128,
        }
    }

    /// Columns.
    pub const fn columns(self) -> usize {
        match self {
            Self::Small | Self::Tall => 64,
            Self::Large => 128,
        }
    }

    /// Tiles of `m` by `n` sums, along both.
    pub(crate) const fn count(self, m: usize, n: usize) -> [usize; 2] {
        [m.div_ceil(self.rows()), n.div_ceil(self.columns())]
    }
}

/// What a product multiplies, and by which tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiled {
    /// The factors.
    pub numbers: Numbers,
    /// None: the one that the product takes by itself.
    pub tile: Option<Tile>,
}

impl From<Numbers> for Tiled {
    fn from(numbers: Numbers) -> Self {
        Self { numbers, tile: None }
    }
}

/// The kernels of a product: of all numbers, by all tiles.
pub(crate) type Kernels = [[&'static str; Tile::ALL.len()]; Numbers::ALL.len()];

/// [`Kernels`] by their common name.
macro_rules! products {
    ($name:literal) => {
        [
            [
                concat!($name, "_f32_64x64"),
                concat!($name, "_f32_128x64"),
                concat!($name, "_f32_128x128"),
            ],
            [
                concat!($name, "_bf16_64x64"),
                concat!($name, "_bf16_128x64"),
                concat!($name, "_bf16_128x128"),
            ],
            [
                concat!($name, "_f16_64x64"),
                concat!($name, "_f16_128x64"),
                concat!($name, "_f16_128x128"),
            ],
            [
                concat!($name, "_tf32_64x64"),
                concat!($name, "_tf32_128x64"),
                concat!($name, "_tf32_128x128"),
            ],
        ]
    };
}
pub(crate) use products;

/// The one for these.
pub(crate) const fn kernel(kernels: Kernels, numbers: Numbers, tile: Tile) -> &'static str {
    kernels[numbers as usize][tile as usize]
}

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
    fn tiles_are_known_by_their_names() {
        for tile in Tile::ALL {
            assert_eq!(tile.name(), format!("{}x{}", tile.rows(), tile.columns()));
            assert_eq!(Tile::named(tile.name()), Some(tile));
        }
        assert_eq!(Tile::named("256x64"), None);
        assert_eq!(Tile::Tall.count(129, 64), [2, 1]);
    }

    #[test]
    fn few_tiles_with_many_terms_are_split_and_many_tiles_are_not() {
        assert_eq!(parts(7, 387_200), 37);
        assert_eq!(parts(1, 1 << 20), PARTS_MAX);
        assert_eq!(parts(300, 1 << 20), 1);
        assert_eq!(parts(1, 100), 1);
    }
}
