//! The innermost loop of every matrix product: a tile of `c` held in registers while `a` and `b`
//! stream past.
//!
//! `c[i, j] (+)= sum_k a[i, k] b[k, j]`. A row of `b` and `c` is a few vectors; `a` is read one
//! element at a time, so it may lie in memory as it likes.

use super::{
    LINE,
    vector::{Kernel, Simd, prefetch, prefetch_far},
};

/// How far the rows of a matrix are apart, and what is side by side in a row, in floats.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strides {
    /// From a row to the next.
    pub(crate) row: usize,
    /// From an element to the next; where whole vectors are read, from a vector to the next.
    pub(crate) col: usize,
}

/// A product of `rows` rows by `vectors` vectors over `depth` terms. Where `a` and `b` lie beyond the nearest cache,
/// being `FAR`, the next tile's rows and `next_b` are fetched meanwhile.
#[derive(Debug)]
pub(crate) struct Product<'a, const FAR: bool> {
    /// Rows of `a` and `c`.
    pub(crate) rows: usize,
    /// Terms of a sum: columns of `a`, rows of `b`.
    pub(crate) depth: usize,
    /// Vectors in a row of `b` and `c`: 1, 2 or 3.
    pub(crate) vectors: usize,
    /// Element (i, k) at `i a_at.row + k a_at.col`.
    pub(crate) a: &'a [f32],
    /// See `a`.
    pub(crate) a_at: Strides,
    /// Vector j of row k at `k b_at.row + j b_at.col`.
    pub(crate) b: &'a [f32],
    /// See `b`.
    pub(crate) b_at: Strides,
    /// Vector j of row i at `i c_at.row + j c_at.col`.
    pub(crate) c: &'a mut [f32],
    /// See `c`.
    pub(crate) c_at: Strides,
    /// Adds to `c` instead of overwriting it.
    pub(crate) add: bool,
    /// Where the next product's `b` begins, of the same depth and strides: `FAR` tiles fetch a vector of each row.
    pub(crate) next_b: Option<&'a [f32]>,
}

impl<const FAR: bool> Product<'_, FAR> {
    /// Computes it, in tiles of nearly equal height.
    ///
    /// # Panics
    /// If a slice is shorter than its matrix, or there are no terms.
    #[inline(always)]
    pub(crate) fn run<S: Simd<L>, const L: usize>(self, simd: S) {
        if self.rows == 0 {
            return;
        }
        assert!(self.depth > 0, "a product over no terms");
        let last =
            |rows: usize, cols: usize, at: Strides| (rows - 1) * at.row + (cols - 1) * at.col;
        assert!(last(self.rows, self.depth, self.a_at) < self.a.len(), "a");
        assert!(last(self.depth, self.vectors, self.b_at) + L <= self.b.len(), "b");
        assert!(last(self.rows, self.vectors, self.c_at) + L <= self.c.len(), "c");
        let tiles = self.rows.div_ceil(S::ROWS_MAX[self.vectors]);
        let (least, taller) = (self.rows / tiles, self.rows % tiles);
        let mut first = 0;
        for tile in 0..tiles {
            let rows = least + usize::from(tile < taller);
            // `c` may come from memory: it is fetched while the sums are made.
            for row in first..first + rows {
                for j in 0..self.vectors {
                    let c = self.c.as_ptr();
                    prefetch(c.wrapping_add(row * self.c_at.row + j * self.c_at.col));
                }
            }
            let vector = tile % self.vectors * self.b_at.col;
            let next_b = self.next_b.map(|b| b.as_ptr().wrapping_add(vector));
            // SAFETY: the whole matrices were just checked to lie in their slices, and these are
            // rows `first..first + rows` of them.
            let operands = unsafe {
                Operands::<FAR> {
                    depth: self.depth,
                    a: self.a.as_ptr().add(first * self.a_at.row),
                    a_at: self.a_at,
                    b: self.b.as_ptr(),
                    b_at: self.b_at,
                    c: self.c.as_mut_ptr().add(first * self.c_at.row),
                    c_at: self.c_at,
                    add: self.add,
                    next_b,
                }
            };
            // SAFETY: as above.
            unsafe { operands.dispatch(simd, rows, self.vectors) };
            first += rows;
        }
    }
}

#[derive(Clone, Copy)]
struct Operands<const FAR: bool> {
    depth: usize,
    a: *const f32,
    a_at: Strides,
    b: *const f32,
    b_at: Strides,
    c: *mut f32,
    c_at: Strides,
    add: bool,
    /// A vector in each of the rows here is fetched; any address will do.
    next_b: Option<*const f32>,
}

/// Calls the tile of `$rows` rows for each listed height.
macro_rules! heights {
    ($self:ident, $simd:ident, $rows:ident, $vectors:literal: $($height:literal)*) => {
        match $rows {
            $($height => $simd.call(Tile::<$height, $vectors, FAR>($self)),)*
            _ => unreachable!("a tile of {} rows by {}", $rows, $vectors),
        }
    };
}

impl<const FAR: bool> Operands<FAR> {
    /// # Safety
    /// `rows` by `vectors` vectors by `depth` lie within memory that is theirs, `c`'s for this call
    /// alone.
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
struct Tile<const ROWS: usize, const VECTORS: usize, const FAR: bool>(Operands<FAR>);

impl<const ROWS: usize, const VECTORS: usize, const FAR: bool> Kernel
    for Tile<ROWS, VECTORS, FAR>
{
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, simd: S) {
        let Operands { depth, a, a_at, b, b_at, c, c_at, add, next_b } = self.0;
        let mut sums = [[simd.zero(); VECTORS]; ROWS];
        // The next tile's rows of `a` begin here: a line a term where the terms of a row lie side by side.
        let next_a = a.wrapping_add(ROWS * a_at.row);
        let (line, lines) = match a_at.col {
            1 => (LINE, (ROWS * a_at.row).div_ceil(LINE)),
            col => (col, depth),
        };
        // SAFETY: the promise of `dispatch`: k < depth, i < ROWS and j < VECTORS stay within the
        // matrices.
        unsafe {
            for k in 0..depth {
                if FAR {
                    if let Some(next_b) = next_b {
                        prefetch_far(next_b.wrapping_add(k * b_at.row));
                    }
                    if k < lines {
                        prefetch(next_a.wrapping_add(k * line));
                    }
                }
                let mut row = [simd.zero(); VECTORS];
                for (j, v) in row.iter_mut().enumerate() {
                    *v = simd.load(&*b.add(k * b_at.row + j * b_at.col).cast());
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat(*a.add(i * a_at.row + k * a_at.col));
                    for (sum, v) in sums.iter_mut().zip(row) {
                        *sum = simd.fma(x, v, *sum);
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

    /// Every tile of a level, as it comes and turned, against the formula.
    struct Check;

    impl Kernel for Check {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd<L>, const L: usize>(self, simd: S) {
            for (vectors, rows_max) in S::ROWS_MAX.into_iter().enumerate().skip(1) {
                for rows in 1..2 * rows_max + 2 {
                    for (depth, turned) in [(1, false), (7, true), (16, false)] {
                        check::<S, L, false>(simd, rows, depth, vectors, turned);
                        check::<S, L, true>(simd, rows, depth, vectors, turned);
                    }
                }
            }
        }
    }

    fn check<S: Simd<L>, const L: usize, const FAR: bool>(
        simd: S, rows: usize, depth: usize, vectors: usize, turned: bool,
    ) {
        let a_at = if turned { [1, rows + 2] } else { [depth + 2, 1] };
        let [a_at, b_at, c_at] = [a_at, [L, depth * L + 1], [vectors * L + 3, L]]
            .map(|[row, col]| Strides { row, col });
        let a = noise(1, (rows + 2) * (depth + 2));
        let b = noise(2, vectors * (depth * L + 1));
        let before = noise(3, rows * c_at.row);
        for add in [false, true] {
            let mut c = before.clone();
            Product::<FAR> {
                rows,
                depth,
                vectors,
                a: &a,
                a_at,
                b: &b,
                b_at,
                c: &mut c,
                c_at,
                add,
                next_b: add.then_some(&b[..]), // which changes nothing
            }
            .run(simd);
            let mut wanted: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
            for (i, j) in (0..rows).flat_map(|i| (0..vectors * L).map(move |j| (i, j))) {
                let term = |k: usize| {
                    f64::from(a[i * a_at.row + k * a_at.col])
                        * f64::from(b[k * b_at.row + j / L * b_at.col + j % L])
                };
                let sum: f64 = (0..depth).map(term).sum();
                let c = &mut wanted[i * c_at.row + j];
                *c = sum + if add { *c } else { 0.0 };
            }
            close(&c, &wanted, 2e-6);
        }
    }

    #[test]
    fn tiles_of_every_height_and_width_agree_with_the_formula() {
        for level in Level::all() {
            level.run(Check);
        }
    }
}
