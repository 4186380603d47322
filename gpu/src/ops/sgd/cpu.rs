//! On the CPU: one pass over weights, velocities and gradients.

use super::Sgd;
use crate::cpu::Pool;

/// Floats of one piece.
const PIECE: usize = 1 << 14;

pub(crate) fn step(pool: &Pool, op: &Sgd, len: usize, g: &[f32], v: &mut [f32], w: &mut [f32]) {
    let (g, decay) = (&g[..len], op.decay * op.rate);
    pool.zip_chunks((&mut v[..len], PIECE), (&mut w[..len], PIECE), |i, v, w| {
        let g = &g[i * PIECE..][..v.len()];
        for ((v, w), g) in v.iter_mut().zip(w).zip(g) {
            *v = op.momentum * *v - decay * *w - op.rate * g;
            *w += *v;
        }
    });
}
