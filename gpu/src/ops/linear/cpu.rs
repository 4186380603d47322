//! On the CPU: one matrix product each, the long dimension of the weights shared out over the workers.
//!
//! `n` images are few beside the weights, which come from memory once. So images are the columns of
//! every product, packed once and kept in the caches, and outputs are transposed back at the end.

use super::Linear;
use crate::{
    cpu::{
        LINE, Pool, Scratch,
        gemm::{self, Matrix, VECTORS},
        gemm_pairs, pairs,
        pairs::Repeat,
        tile::{Product, Strides},
        vector::{Kernel, Simd, prefetch},
    },
    ops::{
        Dtype,
        sgd::{Sgd, cpu as sgd},
    },
};

/// The source's block of the weights, `[outputs, inputs]`.
fn block<'a>(op: &Linear, w: &'a [f32]) -> Matrix<'a> {
    Matrix::rows(&w[op.weight_offset..], op.weight_inputs)
}

pub(crate) fn forward(
    pool: &Pool, scratch: &mut Scratch, op: &Linear, n: usize, x: &[f32], w: &[f32],
    b: Option<&[f32]>, accumulate: bool, y: &mut [f32],
) {
    let x = Matrix::rows(x, op.inputs).transposed();
    let size = (op.outputs, n, op.inputs);
    let y = (&mut y[..n * op.outputs], b, accumulate);
    multiply_turned(pool, scratch, op.dtype, size, block(op, w), x, y);
}

pub(crate) fn backward_data(
    pool: &Pool, scratch: &mut Scratch, op: &Linear, n: usize, dy: &[f32], w: &[f32],
    dx: &mut [f32],
) {
    let dy = Matrix::rows(dy, op.outputs).transposed();
    let size = (op.inputs, n, op.outputs);
    let dx = (&mut dx[..n * op.inputs], None, false);
    multiply_turned(pool, scratch, op.dtype, size, block(op, w).transposed(), dy, dx);
}

/// The gradient of some rows of the weights is made block by block, and each block used at once.
pub(crate) fn update(
    pool: &Pool, scratch: &mut Scratch, op: &Linear, n: usize, x: &[f32], dy: &[f32],
    sgd: &Sgd, v: &mut [f32], w: &mut [f32],
) {
    let (level, columns) = (pool.level(), (op.inputs, n));
    let packed_len = match op.dtype {
        Dtype::F32 => gemm::packed_len(level, op.inputs, n),
        Dtype::Bf16 => gemm_pairs::packed_len(level, op.inputs, n),
    };
    let room_len = BLOCK_ROWS * BLOCK_COLUMNS + dy_block_len(n);
    let scratch = scratch.take(packed_len + pool.threads() * room_len);
    let (packed, rooms) = scratch.split_at_mut(packed_len);
    let x = Matrix::rows(x, op.inputs);
    match op.dtype {
        Dtype::F32 => gemm::pack_shared(pool, columns, x, packed),
        Dtype::Bf16 => gemm_pairs::pack_shared(pool, columns, x, packed),
    }
    let share = pool.share(op.outputs).next_multiple_of(BLOCK_ROWS);
    let rows = op.outputs * op.weight_inputs;
    let [v, w] = [v, w].map(|all| (&mut all[..rows], share * op.weight_inputs));
    pool.zip_chunks_of_three(v, w, (rooms, room_len), |part, v, w, room| {
        let dy = &dy[part * share..];
        match op.dtype {
            Dtype::F32 => {
                level.run(Update::<false> { op, n, packed, dy, sgd, v, w, room });
            }
            Dtype::Bf16 => {
                level.run_pairs(Update::<true> { op, n, packed, dy, sgd, v, w, room });
            }
        }
    });
}

/// Rows of the weights in a block: four tiles.
const BLOCK_ROWS: usize = 28;
/// Rows of a tile: what it fetches meanwhile, two lines each of weights and velocities, is about what a
/// core has under way at once.
const ROWS_AT_ONCE: usize = 7;
/// Columns of a block: with [`BLOCK_ROWS`] rows, 28 KiB of the first-level cache.
const BLOCK_COLUMNS: usize = 256;
/// Floats between the terms of a packed block of `dy`.
const BLOCK_PITCH: usize = 32;

/// Pairs from a row of a packed block of `dy` to the next, where a matrix unit reads it.
fn pairs_pitch(n: usize) -> usize {
    n.div_ceil(2).next_multiple_of(LINE) + LINE
}

/// Floats of a packed block of `dy`, however it lies.
fn dy_block_len(n: usize) -> usize {
    (n * BLOCK_PITCH).max(BLOCK_ROWS * pairs_pitch(n))
}

/// One step of the optimiser on some rows of the weights, by products of `f32` or of bf16.
struct Update<'a, const BF16: bool> {
    op: &'a Linear,
    n: usize,
    packed: &'a [f32],
    /// From the first of these rows' gradients on.
    dy: &'a [f32],
    sgd: &'a Sgd,
    v: &'a mut [f32],
    w: &'a mut [f32],
    room: &'a mut [f32],
}

impl<const BF16: bool> Kernel for Update<'_, BF16> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { op, n, packed, dy, sgd, v, w, room } = self;
        let (block, dy_block) = room.split_at_mut(BLOCK_ROWS * BLOCK_COLUMNS);
        let (row, width) = (op.weight_inputs, VECTORS * L);
        // A matrix unit makes sixteen rows at a time, and soon enough for what is fetched meanwhile.
        let at_once = if BF16 && S::MATRIX_UNIT { BLOCK_ROWS } else { ROWS_AT_ONCE };
        let blocks = v.chunks_mut(BLOCK_ROWS * row).zip(w.chunks_mut(BLOCK_ROWS * row));
        for (i, (v, w)) in blocks.enumerate() {
            let rows = v.len() / row;
            let terms = if BF16 { n.div_ceil(2) } else { n };
            let dy = |image: usize| &dy[image * op.outputs + i * BLOCK_ROWS..][..rows];
            // Two images of a row and those below.
            let column = |pair: usize, at: usize| {
                let image =
                    |image| if image < n { s.load_next(&dy(image)[at..]) } else { s.zero() };
                s.pair(image(2 * pair), image(2 * pair + 1))
            };
            let dy_at = if BF16 && S::MATRIX_UNIT {
                let pitch = pairs_pitch(n);
                gemm_pairs::pack_turned(s, rows, terms, column, pitch, dy_block);
                Strides { row: pitch, col: 1 }
            } else {
                for (term, to) in dy_block.chunks_exact_mut(BLOCK_PITCH).take(terms).enumerate()
                {
                    if BF16 {
                        for (i, to) in to[..rows].chunks_mut(L).enumerate() {
                            s.store_next(column(term, i * L), to);
                        }
                    } else {
                        to[..rows].copy_from_slice(dy(term));
                    }
                }
                Strides { row: 1, col: BLOCK_PITCH }
            };
            for from in (0..op.inputs).step_by(BLOCK_COLUMNS) {
                let columns = BLOCK_COLUMNS.min(op.inputs - from);
                for col in (0..columns).step_by(width) {
                    let at = op.weight_offset + from + col;
                    for first in (0..rows).step_by(at_once) {
                        let count = at_once.min(rows - first);
                        // They come from memory, and are needed once the block is made.
                        for i in first..first + count {
                            for line in (0..width).step_by(LINE) {
                                prefetch(v.as_ptr().wrapping_add(i * row + at + line));
                                prefetch(w.as_ptr().wrapping_add(i * row + at + line));
                            }
                        }
                        let x = &packed[(from + col) * terms..];
                        let c = &mut block[first * BLOCK_COLUMNS + col..];
                        let dy = &dy_block[first * dy_at.row..];
                        tile::<S, L, BF16>(s, count, terms, (dy, dy_at), x, c);
                    }
                }
                for (i, block) in block.chunks_exact(BLOCK_COLUMNS).take(rows).enumerate() {
                    let at = i * row + op.weight_offset + from;
                    sgd::update(s, sgd, &block[..columns], &mut v[at..], &mut w[at..]);
                }
            }
        }
    }
}

/// Some rows of a block, a panel wide: the sum of `terms` products of `dy` and `x`.
#[inline(always)]
fn tile<S: Simd<L>, const L: usize, const BF16: bool>(
    s: S, rows: usize, terms: usize, (dy, dy_at): (&[f32], Strides), x: &[f32], c: &mut [f32],
) {
    let c_at = Strides { row: BLOCK_COLUMNS, col: L };
    if BF16 {
        pairs::Product {
            rows: [Repeat::ONCE, Repeat { count: rows, stride: 2 * dy_at.row }],
            runs: [Repeat::ONCE; 2],
            pairs: Repeat { count: terms, stride: 2 * dy_at.col },
            a: bytemuck::cast_slice(dy),
            vectors: VECTORS,
            b: x,
            c,
            c_at,
            add: false,
            next: [&[]; 2],
        }
        .run(s);
    } else {
        Product::<false> {
            rows,
            depth: terms,
            vectors: VECTORS,
            a: dy,
            a_at: dy_at,
            b: x,
            b_at: Strides { row: VECTORS * L, col: L },
            c,
            c_at,
            add: false,
            next_b: None,
        }
        .run(s);
    }
}

/// `out[n, k] (+)= (a[k, c] b[c, n])^T (+ bias[k])`.
fn multiply_turned(
    pool: &Pool, scratch: &mut Scratch, dtype: Dtype, (k, n, c): (usize, usize, usize),
    a: Matrix<'_>, b: Matrix<'_>, (out, bias, add): (&mut [f32], Option<&[f32]>, bool),
) {
    let level = pool.level();
    let (row, size) = (n.next_multiple_of(LINE), (k, n, c));
    let room_len = match dtype {
        Dtype::F32 => gemm::room_len(level, pool.threads(), size),
        Dtype::Bf16 => gemm_pairs::room_len(level, pool.threads(), size),
    };
    let (turned, room) = scratch.take(k * row + room_len).split_at_mut(k * row);
    let c = (&mut *turned, row);
    match dtype {
        Dtype::F32 => gemm::multiply_shared(pool, room, size, a, b, false, c),
        Dtype::Bf16 => gemm_pairs::multiply_shared(pool, room, size, a, b, false, c),
    }
    pool.chunks(out, level.lanes() * k, |part, out| {
        let turned = &turned[part * level.lanes()..];
        level.run(TurnBack { turned, row, k, bias, add, out });
    });
}

/// `out[n, k] (+)= turned[k, n] (+ bias[k])`, for a vector of images or what is left of one.
struct TurnBack<'a> {
    turned: &'a [f32],
    row: usize,
    k: usize,
    bias: Option<&'a [f32]>,
    add: bool,
    out: &'a mut [f32],
}

impl Kernel for TurnBack<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { turned, row, k, bias, add, out } = self;
        let images = out.len() / k;
        for first in (0..k).step_by(L) {
            let here = L.min(k - first);
            let mut units = [s.zero(); L];
            for i in 0..here {
                let images = turned[(first + i) * row..].first_chunk().expect("padded rows");
                let bias = bias.map_or(0.0, |bias| bias[first + i]);
                units[i] = s.add(s.load(images), s.splat(bias));
            }
            let rows = s.transpose(units);
            for i in 0..images {
                let to = &mut out[i * k + first..][..here];
                if let Some(to) = to.first_chunk_mut() {
                    s.store(if add { s.add(rows[i], s.load(to)) } else { rows[i] }, to);
                } else {
                    let v = if add { s.add(rows[i], s.load_part(to)) } else { rows[i] };
                    s.store_part(v, to);
                }
            }
        }
    }
}

/// `db[k]`: the sum of `dy[n, k, area]` over images and area, image by image.
pub(crate) fn bias_backward(
    pool: &Pool, n: usize, k: usize, area: usize, dy: &[f32], db: &mut [f32],
) {
    let dy = &dy[..n * k * area];
    pool.chunks(&mut db[..k], pool.share(k), |part, db| {
        let first = part * pool.share(k);
        db.fill(0.0);
        for image in dy.chunks_exact(k * area) {
            for (db, dy) in db.iter_mut().zip(image[first * area..].chunks_exact(area)) {
                *db += dy.iter().sum::<f32>();
            }
        }
    });
}
