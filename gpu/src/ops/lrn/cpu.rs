//! On the CPU: images side by side, pieces of the area at a time, so that the rows of a window stay
//! in the first-level cache; `x^-0.75` by two square roots.

use super::{Lrn, SIZE_MAX};
use crate::cpu::{Pool, simd::stamped};

/// Pixels of a piece: with [`SIZE_MAX`] rows of it, 8 KiB.
const PIECE: usize = 128;

pub(crate) fn forward(
    pool: &Pool, op: &Lrn, n: usize, x: &[f32], scale: &mut [f32], y: &mut [f32],
) {
    let len = op.channels * op.area;
    let (scale, y) = ((&mut scale[..n * len], len), (&mut y[..n * len], len));
    pool.zip_chunks(scale, y, |image, scale, y| {
        forward_image(pool.level(), op, &x[image * len..][..len], scale, y);
    });
}

pub(crate) fn backward(
    pool: &Pool, op: &Lrn, n: usize, x: &[f32], scale: &[f32], dy: &[f32], dx: &mut [f32],
) {
    let len = op.channels * op.area;
    pool.chunks(&mut dx[..n * len], len, |image, dx| {
        let at = |floats| image_of(floats, image, len);
        backward_image(pool.level(), op, at(x), at(scale), at(dy), dx);
    });
}

fn image_of(floats: &[f32], image: usize, len: usize) -> &[f32] {
    &floats[image * len..][..len]
}

/// `out[i] = scale[i]^-beta`.
#[inline(always)]
fn shrink(op: &Lrn, scale: &[f32], out: &mut [f32]) {
    if op.beta == 0.75 {
        for (out, scale) in out.iter_mut().zip(scale) {
            let root = scale.sqrt();
            *out = 1.0 / (root * root.sqrt());
        }
    } else {
        out.iter_mut().zip(scale).for_each(|(out, scale)| *out = scale.powf(-op.beta));
    }
}

/// Channels around `c` that lie in its group.
#[inline(always)]
fn window(op: &Lrn, c: usize) -> std::ops::Range<usize> {
    let group = op.channels / op.groups;
    let first = c / group * group;
    let half = op.size / 2;
    c.saturating_sub(half).max(first)..(c + half + 1).min(first + group)
}

stamped! {
    fn forward_image(op: &Lrn, x: &[f32], scale: &mut [f32], y: &mut [f32]) {
        for from in (0..op.area).step_by(PIECE) {
            let len = PIECE.min(op.area - from);
            for c in 0..op.channels {
                let row = |c: usize| c * op.area + from..c * op.area + from + len;
                let scale = &mut scale[row(c)];
                scale.fill(0.0);
                for j in window(op, c) {
                    scale.iter_mut().zip(&x[row(j)]).for_each(|(sum, x)| *sum += x * x);
                }
                scale.iter_mut().for_each(|scale| *scale = op.k + op.alpha * *scale);
                let y = &mut y[row(c)];
                shrink(op, scale, y);
                y.iter_mut().zip(&x[row(c)]).for_each(|(y, x)| *y *= x);
            }
        }
    }
}

stamped! {
    fn backward_image(op: &Lrn, x: &[f32], scale: &[f32], dy: &[f32], dx: &mut [f32]) {
        // Rows of `dy x scale^-beta / scale` and of `scale^-beta`, the last `size` channels'.
        let mut shares = [[0.0_f32; PIECE]; SIZE_MAX];
        let mut shrunk = [[0.0_f32; PIECE]; SIZE_MAX];
        for from in (0..op.area).step_by(PIECE) {
            let len = PIECE.min(op.area - from);
            let row = |c: usize| c * op.area + from..c * op.area + from + len;
            let mut ready = 0;
            for c in 0..op.channels {
                let around = window(op, c);
                while ready < around.end {
                    let (share, power) =
                        (&mut shares[ready % op.size][..len], &mut shrunk[ready % op.size][..len]);
                    let (x, dy, scale) = (&x[row(ready)], &dy[row(ready)], &scale[row(ready)]);
                    shrink(op, scale, power);
                    for i in 0..len {
                        share[i] = dy[i] * x[i] * power[i] / scale[i];
                    }
                    ready += 1;
                }
                let dx = &mut dx[row(c)];
                dx.fill(0.0);
                for j in around {
                    let share = &shares[j % op.size][..len];
                    dx.iter_mut().zip(share).for_each(|(sum, share)| *sum += share);
                }
                let factor = 2.0 * op.alpha * op.beta;
                let power = &shrunk[c % op.size][..len];
                let (x, dy) = (&x[row(c)], &dy[row(c)]);
                for i in 0..len {
                    dx[i] = dy[i] * power[i] - factor * x[i] * dx[i];
                }
            }
        }
    }
}
