//! On the CPU: memory-bound loops over pieces of the buffer.

use crate::{cpu::Pool, device::Activation};

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

pub(crate) fn backward(
    pool: &Pool, activation: Activation, len: usize, y: &[f32], dy: &mut [f32],
) {
    let y = &y[..len];
    pool.chunks(&mut dy[..len], PIECE, |i, dy| {
        let y = &y[i * PIECE..][..dy.len()];
        let pairs = dy.iter_mut().zip(y);
        match activation {
            Activation::Relu => {
                pairs.for_each(|(dy, y)| *dy = if *y > 0.0 { *dy } else { 0.0 });
            }
            Activation::Tanh => pairs.for_each(|(dy, y)| *dy *= 1.0 - y * y),
            Activation::None => {}
        }
    });
}

/// `y += x`.
pub(crate) fn add(pool: &Pool, len: usize, x: &[f32], y: &mut [f32]) {
    let x = &x[..len];
    pool.chunks(&mut y[..len], PIECE, |i, y| {
        y.iter_mut().zip(&x[i * PIECE..]).for_each(|(y, x)| *y += x);
    });
}
