//! Matrix products by the `gemm` crate, which packs its operands and picks its micro-kernel (AVX-512,
//! AVX2, scalar) at run time. Threads are ours: a product is cut into parts that depend on the
//! number of workers only.

use super::Pool;

/// A matrix in a slice: element (i, j) is at `i row + j col`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `row` floats one after another.
    pub(crate) fn rows(data: &'a [f32], row: usize) -> Self {
        Self { data, row, col: 1 }
    }

    /// The same with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }
}

fn check(len: usize, rows: usize, cols: usize, row: usize, col: usize) {
    let last = (rows - 1) * row + (cols - 1) * col;
    assert!(last < len, "a matrix of {rows} x {cols} at {row}, {col} in {len} floats");
}

/// `c[m, n] (+)= a[m, k] b[k, n]`, `c` in rows of `c_row` floats, on the calling thread.
///
/// # Panics
/// If a slice is shorter than its matrix.
pub(crate) fn multiply(
    (m, n, k): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>, accumulate: bool,
    c: &mut [f32], c_row: usize,
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    check(a.data.len(), m, k, a.row, a.col);
    check(b.data.len(), k, n, b.row, b.col);
    check(c.len(), m, n, c_row, 1);
    // SAFETY: all elements of the three matrices lie within their slices, as just checked.
    unsafe { product((m, n, k), a, b, accumulate, c.as_mut_ptr(), c_row) }
}

/// As [`multiply`], shared out over the workers of `pool` by columns of `c`, or rows if there are
/// more.
///
/// # Panics
/// If a slice is shorter than its matrix.
pub(crate) fn multiply_shared(
    pool: &Pool, (m, n, k): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>,
    accumulate: bool, c: &mut [f32], c_row: usize,
) {
    if pool.threads() == 1 {
        return multiply((m, n, k), a, b, accumulate, c, c_row);
    }
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    check(a.data.len(), m, k, a.row, a.col);
    check(b.data.len(), k, n, b.row, b.col);
    check(c.len(), m, n, c_row, 1);
    assert!(c_row >= n, "rows of c overlap");
    let c = Shared(c.as_mut_ptr());
    let by_rows = m > n;
    let share = pool.share(if by_rows { m } else { n });
    let mut parts = vec![(); pool.threads()];
    pool.chunks(&mut parts, 1, |part, _| {
        let first = part * share;
        let whole = if by_rows { m } else { n };
        let count = share.min(whole.saturating_sub(first));
        if count == 0 {
            return;
        }
        let a_data = if by_rows { &a.data[first * a.row..] } else { a.data };
        let b_data = if by_rows { b.data } else { &b.data[first * b.col..] };
        let (a, b) = (Matrix { data: a_data, ..a }, Matrix { data: b_data, ..b });
        let (size, at) =
            if by_rows { ((count, n, k), first * c_row) } else { ((m, count, k), first) };
        // SAFETY: the whole matrices were checked to lie within their slices. This part reads its
        // rows of `a` or columns of `b`, and writes rows or columns of `c` that no other part
        // writes, since rows do not overlap.
        unsafe { product(size, a, b, accumulate, c.start().add(at), c_row) }
    });
}

/// The start of a matrix that several workers write disjoint parts of.
#[derive(Clone, Copy)]
struct Shared(*mut f32);
// SAFETY: only `multiply_shared` makes one, and gives each worker a part of its own.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn start(self) -> *mut f32 {
        self.0
    }
}

/// # Safety
/// All elements of the matrices lie within memory that is theirs, `c`'s for this call alone.
unsafe fn product(
    (m, n, k): (usize, usize, usize), a: Matrix<'_>, b: Matrix<'_>, accumulate: bool,
    c: *mut f32, c_row: usize,
) {
    let signed = |stride: usize| stride as isize;
    // SAFETY: the caller's promise; strides are in elements; `alpha` scales what was in `c`.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            signed(c_row),
            accumulate,
            a.data.as_ptr(),
            signed(a.col),
            signed(a.row),
            b.data.as_ptr(),
            signed(b.col),
            signed(b.row),
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Level;
    use crate::testing::{close, noise};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_agree_with_the_formula_however_they_are_shared(
            m in 1..40_usize, n in 1..40_usize, k in 1..40_usize, threads in 1..4_usize,
            turn_a: bool, turn_b: bool, accumulate: bool,
        ) {
            let pool = Pool::new("test", threads, Level::widest()).expect("threads");
            let (a, b, c_row) = (noise(1, m * k), noise(2, k * n), n + 3);
            let before = noise(3, m * c_row);
            let turned = |data, rows, cols, turn| if turn {
                Matrix::rows(data, rows).transposed()
            } else {
                Matrix::rows(data, cols)
            };
            let (a, b) = (turned(&a, m, k, turn_a), turned(&b, k, n, turn_b));
            let mut c = before.clone();
            multiply_shared(&pool, (m, n, k), a, b, accumulate, &mut c, c_row);
            let mut wanted: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
            for i in 0..m {
                for j in 0..n {
                    let at = |p| f64::from(a.data[i * a.row + p * a.col])
                        * f64::from(b.data[p * b.row + j * b.col]);
                    let sum: f64 = (0..k).map(at).sum();
                    let was = if accumulate { wanted[i * c_row + j] } else { 0.0 };
                    wanted[i * c_row + j] = was + sum;
                }
            }
            close(&c, &wanted, 1e-5);
        }
    }
}
