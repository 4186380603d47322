//! Matrix products of bf16 numbers, summed in `f32`: as [`super::gemm`], but that both operands are rounded as
//! they are packed, two terms to a pair.

use super::{
    LINE, Pool,
    gemm::{Ahead, Matrix, Size, TILE_ROWS, VECTORS, take_edge},
    pairs::{Product, Repeat},
    simd::Level,
    tile::Strides,
    vector::{Kernel, Simd, neighbours},
};

/// Pairs of terms in a block.
const PAIRS: usize = 256;

/// Rows of `a` in a block: with [`PAIRS`], 224 KiB of a large second-level cache, or 56. A matrix unit reads rows: columns are
/// turned for it, and come from memory in runs as long as a block has rows.
fn block_rows(level: Level) -> usize {
    TILE_ROWS * if level.has_matrix_unit() { 16 } else { 4 }
}

/// As [`super::gemm::multiply_shared`].
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
        level.run_pairs(Rows { size, block, a, packed, add, c, c_row, room });
    });
}

/// Packs `b[k, n]` into [`packed_len`] pairs: panels of [`VECTORS`] vectors of columns, `[panel, pair, lane]`,
/// zeros right of the matrix.
pub(crate) fn pack_shared(
    pool: &Pool, (n, k): (usize, usize), b: Matrix<'_>, packed: &mut [f32],
) {
    let level = pool.level();
    pool.chunks(packed, k.div_ceil(2) * VECTORS * level.lanes(), |panel, packed| {
        level.run_pairs(Pack { n, k, b, panel, packed });
    });
}

/// Floats of scratch memory for a product of this size by `threads` workers.
pub(crate) fn room_len(level: Level, threads: usize, (_, n, k): Size) -> usize {
    packed_len(level, n, k) + threads * worker_len(level)
}

/// Pairs, as long as floats, of a packed matrix.
pub(crate) fn packed_len(level: Level, n: usize, k: usize) -> usize {
    let width = VECTORS * level.lanes();
    n.div_ceil(width) * k.div_ceil(2) * width
}

/// A block of `a`, and of `c` for columns that are no whole vector.
fn worker_len(level: Level) -> usize {
    let rows = block_rows(level);
    (rows * (PAIRS + LINE)).max(PAIRS * (rows + LINE)) + rows * VECTORS * level.lanes()
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
        let Self { n, k, b, panel, packed } = self;
        let to = packed.as_chunks_mut::<L>().0;
        for vector in 0..VECTORS {
            let first = panel * VECTORS * L + vector * L;
            let valid = n.saturating_sub(first).min(L);
            if b.col == 1 {
                for pair in 0..k.div_ceil(2) {
                    let row = |k: usize| s.load_next(&b.data[k * b.row + first..][..valid]);
                    let low = if valid > 0 { row(2 * pair) } else { s.zero() };
                    let both = valid > 0 && 2 * pair + 1 < k;
                    let high = if both { row(2 * pair + 1) } else { s.zero() };
                    s.store(s.pair(low, high), &mut to[pair * VECTORS + vector]);
                }
                continue;
            }
            assert_eq!(b.row, 1, "neither rows nor columns lie side by side");
            for from in (0..k).step_by(2 * L) {
                let terms = (2 * L).min(k - from);
                let mut columns = [s.zero(); L];
                for (lane, column) in columns.iter_mut().take(valid).enumerate() {
                    *column = neighbours(s, &b.data[(first + lane) * b.col + from..][..terms]);
                }
                let pairs = s.transpose(columns);
                for (i, pair) in pairs.into_iter().take(terms.div_ceil(2)).enumerate() {
                    s.store(pair, &mut to[(from / 2 + i) * VECTORS + vector]);
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
        for row in (0..m).step_by(block) {
            let rows = block.min(m - row);
            for term in (0..k).step_by(2 * PAIRS) {
                let terms = (2 * PAIRS).min(k - term);
                let at = pack_rows(s, a.from(row, term), (rows, terms), block, room);
                let add = add || term > 0;
                // Columns' runs are short: to fetch them costs as much as to wait for them.
                let next =
                    (a.col == 1).then(|| Ahead::of((m, k), a, (row, term), (block, 2 * PAIRS)));
                for (panel, packed) in packed.chunks_exact(k.div_ceil(2) * width).enumerate() {
                    if let Some(next) = &next {
                        next.fetch(panel, n.div_ceil(width));
                    }
                    let left = n - panel * width;
                    let c = &mut c[row * c_row + panel * width..];
                    let product = |c, c_at, add| Product {
                        rows: [Repeat::ONCE, Repeat { count: rows, stride: 2 * at.row }],
                        runs: [Repeat::ONCE; 2],
                        pairs: Repeat { count: terms.div_ceil(2), stride: 2 * at.col },
                        a: bytemuck::cast_slice(room),
                        vectors: VECTORS,
                        b: &packed[term / 2 * width..],
                        c,
                        c_at,
                        add,
                        next: [&[]; 2],
                    };
                    if left >= width {
                        product(c, Strides { row: c_row, col: L }, add).run(s);
                        continue;
                    }
                    product(edge, Strides { row: width, col: L }, false).run(s);
                    take_edge(&edge[..rows * width], width, c, c_row, left, add);
                }
            }
        }
    }
}

/// Rounds a block of `a` to pairs of terms in `room`: rows one after another, or columns where they lie so and there is no
/// matrix unit, which reads rows only.
#[inline(always)]
fn pack_rows<S: Simd<L>, const L: usize>(
    s: S, a: Matrix<'_>, (rows, terms): (usize, usize), block: usize, room: &mut [f32],
) -> Strides {
    let pairs = terms.div_ceil(2);
    if a.col == 1 {
        let pitch = PAIRS + LINE;
        for (i, to) in room.chunks_exact_mut(pitch).take(rows).enumerate() {
            let from = &a.data[i * a.row..][..terms];
            for (from, to) in from.chunks(2 * L).zip(to[..pairs].chunks_mut(L)) {
                s.store_next(neighbours(s, from), to);
            }
        }
        return Strides { row: pitch, col: 1 };
    }
    assert_eq!(a.row, 1, "neither rows nor columns lie side by side");
    let column = |pair: usize, at: usize| {
        let row = |term: usize| s.load_next(&a.data[term * a.col..][at..rows]);
        let high = if 2 * pair + 1 < terms { row(2 * pair + 1) } else { s.zero() };
        s.pair(row(2 * pair), high)
    };
    if S::MATRIX_UNIT {
        let pitch = PAIRS + LINE;
        pack_turned(s, rows, pairs, column, pitch, room);
        return Strides { row: pitch, col: 1 };
    }
    let pitch = block + LINE;
    for (pair, to) in room.chunks_exact_mut(pitch).take(pairs).enumerate() {
        for (at, to) in (0..rows).step_by(L).zip(to[..rows].chunks_mut(L)) {
            s.store_next(column(pair, at), to);
        }
    }
    Strides { row: 1, col: pitch }
}

/// Rows of `pairs` one after another, `pitch` apart, from columns: `column(k, i)` is pair k of row i and those below.
#[inline(always)]
pub(crate) fn pack_turned<S: Simd<L>, const L: usize>(
    s: S, rows: usize, pairs: usize, column: impl Fn(usize, usize) -> S::V, pitch: usize,
    to: &mut [f32],
) {
    for from in (0..pairs).step_by(L) {
        for first in (0..rows).step_by(L) {
            let mut columns = [s.zero(); L];
            for (i, to) in columns.iter_mut().take(pairs - from).enumerate() {
                *to = column(from + i, first);
            }
            for (i, row) in s.transpose(columns).into_iter().take(rows - first).enumerate() {
                s.store_next(row, &mut to[(first + i) * pitch + from..][..pairs - from]);
            }
        }
    }
}
