//! On the CPU: each pass by the algorithm that the [`table`] names, or a test.

mod table;
mod im2col;
#[expect(
    clippy::needless_range_loop,
    reason = "rows and columns of registers go by the formulas' indices"
)]
mod winograd;
#[expect(
    clippy::needless_range_loop,
    reason = "rows and columns of registers go by the formulas' indices"
)]
mod direct;

pub use table::{Algorithm, Pass, algorithm};

use super::Conv;
use crate::cpu::{Pool, Scratch};

pub(crate) fn forward(
    algorithm: Algorithm, pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32],
    w: &[f32], b: Option<&[f32]>, accumulate: bool, y: &mut [f32],
) {
    match algorithm {
        Algorithm::Im2col => im2col::forward(pool, scratch, op, n, x, w, b, accumulate, y),
        Algorithm::Winograd => winograd::forward(pool, scratch, op, n, x, w, b, accumulate, y),
        Algorithm::Bf16 => direct::forward(pool, scratch, op, n, x, w, b, accumulate, y),
    }
}

pub(crate) fn backward_data(
    algorithm: Algorithm, pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, dy: &[f32],
    w: &[f32], dx: &mut [f32],
) {
    match algorithm {
        Algorithm::Im2col => im2col::backward_data(pool, scratch, op, n, dy, w, dx),
        Algorithm::Winograd => winograd::backward_data(pool, scratch, op, n, dy, w, dx),
        Algorithm::Bf16 => direct::backward_data(pool, scratch, op, n, dy, w, dx),
    }
}

pub(crate) fn backward_weight(
    algorithm: Algorithm, pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32],
    dy: &[f32], dw: &mut [f32],
) {
    match algorithm {
        Algorithm::Im2col => im2col::backward_weight(pool, scratch, op, n, x, dy, dw),
        Algorithm::Winograd => winograd::backward_weight(pool, scratch, op, n, x, dy, dw),
        Algorithm::Bf16 => direct::backward_weight(pool, scratch, op, n, x, dy, dw),
    }
}
