//! On the CPU: a plane of one image at a time, in order, so that an image is read from memory once and
//! the planes of a window stay in the second-level cache. Only sums, products, quotients and square
//! roots that are rounded one by one: every instruction set gives the same bits.

use super::{Lrn, SIZE_MAX};
use crate::cpu::vector::{Simd, prefetch};
use std::ops::Range;

/// Vectors of pixels at a time: roots and quotients take long, but several are made at once.
const STRIP: usize = 4;
/// Floats of a cache line.
const LINE: usize = 16;
/// Floats that are fetched ahead of their use: 4 KiB, some hundred cycles.
const AHEAD: usize = 1024;

/// Channels around `c` that lie in its group.
pub(crate) fn window(op: &Lrn, c: usize) -> Range<usize> {
    let group = op.channels / op.groups;
    let first = c / group * group;
    let half = op.size / 2;
    c.saturating_sub(half).max(first)..(c + half + 1).min(first + group)
}

/// Planes of the channels of a window, one in turn for each, from the start of a cache line on.
struct Ring<'a> {
    memory: &'a mut [f32],
    planes: usize,
    pitch: usize,
}

impl<'a> Ring<'a> {
    /// Floats of it.
    fn len(op: &Lrn) -> usize {
        (op.size / 2 * 2 + 1) * op.area.next_multiple_of(LINE)
    }

    fn new(op: &Lrn, memory: &'a mut [f32]) -> Self {
        let planes = op.size / 2 * 2 + 1;
        Self { memory, planes, pitch: op.area.next_multiple_of(LINE) }
    }

    fn plane(&self, c: usize) -> &[f32] {
        &self.memory[c % self.planes * self.pitch..][..self.pitch]
    }

    fn plane_mut(&mut self, c: usize) -> &mut [f32] {
        &mut self.memory[c % self.planes * self.pitch..][..self.pitch]
    }
}

/// One image on its way through LRN, channel by channel.
pub(crate) struct Image<'a> {
    op: &'a Lrn,
    /// `dy scale^-beta`; until `dy` is known, `scale^-beta`.
    shrunk: Ring<'a>,
    /// `dy x scale^-beta / scale`; until then, `1 / scale`.
    shares: Ring<'a>,
}

/// The planes before LRN; what is below `floor` counts as it.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a, V> {
    pub(crate) x: &'a [f32],
    pub(crate) floor: V,
}

/// Some vectors of a plane: `N` whole ones from pixel `at` on, or a shorter last one.
#[inline(always)]
fn strip<S: Simd<L>, const L: usize, const N: usize>(
    s: S, plane: &[f32], at: usize,
) -> [S::V; N] {
    let plane = &plane[at..];
    let mut strip = [s.zero(); N];
    match plane.as_chunks::<L>().0.first_chunk::<N>() {
        Some(whole) => {
            for (v, from) in strip.iter_mut().zip(whole) {
                *v = s.load(from);
            }
        }
        None => strip[0] = s.load_next(plane),
    }
    strip
}

/// See [`strip`].
#[inline(always)]
fn store_strip<S: Simd<L>, const L: usize, const N: usize>(
    s: S, strip: [S::V; N], plane: &mut [f32], at: usize,
) {
    let plane = &mut plane[at..];
    match plane.as_chunks_mut::<L>().0.first_chunk_mut::<N>() {
        Some(whole) => {
            for (v, to) in strip.into_iter().zip(whole) {
                s.store(v, to);
            }
        }
        None => s.store_next(strip[0], plane),
    }
}

/// Calls `$body` with `$n` and pixel `$at` for strips of [`STRIP`] vectors, then vector by vector.
macro_rules! strips {
    ($area:expr, $lanes:ident, |$n:ident, $at:ident| $body:expr) => {{
        let mut $at = 0;
        while $at + STRIP * $lanes <= $area {
            const $n: usize = STRIP;
            $body;
            $at += STRIP * $lanes;
        }
        while $at < $area {
            const $n: usize = 1;
            $body;
            $at += $lanes;
        }
    }};
}

impl<V: Copy> Input<'_, V> {
    /// A strip of channel `c`.
    #[inline(always)]
    fn strip<S: Simd<L, V = V>, const L: usize, const N: usize>(
        &self, s: S, op: &Lrn, c: usize, at: usize,
    ) -> [V; N] {
        let mut x = strip(s, &self.x[c * op.area..(c + 1) * op.area], at);
        for x in &mut x {
            *x = s.max(self.floor, *x);
        }
        x
    }
}

/// `scale^-beta` and `1 / scale`; for the paper's beta of 0.75 by two roots and one quotient.
#[inline(always)]
fn shrink<S: Simd<L>, const L: usize>(s: S, op: &Lrn, scale: S::V) -> [S::V; 2] {
    let one = s.splat(1.0);
    if op.beta == 0.75 {
        let root = s.sqrt(scale);
        let power = s.div(one, s.mul(root, s.sqrt(root)));
        return [power, s.mul(s.mul(power, power), root)];
    }
    let mut each = [0.0; L];
    s.store(scale, &mut each);
    [s.load(&each.map(|scale| scale.powf(-op.beta))), s.div(one, scale)]
}

impl<'a> Image<'a> {
    /// Floats of the memory that it needs.
    pub(crate) fn len(op: &Lrn) -> usize {
        2 * Ring::len(op)
    }

    /// A new image, in `memory` of [`Image::len`].
    pub(crate) fn new(op: &'a Lrn, memory: &'a mut [f32]) -> Self {
        assert!(op.size <= SIZE_MAX, "a window of {} channels", op.size);
        let (shrunk, shares) = memory.split_at_mut(Ring::len(op));
        let [shrunk, shares] = [shrunk, shares].map(|memory| Ring::new(op, memory));
        Self { op, shrunk, shares }
    }

    /// `y = x scale^-beta` of channel `c`; with `KEEP`, what the gradient
    /// needs is kept.
    #[inline(always)]
    pub(crate) fn forward<S: Simd<L>, const L: usize, const KEEP: bool>(
        &mut self, s: S, input: Input<'_, S::V>, c: usize, y: &mut [f32],
    ) {
        let (op, around) = (self.op, window(self.op, c));
        let (shrunk, shares) = (self.shrunk.plane_mut(c), self.shares.plane_mut(c));
        let y = &mut y[..op.area];
        strips!(op.area, L, |N, at| {
            for line in (0..N * L).step_by(LINE) {
                // The plane that is read for the first time comes from memory.
                let newest = (around.end - 1) * op.area + at + line;
                prefetch(input.x.as_ptr().wrapping_add(newest + AHEAD));
            }
            let mut sums = [s.zero(); N];
            for j in around.clone() {
                for (sum, x) in sums.iter_mut().zip(input.strip::<S, L, N>(s, op, j, at)) {
                    *sum = s.add(*sum, s.mul(x, x));
                }
            }
            let (mut power, mut inverse) = (sums, sums);
            let mut out = input.strip::<S, L, N>(s, op, c, at);
            for i in 0..N {
                let scale = s.add(s.splat(op.k), s.mul(s.splat(op.alpha), sums[i]));
                [power[i], inverse[i]] = shrink(s, op, scale);
                out[i] = s.mul(out[i], power[i]);
            }
            if KEEP {
                store_strip(s, inverse, shares, at);
                store_strip(s, power, shrunk, at);
            }
            store_strip(s, out, y, at);
        });
    }

    /// Takes in the gradient of channel `c`.
    #[inline(always)]
    pub(crate) fn gradient<S: Simd<L>, const L: usize>(
        &mut self, s: S, input: Input<'_, S::V>, c: usize, dy: &[f32],
    ) {
        let (op, dy) = (self.op, &dy[..self.op.area]);
        let (shrunk, shares) = (self.shrunk.plane_mut(c), self.shares.plane_mut(c));
        strips!(op.area, L, |N, at| {
            let (dy, x) = (strip::<S, L, N>(s, dy, at), input.strip::<S, L, N>(s, op, c, at));
            let (mut q, mut share) =
                (strip::<S, L, N>(s, shrunk, at), strip::<S, L, N>(s, shares, at));
            for i in 0..N {
                q[i] = s.mul(dy[i], q[i]);
                share[i] = s.mul(s.mul(q[i], x[i]), share[i]);
            }
            store_strip(s, q, shrunk, at);
            store_strip(s, share, shares, at);
        });
    }

    /// `dx` of channel `c`, given the gradients of its window.
    #[inline(always)]
    pub(crate) fn backward<S: Simd<L>, const L: usize>(
        &self, s: S, input: Input<'_, S::V>, c: usize, dx: &mut [f32],
    ) {
        let op = self.op;
        let (around, factor) = (window(op, c), s.splat(2.0 * op.alpha * op.beta));
        let dx = &mut dx[..op.area];
        strips!(op.area, L, |N, at| {
            let mut sums = [s.zero(); N];
            for j in around.clone() {
                let shares = strip::<S, L, N>(s, self.shares.plane(j), at);
                for (sum, share) in sums.iter_mut().zip(shares) {
                    *sum = s.add(*sum, share);
                }
            }
            let x = input.strip::<S, L, N>(s, op, c, at);
            let q = strip::<S, L, N>(s, self.shrunk.plane(c), at);
            for i in 0..N {
                sums[i] = s.sub(q[i], s.mul(s.mul(factor, x[i]), sums[i]));
            }
            store_strip(s, sums, dx, at);
        });
    }
}
