//! On the CPU: one matrix product each, the long dimension of the weights shared out over the workers.
//!
//! `n` images are few beside the weights, which come from memory once. So images are the columns of
//! every product, packed once and kept in the caches, and outputs are transposed back at the end.

use super::Linear;
use crate::cpu::{
    Pool, Scratch,
    gemm::{Matrix, multiply_shared, room_len},
    vector::{Kernel, Simd},
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
    multiply_turned(pool, scratch, size, block(op, w), x, y);
}

pub(crate) fn backward_data(
    pool: &Pool, scratch: &mut Scratch, op: &Linear, n: usize, dy: &[f32], w: &[f32],
    dx: &mut [f32],
) {
    let dy = Matrix::rows(dy, op.outputs).transposed();
    let size = (op.inputs, n, op.outputs);
    let dx = (&mut dx[..n * op.inputs], None, false);
    multiply_turned(pool, scratch, size, block(op, w).transposed(), dy, dx);
}

pub(crate) fn backward_weight(
    pool: &Pool, scratch: &mut Scratch, op: &Linear, n: usize, x: &[f32], dy: &[f32],
    dw: &mut [f32],
) {
    let size = (op.outputs, op.inputs, n);
    let room = scratch.take(room_len(pool.level(), pool.threads(), size));
    let dy = Matrix::rows(dy, op.outputs).transposed();
    let dw = (&mut dw[op.weight_offset..], op.weight_inputs);
    multiply_shared(pool, room, size, dy, Matrix::rows(x, op.inputs), false, dw);
}

/// `out[n, k] (+)= (a[k, c] b[c, n])^T (+ bias[k])`.
fn multiply_turned(
    pool: &Pool, scratch: &mut Scratch, (k, n, c): (usize, usize, usize), a: Matrix<'_>,
    b: Matrix<'_>, (out, bias, add): (&mut [f32], Option<&[f32]>, bool),
) {
    /// Images to a line: rows of the turned output begin at one.
    const LINE: usize = 16;
    let level = pool.level();
    let row = n.next_multiple_of(LINE);
    let room = scratch.take(k * row + room_len(level, pool.threads(), (k, n, c)));
    let (turned, room) = room.split_at_mut(k * row);
    multiply_shared(pool, room, (k, n, c), a, b, false, (turned, row));
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
