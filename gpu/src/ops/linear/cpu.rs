//! On the CPU: one matrix product each, its columns or rows shared out over the workers.

use super::Linear;
use crate::cpu::{
    Pool,
    gemm::{Matrix, multiply_shared},
};

/// The source's block of the weights, `[outputs, inputs]`.
fn block<'a>(op: &Linear, w: &'a [f32]) -> Matrix<'a> {
    Matrix::rows(&w[op.weight_offset..], op.weight_inputs)
}

pub(crate) fn forward(
    pool: &Pool, op: &Linear, n: usize, x: &[f32], w: &[f32], b: Option<&[f32]>,
    accumulate: bool, y: &mut [f32],
) {
    let y = &mut y[..n * op.outputs];
    let mut adds = accumulate;
    if let Some(b) = b {
        for y in y.chunks_exact_mut(op.outputs) {
            if accumulate {
                y.iter_mut().zip(b).for_each(|(y, b)| *y += b);
            } else {
                y.copy_from_slice(&b[..op.outputs]);
            }
        }
        adds = true;
    }
    let size = (n, op.outputs, op.inputs);
    let x = Matrix::rows(x, op.inputs);
    multiply_shared(pool, size, x, block(op, w).transposed(), adds, y, op.outputs);
}

pub(crate) fn backward_data(
    pool: &Pool, op: &Linear, n: usize, dy: &[f32], w: &[f32], dx: &mut [f32],
) {
    let size = (n, op.inputs, op.outputs);
    let dy = Matrix::rows(dy, op.outputs);
    multiply_shared(pool, size, dy, block(op, w), false, &mut dx[..n * op.inputs], op.inputs);
}

pub(crate) fn backward_weight(
    pool: &Pool, op: &Linear, n: usize, x: &[f32], dy: &[f32], dw: &mut [f32],
) {
    let size = (op.outputs, op.inputs, n);
    let dy = Matrix::rows(dy, op.outputs).transposed();
    let dw = &mut dw[op.weight_offset..];
    multiply_shared(pool, size, dy, Matrix::rows(x, op.inputs), false, dw, op.weight_inputs);
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
