//! On the CPU: memory-bound loops over pieces of the buffer.

use crate::{
    cpu::{Pool, vector::Simd},
    device::Activation,
};

/// Floats of one piece: long enough to be worth a thread's while, short enough to share out.
const PIECE: usize = 1 << 14;

pub(crate) fn forward(pool: &Pool, activation: Activation, len: usize, y: &mut [f32]) {
    pool.chunks(&mut y[..len], PIECE, |_, y| match activation {
        // What is not a number stays so, to be seen in the loss.
        Activation::Relu => y.iter_mut().for_each(|y| *y = if *y <= 0.0 { 0.0 } else { *y }),
        Activation::Tanh => y.iter_mut().for_each(|y| *y = y.tanh()),
        Activation::None => {}
    });
}

/// Below it, the activation is flat: `max(floor, x)` is all of ReLU and nothing of the others.
#[inline(always)]
pub(crate) fn floor<S: Simd<L>, const L: usize>(s: S, activation: Activation) -> S::V {
    s.splat(if activation == Activation::Relu { 0.0 } else { f32::NEG_INFINITY })
}

/// `d f'(y)` from the activation's output, or ReLU's input.
#[inline(always)]
pub(crate) fn backward<S: Simd<L>, const L: usize>(
    s: S, activation: Activation, y: S::V, d: S::V,
) -> S::V {
    match activation {
        Activation::Relu => s.if_positive(y, d),
        Activation::Tanh => s.mul(d, s.sub(s.splat(1.0), s.mul(y, y))),
        Activation::None => d,
    }
}

/// `y += x`.
pub(crate) fn add(pool: &Pool, len: usize, x: &[f32], y: &mut [f32]) {
    let x = &x[..len];
    pool.chunks(&mut y[..len], PIECE, |i, y| {
        y.iter_mut().zip(&x[i * PIECE..]).for_each(|(y, x)| *y += x);
    });
}
