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

/// A product of `rows[0]` times `rows[1]` rows by `vectors` vectors; its terms are `runs[0]` times `runs[1]`
/// times `pairs`.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// Rows of `a` and `c`, the outer ones first.
    pub(crate) rows: [Repeat; 2],
    /// Where runs of terms lie in `a`, the outer ones first.
    pub(crate) runs: [Repeat; 2],
    /// Pairs of a run.
    pub(crate) pairs: Repeat,
    /// The first pair of row (h, i), run (r, s), step k at `h rows[0] + i rows[1] + r runs[0] + s runs[1] + k pairs`.
    pub(crate) a: &'a [u16],
    /// Vectors in a row of `b` and `c`: 1, 2 or 3.
    pub(crate) vectors: usize,
    /// A vector of pairs for each step, run after run, `vectors` of them side by side.
    pub(crate) b: &'a [f32],
    /// Vector j of the i-th of all rows at `i c_at.row + j c_at.col`.
    pub(crate) c: &'a mut [f32],
    /// See `c`.
    pub(crate) c_at: Strides,
    /// Adds to `c` instead of overwriting it.
    pub(crate) add: bool,
    /// What the caller writes and reads next: a matrix unit fetches it meanwhile, two lines of each a step.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "no matrix unit"))]
    pub(crate) next: [&'a [f32]; 2],
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
    pub(crate) fn run<S: Simd<L>, const L: usize>(mut self, simd: S) {
        let [outer, inner] = self.rows;
        let count = outer.count * inner.count;
        if count == 0 {
            return;
        }
        assert!(self.steps() > 0, "a product over no terms");
        let spans = [outer, inner, self.runs[0], self.runs[1], self.pairs].map(Repeat::span);
        assert!(spans.iter().sum::<usize>() + 1 < self.a.len(), "a");
        assert!(self.steps() * self.vectors * L <= self.b.len(), "b");
        let c_last = (count - 1) * self.c_at.row + (self.vectors - 1) * self.c_at.col;
        assert!(c_last + L <= self.c.len(), "c");
        #[cfg(target_arch = "x86_64")]
        if let Some(amx) = simd.amx()
            && super::amx::fits(&self)
        {
            // SAFETY: the whole matrices were just checked to lie in their slices.
            return unsafe { amx.run(&mut self) };
        }
        for i in 0..outer.count {
            // SAFETY: as above, and this is one of the outer rows.
            unsafe { self.run_inner(simd, i) };
        }
    }

    /// The rows of outer row `i`.
    ///
    /// # Safety
    /// All rows, steps and vectors lie within the slices.
    #[inline(always)]
    unsafe fn run_inner<S: Simd<L>, const L: usize>(&mut self, simd: S, i: usize) {
        let [outer, inner] = self.rows;
        let tiles = inner.count.div_ceil(S::ROWS_MAX[self.vectors]);
        let (least, taller) = (inner.count / tiles, inner.count % tiles);
        let mut first = 0;
        for tile in 0..tiles {
            let rows = least + usize::from(tile < taller);
            let c_first = (i * inner.count + first) * self.c_at.row;
            for row in 0..rows {
                for j in 0..self.vectors {
                    let c = self.c.as_ptr();
                    prefetch(c.wrapping_add(c_first + row * self.c_at.row + j * self.c_at.col));
                }
            }
            // SAFETY: the caller's promise, and these are rows `first..first + rows`.
            let operands = unsafe {
                Operands {
                    a: self.a.as_ptr().add(i * outer.stride + first * inner.stride),
                    row: inner.stride,
                    runs: self.runs,
                    pairs: self.pairs,
                    b: self.b.as_ptr(),
                    c: self.c.as_mut_ptr().add(c_first),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Level,
        testing::{close, noise},
    };
    use proptest::prelude::*;

    /// One product, whose factors are bf16s already.
    #[derive(Debug, Clone, Copy)]
    struct Case {
        rows: [Repeat; 2],
        runs: [Repeat; 2],
        pairs: Repeat,
        vectors: usize,
        add: bool,
    }

    fn cut(values: Vec<f32>) -> Vec<u16> {
        values.into_iter().map(|x| (x.to_bits() >> 16) as u16).collect()
    }

    fn widen(x: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(x) << 16))
    }

    impl Kernel for Case {
        type Out = ();

        #[inline(always)]
        fn run<S: Simd<L>, const L: usize>(self, s: S) {
            let Self { rows, runs, pairs, vectors, add } = self;
            let spans = [rows[0], rows[1], runs[0], runs[1], pairs].map(Repeat::span);
            let a = cut(noise(1, spans.iter().sum::<usize>() + 2));
            let steps = runs[0].count * runs[1].count * pairs.count;
            let b = cut(noise(2, 2 * steps * vectors * L));
            let c_at = Strides { row: vectors * L + 1, col: L };
            let all = rows[0].count * rows[1].count;
            let before = noise(3, all * c_at.row);
            let mut c = before.clone();
            let packed: Vec<f32> = b
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[low, high]| f32::from_bits(u32::from(*high) << 16 | u32::from(*low)))
                .collect();
            let next = [&packed[..], &before[1..]]; // which changes nothing
            Product {
                rows,
                runs,
                pairs,
                a: &a,
                vectors,
                b: &packed,
                c: &mut c,
                c_at,
                add,
                next,
            }
            .run(s);
            let mut wanted: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
            for (i, j) in (0..all).flat_map(|i| (0..vectors * L).map(move |j| (i, j))) {
                let row =
                    i / rows[1].count * rows[0].stride + i % rows[1].count * rows[1].stride;
                let term = |step: usize| {
                    let (run, k) = (step / pairs.count, step % pairs.count);
                    let run = run / runs[1].count * runs[0].stride
                        + run % runs[1].count * runs[1].stride;
                    let (a, b) = (
                        &a[row + run + k * pairs.stride..],
                        &b[2 * (step * vectors * L + j)..],
                    );
                    widen(a[0]) * widen(b[0]) + widen(a[1]) * widen(b[1])
                };
                let c = &mut wanted[i * c_at.row + j];
                *c = (0..steps).map(term).sum::<f64>() + if add { *c } else { 0.0 };
            }
            close(&c, &wanted, 4e-6);
        }
    }

    fn repeat(counts: std::ops::Range<usize>) -> impl Strategy<Value = Repeat> {
        (counts, 1..40_usize).prop_map(|(count, stride)| Repeat { count, stride })
    }

    proptest! {
        #[test]
        fn products_of_every_level_agree_with_the_formula(
            outer in repeat(1..4), inner in repeat(1..40), runs in [repeat(1..4), repeat(1..6)],
            count in 1..60_usize, apart: bool, vectors in 1..4_usize, add: bool,
        ) {
            let pairs = Repeat { count, stride: if apart { 5 } else { 2 } };
            let case = Case { rows: [outer, inner], runs, pairs, vectors, add };
            Level::all_for_bf16().into_iter().for_each(|level| level.run_pairs(case));
        }
    }
}
