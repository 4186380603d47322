//! The innermost loop of products of bf16: as [`super::tile`], with two terms a step, summed in `f32`.
//!
//! `c[i, j] (+)= sum_k a[i, 2k] b[2k, j] + a[i, 2k + 1] b[2k + 1, j]`. Lanes of `b` are pairs of terms, and `a` is
//! read a pair at a time, at any bf16: a window may begin at an odd pixel. So a convolution's windows
//! are read where they lie, in runs of neighbours.

use super::{
    tile::Strides,
    vector::{Kernel, Simd, prefetch},
};

/// How often something repeats in `a`, and how many bf16s apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Repeat {
    pub(crate) count: usize,
    pub(crate) stride: usize,
}

impl Repeat {
    /// No repetition.
    pub(crate) const ONCE: Self = Self { count: 1, stride: 0 };

    /// From the first to the last.
    fn span(self) -> usize {
        (self.count - 1) * self.stride
    }
}

/// A product of `rows` rows by `vectors` vectors; its terms are `runs[0]` times `runs[1]` times `pairs`.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// Rows of `a` and `c`.
    pub(crate) rows: Repeat,
    /// Where runs of terms lie in `a`, the outer ones first.
    pub(crate) runs: [Repeat; 2],
    /// Pairs of a run.
    pub(crate) pairs: Repeat,
    /// The first pair of row i, run (r, s), step k at `i rows + r runs[0] + s runs[1] + k pairs`.
    pub(crate) a: &'a [u16],
    /// Vectors in a row of `b` and `c`: 1, 2 or 3.
    pub(crate) vectors: usize,
    /// A vector of pairs for each step, run after run, `vectors` of them side by side.
    pub(crate) b: &'a [f32],
    /// Vector j of row i at `i c_at.row + j c_at.col`.
    pub(crate) c: &'a mut [f32],
    /// See `c`.
    pub(crate) c_at: Strides,
    /// Adds to `c` instead of overwriting it.
    pub(crate) add: bool,
}

impl Product<'_> {
    /// Steps: pairs of all runs.
    fn steps(&self) -> usize {
        self.runs[0].count * self.runs[1].count * self.pairs.count
    }

    /// Computes it, in tiles of nearly equal height.
    ///
    /// # Panics
    /// If a slice is shorter than its matrix, or there are no terms.
    #[inline(always)]
    pub(crate) fn run<S: Simd<L>, const L: usize>(self, simd: S) {
        let count = self.rows.count;
        if count == 0 {
            return;
        }
        assert!(self.steps() > 0, "a product over no terms");
        let terms = [self.runs[0], self.runs[1], self.pairs].map(Repeat::span);
        let a_last = self.rows.span() + terms.iter().sum::<usize>() + 1;
        assert!(a_last < self.a.len(), "a");
        assert!(self.steps() * self.vectors * L <= self.b.len(), "b");
        let c_last = (count - 1) * self.c_at.row + (self.vectors - 1) * self.c_at.col;
        assert!(c_last + L <= self.c.len(), "c");
        let tiles = count.div_ceil(S::ROWS_MAX[self.vectors]);
        let (least, taller) = (count / tiles, count % tiles);
        let mut first = 0;
        for tile in 0..tiles {
            let rows = least + usize::from(tile < taller);
            for row in first..first + rows {
                for j in 0..self.vectors {
                    let c = self.c.as_ptr();
                    prefetch(c.wrapping_add(row * self.c_at.row + j * self.c_at.col));
                }
            }
            // SAFETY: the whole matrices were just checked to lie in their slices, and these are
            // rows `first..first + rows` of them.
            let operands = unsafe {
                Operands {
                    a: self.a.as_ptr().add(first * self.rows.stride),
                    row: self.rows.stride,
                    runs: self.runs,
                    pairs: self.pairs,
                    b: self.b.as_ptr(),
                    c: self.c.as_mut_ptr().add(first * self.c_at.row),
                    c_at: self.c_at,
                    add: self.add,
                }
            };
            // SAFETY: as above.
            unsafe { operands.dispatch(simd, rows, self.vectors) };
            first += rows;
        }
    }
}

#[derive(Clone, Copy)]
struct Operands {
    a: *const u16,
    row: usize,
    runs: [Repeat; 2],
    pairs: Repeat,
    b: *const f32,
    c: *mut f32,
    c_at: Strides,
    add: bool,
}

/// Calls the tile of `$rows` rows for each listed height.
macro_rules! heights {
    ($self:ident, $simd:ident, $rows:ident, $vectors:literal: $($height:literal)*) => {
        match $rows {
            $($height => $simd.call(Tile::<$height, $vectors>($self)),)*
            _ => unreachable!("a tile of {} rows by {}", $rows, $vectors),
        }
    };
}

impl Operands {
    /// # Safety
    /// `rows` rows of all runs and `vectors` vectors lie within memory that is theirs, `c`'s for this
    /// call alone.
    #[inline(always)]
    unsafe fn dispatch<S: Simd<L>, const L: usize>(self, simd: S, rows: usize, vectors: usize) {
        match vectors {
            1 => heights!(self, simd, rows, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            2 => heights!(self, simd, rows, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            3 => heights!(self, simd, rows, 3: 1 2 3 4 5 6 7 8 9),
            _ => unreachable!("rows of {vectors} vectors"),
        }
    }
}

/// One tile of `ROWS` rows by `VECTORS` vectors, made by [`Operands::dispatch`] only.
struct Tile<const ROWS: usize, const VECTORS: usize>(Operands);

impl<const ROWS: usize, const VECTORS: usize> Kernel for Tile<ROWS, VECTORS> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, simd: S) {
        let Operands { a, row, runs: [outer, inner], pairs, mut b, c, c_at, add } = self.0;
        let mut sums = [[simd.zero(); VECTORS]; ROWS];
        // SAFETY: the promise of `dispatch`: all steps of all runs of ROWS rows stay within `a` and
        // `b`, and ROWS by VECTORS vectors within `c`. The two bf16s of a pair may begin at any.
        unsafe {
            for outer in (0..outer.count).map(|i| i * outer.stride) {
                for inner in (0..inner.count).map(|i| i * inner.stride) {
                    let mut a = a.add(outer + inner);
                    for _ in 0..pairs.count {
                        let mut vectors = [simd.zero(); VECTORS];
                        for (j, v) in vectors.iter_mut().enumerate() {
                            *v = simd.load(&*b.add(j * L).cast());
                        }
                        for (i, sums) in sums.iter_mut().enumerate() {
                            let pair = a.add(i * row).cast::<f32>().read_unaligned();
                            let pair = simd.splat(pair);
                            for (sum, v) in sums.iter_mut().zip(vectors) {
                                *sum = simd.dot(pair, v, *sum);
                            }
                        }
                        b = b.add(VECTORS * L);
                        a = a.wrapping_add(pairs.stride);
                    }
                }
            }
            for (i, sums) in sums.iter().enumerate() {
                for (j, sum) in sums.iter().enumerate() {
                    let to = &mut *c.add(i * c_at.row + j * c_at.col).cast();
                    simd.store(if add { simd.add(*sum, simd.load(to)) } else { *sum }, to);
                }
            }
        }
    }
}
