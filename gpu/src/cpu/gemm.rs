//! Matrix products of any shape and layout: both operands are packed into blocks that the caches
//! hold, and the tiles of [`super::tile`] do the rest.
//!
//! Threads are ours: rows are shared out, so that the sums are the same for any number of workers.

use super::{
    LINE, Level, Pool,
    tile::{Product, Strides},
    vector::{Kernel, Simd, prefetch},
};

/// Rows of a tile, at most.
pub(super) const TILE_ROWS: usize = 14;
/// Terms of a sum in a block.
const TERMS: usize = 512;
/// Vectors of `b` and `c` in a panel.
pub(crate) const VECTORS: usize = 2;

/// Rows of `a` in a block: with [`TERMS`], 224 KiB of a large second-level cache, or 112. All of `b` is read for each.
fn block_rows(level: Level) -> usize {
    TILE_ROWS * if level.has_matrix_unit() { 8 } else { 4 }
}

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

    /// From element (i, j) on.
    pub(crate) fn from(self, i: usize, j: usize) -> Self {
        Self { data: &self.data[i * self.row + j * self.col..], ..self }
    }
}

/// Rows, columns, and terms of a sum.
pub(crate) type Size = (usize, usize, usize);

/// `c[m, n] (+)= a[m, k] b[k, n]`, `c` in rows of `c_row` floats, on the calling thread. `room` is
/// [`room_len`] floats of scratch memory.
///
/// # Panics
/// If a slice is shorter than its matrix.
pub(crate) fn multiply(
    level: Level, room: &mut [f32], (m, n, k): Size, a: Matrix<'_>, b: Matrix<'_>, add: bool,
    (c, c_row): (&mut [f32], usize),
) {
    let panel_len = k * VECTORS * level.lanes();
    let (packed, room) = room.split_at_mut(packed_len(level, n, k));
    for (panel, packed) in packed.chunks_exact_mut(panel_len).enumerate() {
        level.run(Pack { n, k, b, panel, packed });
    }
    let block = block_rows(level);
    level.run(Rows { size: (m, n, k), block, a, packed, add, c, c_row, room });
}

/// As [`multiply`], rows shared out over the workers of `pool`.
///
/// # Panics
/// If a slice is shorter than its matrix.
pub(crate) fn multiply_shared(
    pool: &Pool, room: &mut [f32], (m, n, k): Size, a: Matrix<'_>, b: Matrix<'_>, add: bool,
    (c, c_row): (&mut [f32], usize),
) {
    let level = pool.level();
    let (packed, rooms) = room.split_at_mut(packed_len(level, n, k));
    pack_shared(pool, (n, k), b, packed);
    // Whole tiles for every worker but the last.
    let share = pool.share(m).next_multiple_of(TILE_ROWS);
    let c = &mut c[..(m - 1) * c_row + n];
    let rooms = (rooms, worker_len(level));
    pool.zip_chunks((c, share * c_row), rooms, |part, c, room| {
        let (first, count) = (part * share, share.min(m - part * share));
        let (size, a, block) = ((count, n, k), a.from(first, 0), block_rows(level));
        level.run(Rows { size, block, a, packed, add, c, c_row, room });
    });
}

/// Packs `b[k, n]` into [`packed_len`] floats: panels of [`VECTORS`] vectors of columns, `[panel, k,
/// lane]`, zeros right of the matrix.
pub(crate) fn pack_shared(
    pool: &Pool, (n, k): (usize, usize), b: Matrix<'_>, packed: &mut [f32],
) {
    let level = pool.level();
    pool.chunks(packed, k * VECTORS * level.lanes(), |panel, packed| {
        level.run(Pack { n, k, b, panel, packed });
    });
}

/// Floats of scratch memory for a product of this size by `threads` workers.
pub(crate) fn room_len(level: Level, threads: usize, (_, n, k): Size) -> usize {
    packed_len(level, n, k) + threads * worker_len(level)
}

/// Floats of a packed matrix.
pub(crate) fn packed_len(level: Level, n: usize, k: usize) -> usize {
    let width = VECTORS * level.lanes();
    n.div_ceil(width) * k * width
}

/// A block of `a`, and of `c` for columns that are no whole vector.
fn worker_len(level: Level) -> usize {
    let rows = block_rows(level);
    (rows * (TERMS + LINE)).max(TERMS * (rows + LINE)) + rows * VECTORS * level.lanes()
}

/// Panel `panel` of `b`, see [`pack_shared`].
struct Pack<'a> {
    n: usize,
    k: usize,
    b: Matrix<'a>,
    panel: usize,
    packed: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { k, b, .. } = self;
        let width = VECTORS * L;
        let first = self.panel * width;
        let valid = width.min(self.n - first);
        let b = b.from(0, first);
        let packed = self.packed;
        if b.col == 1 {
            for (k, packed) in packed.chunks_exact_mut(width).enumerate() {
                packed[..valid].copy_from_slice(&b.data[k * b.row..][..valid]);
                packed[valid..].fill(0.0);
            }
            return;
        }
        let row = b.row;
        for vector in 0..VECTORS {
            let valid = valid.saturating_sub(vector * L).min(L);
            for from in (0..k).step_by(L) {
                let terms = L.min(k - from);
                let mut columns = [s.zero(); L];
                for (lane, column) in columns.iter_mut().take(valid).enumerate() {
                    let b = &b.data[(vector * L + lane) * b.col + from * b.row..];
                    *column = match b.first_chunk() {
                        Some(side_by_side) if row == 1 && terms == L => s.load(side_by_side),
                        _ => {
                            let mut term = [0.0; L];
                            let apart = b.iter().step_by(row).take(terms);
                            term.iter_mut().zip(apart).for_each(|(term, b)| *term = *b);
                            s.load(&term)
                        }
                    };
                }
                let rows = s.transpose(columns);
                for (i, row) in rows.into_iter().take(terms).enumerate() {
                    let to = &mut packed[(from + i) * width + vector * L..];
                    s.store(row, to.first_chunk_mut().expect("a panel's row"));
                }
            }
        }
    }
}

/// Some rows of `c`.
struct Rows<'a> {
    size: Size,
    /// Rows of `a` in a block.
    block: usize,
    a: Matrix<'a>,
    packed: &'a [f32],
    add: bool,
    c: &'a mut [f32],
    c_row: usize,
    room: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { size: (m, n, k), block, a, packed, add, c, c_row, room } = self;
        let width = VECTORS * L;
        let (edge, room) = room.split_at_mut(block * width);
        let panels = n.div_ceil(width);
        for row in (0..m).step_by(block) {
            let rows = block.min(m - row);
            for term in (0..k).step_by(TERMS) {
                let terms = TERMS.min(k - term);
                let a_at = pack_rows(a.from(row, term), (rows, terms), block, room);
                let add = add || term > 0;
                let next = Ahead::of((m, k), a, (row, term), (block, TERMS));
                for (panel, packed) in packed.chunks_exact(k * width).enumerate() {
                    next.fetch(panel, panels);
                    let left = n - panel * width;
                    let c = &mut c[row * c_row + panel * width..];
                    let product = |vectors, c, c_at, add| Product::<false> {
                        rows,
                        depth: terms,
                        vectors,
                        a: room,
                        a_at,
                        b: &packed[term * width..],
                        b_at: Strides { row: width, col: L },
                        c,
                        c_at,
                        add,
                        next_b: None,
                    };
                    if left >= width {
                        product(VECTORS, c, Strides { row: c_row, col: L }, add).run(s);
                        continue;
                    }
                    let at = Strides { row: width, col: L };
                    product(left.div_ceil(L), edge, at, false).run(s);
                    take_edge(&edge[..rows * width], width, c, c_row, left, add);
                }
            }
        }
    }
}

/// The block of `a` after the one in use: it is fetched from memory while that is multiplied.
pub(super) struct Ahead<'a> {
    a: &'a [f32],
    /// Runs of neighbours, how long they are, and from one to the next.
    runs: usize,
    len: usize,
    apart: usize,
}

impl<'a> Ahead<'a> {
    /// After the block at `(row, term)`, of blocks of `(rows, terms)` of `a[m, k]`.
    pub(super) fn of(
        (m, k): (usize, usize), a: Matrix<'a>, (row, term): (usize, usize),
        (rows, terms): (usize, usize),
    ) -> Self {
        let (row, term) = if term + terms < k { (row, term + terms) } else { (row + rows, 0) };
        if row >= m {
            return Self { a: &[], runs: 0, len: 0, apart: 0 };
        }
        let (rows, terms, a) = (rows.min(m - row), terms.min(k - term), a.from(row, term));
        let (runs, len, apart) =
            if a.col == 1 { (rows, terms, a.row) } else { (terms, rows, a.col) };
        Self { a: a.data, runs, len, apart }
    }

    /// Fetches one of `parts` of it.
    #[inline(always)]
    pub(super) fn fetch(&self, part: usize, parts: usize) {
        for run in part * self.runs / parts..(part + 1) * self.runs / parts {
            let from = self.a.as_ptr().wrapping_add(run * self.apart);
            for at in (0..self.len + LINE - 1).step_by(LINE) {
                prefetch(from.wrapping_add(at.min(self.len - 1)));
            }
        }
    }
}

/// Adds or stores the `left` columns that there are of a panel's rows, each `width` wide.
#[inline(always)]
pub(super) fn take_edge(
    edge: &[f32], width: usize, c: &mut [f32], c_row: usize, left: usize, add: bool,
) {
    for (i, edge) in edge.chunks_exact(width).enumerate() {
        for (c, edge) in c[i * c_row..][..left].iter_mut().zip(edge) {
            *c = if add { *c + edge } else { *edge };
        }
    }
}

/// Copies a block of `a` into `room` as it lies: rows or columns one after another.
#[inline(always)]
fn pack_rows(
    a: Matrix<'_>, (rows, terms): (usize, usize), block: usize, room: &mut [f32],
) -> Strides {
    if a.col == 1 {
        let pitch = TERMS + LINE;
        for (i, to) in room.chunks_exact_mut(pitch).take(rows).enumerate() {
            to[..terms].copy_from_slice(&a.data[i * a.row..][..terms]);
        }
        return Strides { row: pitch, col: 1 };
    }
    let pitch = block + LINE;
    for (k, to) in room.chunks_exact_mut(pitch).take(terms).enumerate() {
        let from = &a.data[k * a.col..];
        if a.row == 1 {
            to[..rows].copy_from_slice(&from[..rows]);
        } else {
            to[..rows].iter_mut().zip(from.iter().step_by(a.row)).for_each(|(to, a)| *to = *a);
        }
    }
    Strides { row: 1, col: pitch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, noise};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn products_agree_with_the_formula_however_they_are_shared(
            m in 1..260_usize, n in 1..70_usize, k in 1..300_usize, threads in 1..4_usize,
            turn_a: bool, turn_b: bool, add: bool,
        ) {
            let (a, b, c_row) = (noise(1, m * k), noise(2, k * n), n + 3);
            let before = noise(3, m * c_row);
            let turned = |data, rows, cols, turn| if turn {
                Matrix::rows(data, rows).transposed()
            } else {
                Matrix::rows(data, cols)
            };
            let (a, b) = (turned(&a, m, k, turn_a), turned(&b, k, n, turn_b));
            let mut wanted: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
            for i in 0..m {
                for j in 0..n {
                    let at = |p| f64::from(a.data[i * a.row + p * a.col])
                        * f64::from(b.data[p * b.row + j * b.col]);
                    let sum: f64 = (0..k).map(at).sum();
                    let was = if add { wanted[i * c_row + j] } else { 0.0 };
                    wanted[i * c_row + j] = was + sum;
                }
            }
            for level in Level::all() {
                let pool = Pool::new("test", threads, level).expect("threads");
                let mut room = vec![0.0; room_len(level, threads, (m, n, k))];
                let mut shared = before.clone();
                let c = (&mut shared[..], c_row);
                multiply_shared(&pool, &mut room, (m, n, k), a, b, add, c);
                close(&shared, &wanted, 2e-6);
                let mut alone = before.clone();
                multiply(level, &mut room, (m, n, k), a, b, add, (&mut alone, c_row));
                assert_eq!(alone, shared, "the same sums by {threads} workers");
            }
        }
    }
}
