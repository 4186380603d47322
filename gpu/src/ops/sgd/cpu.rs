//! On the CPU: one pass over weights, velocities and gradients. Every rounding is its own, so that all
//! instruction sets give the same bits.

use super::Sgd;
use crate::cpu::{
    Pool,
    vector::{Kernel, Simd},
};

/// Floats of one piece.
const PIECE: usize = 1 << 14;

pub(crate) fn step(pool: &Pool, op: &Sgd, len: usize, g: &[f32], v: &mut [f32], w: &mut [f32]) {
    let g = &g[..len];
    pool.zip_chunks((&mut v[..len], PIECE), (&mut w[..len], PIECE), |i, v, w| {
        let g = &g[i * PIECE..][..v.len()];
        pool.level().run(Step { op, g, v, w });
    });
}

struct Step<'a> {
    op: &'a Sgd,
    g: &'a [f32],
    v: &'a mut [f32],
    w: &'a mut [f32],
}

impl Kernel for Step<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        update(s, self.op, self.g, self.v, self.w);
    }
}

/// One step on as many weights as there are gradients.
#[inline(always)]
pub(crate) fn update<S: Simd<L>, const L: usize>(
    s: S, op: &Sgd, g: &[f32], v: &mut [f32], w: &mut [f32],
) {
    let len = g.len();
    let (gs, g) = g.as_chunks::<L>();
    let (vs, v) = v[..len].as_chunks_mut::<L>();
    let (ws, w) = w[..len].as_chunks_mut::<L>();
    for ((g, v), w) in gs.iter().zip(vs).zip(ws) {
        let [new_v, new_w] = stepped(s, op, s.load(g), s.load(v), s.load(w));
        s.store(new_v, v);
        s.store(new_w, w);
    }
    let [new_v, new_w] = stepped(s, op, s.load_part(g), s.load_part(v), s.load_part(w));
    s.store_part(new_v, v);
    s.store_part(new_w, w);
}

/// The new velocities and weights.
#[inline(always)]
fn stepped<S: Simd<L>, const L: usize>(s: S, op: &Sgd, g: S::V, v: S::V, w: S::V) -> [S::V; 2] {
    let [momentum, decay, rate] =
        [op.momentum, op.decay * op.rate, op.rate].map(|x| s.splat(x));
    let v = s.sub(s.sub(s.mul(momentum, v), s.mul(decay, w)), s.mul(rate, g));
    [v, s.add(w, v)]
}
