//! On the CPU: a plane of one image at a time, in order, so that an image is read from memory once and
//! the planes of a window stay in the second-level cache. Only sums and products (for other exponents than the paper's
//! quotients, too) that are rounded one by one: every instruction set gives the same bits.

use super::{Lrn, SIZE_MAX};
use crate::cpu::{
    LINE,
    vector::{Simd, prefetch},
};
use std::ops::Range;

/// Vectors of pixels at a time: a root is a long chain, but several are made at once.
const STRIP: usize = 4;
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
    /// `x^2` of the newest window.
    squares: Ring<'a>,
    /// Channels whose squares have been made.
    squared: usize,
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

/// `scale^-beta` and `1 / scale`, of normal numbers.
#[inline(always)]
fn shrink<S: Simd<L>, const L: usize>(s: S, op: &Lrn, scale: S::V) -> [S::V; 2] {
    if op.beta == 0.75 {
        return shrink_three_quarters(s, scale);
    }
    let mut each = [0.0; L];
    s.store(scale, &mut each);
    [s.load(&each.map(|scale| scale.powf(-op.beta))), s.div(s.splat(1.0), scale)]
}

/// The same for the paper's beta, by powers of `scale^(-1/4)`: two steps of Newton's method from a guess, and the last
/// one on the powers themselves, whose errors are 2e-7 and 1.2e-7 at most up to 2^126. Roots and quotients take three times as long.
#[inline(always)]
fn shrink_three_quarters<S: Simd<L>, const L: usize>(s: S, scale: S::V) -> [S::V; 2] {
    let quarter = s.mul(s.splat(0.25), scale);
    let mut root = s.inverse_fourth_root(scale);
    for _ in 0..2 {
        let square = s.mul(root, root);
        let excess = s.mul(quarter, s.mul(square, square)); // 1/4 if `root` is right
        root = s.mul(root, s.sub(s.splat(1.25), excess));
    }
    let square = s.mul(root, root);
    let (cube, fourth) = (s.mul(square, root), s.mul(square, square));
    let missing = s.sub(s.splat(1.0), s.mul(scale, fourth));
    let power = s.add(cube, s.mul(cube, s.mul(s.splat(0.75), missing)));
    [power, s.add(fourth, s.mul(fourth, missing))]
}

impl<'a> Image<'a> {
    /// Floats of the memory that it needs.
    pub(crate) fn len(op: &Lrn) -> usize {
        3 * Ring::len(op)
    }

    /// A new image, in `memory` of [`Image::len`].
    pub(crate) fn new(op: &'a Lrn, memory: &'a mut [f32]) -> Self {
        assert!(op.size <= SIZE_MAX, "a window of {} channels", op.size);
        let mut rings = memory.chunks_mut(Ring::len(op)).map(|memory| Ring::new(op, memory));
        let mut ring = || rings.next().expect("memory of three");
        Self { op, squares: ring(), squared: 0, shrunk: ring(), shares: ring() }
    }

    /// `y = x scale^-beta` of channel `c`, one after the other from 0 on; with `KEEP`, what the gradient needs is kept.
    #[inline(always)]
    pub(crate) fn forward<S: Simd<L>, const L: usize, const KEEP: bool>(
        &mut self, s: S, input: Input<'_, S::V>, c: usize, y: &mut [f32],
    ) {
        let (op, around) = (self.op, window(self.op, c));
        let (shrunk, shares) = (self.shrunk.plane_mut(c), self.shares.plane_mut(c));
        let (known, squares) = (around.start..self.squared, &mut self.squares);
        let new = self.squared..around.end;
        let y = &mut y[..op.area];
        strips!(op.area, L, |N, at| {
            for line in (0..N * L).step_by(LINE) {
                // The plane that is read for the first time comes from memory.
                let newest = (around.end - 1) * op.area + at + line;
                prefetch(input.x.as_ptr().wrapping_add(newest + AHEAD));
            }
            let mut sums = [s.zero(); N];
            for j in known.clone() {
                let squares = strip::<S, L, N>(s, squares.plane(j), at);
                for (sum, square) in sums.iter_mut().zip(squares) {
                    *sum = s.add(*sum, square);
                }
            }
            for j in new.clone() {
                let mut fresh = input.strip::<S, L, N>(s, op, j, at);
                for (sum, x) in sums.iter_mut().zip(&mut fresh) {
                    *x = s.mul(*x, *x);
                    *sum = s.add(*sum, *x);
                }
                store_strip(s, fresh, squares.plane_mut(j), at);
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
        self.squared = self.squared.max(around.end);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Level, vector::Kernel};

    /// The largest relative errors of `power` and `inverse` for scales from 2^-126 to 2^126, whose inverses are normal.
    struct Errors;

    impl Kernel for Errors {
        type Out = [f64; 2];
        #[inline(always)]
        fn run<S: Simd<L>, const L: usize>(self, s: S) -> [f64; 2] {
            let mut largest = [0.0_f64; 2];
            let ends = [f32::MIN_POSITIVE, 1.0 / f32::MIN_POSITIVE].map(f32::to_bits);
            for bits in (ends[0]..ends[1]).step_by(9973) {
                let scale = f32::from_bits(bits);
                let found = shrink_three_quarters(s, s.splat(scale));
                let exact = [f64::from(scale).powf(-0.75), 1.0 / f64::from(scale)];
                for ((found, exact), largest) in found.into_iter().zip(exact).zip(&mut largest)
                {
                    let mut each = [0.0; L];
                    s.store(found, &mut each);
                    *largest = largest.max((f64::from(each[0]) / exact - 1.0).abs());
                }
            }
            largest
        }
    }

    #[test]
    fn powers_are_as_exact_as_is_said() {
        for level in Level::all() {
            let [power, inverse] = level.run(Errors);
            assert!(power < 2e-7 && inverse < 1.2e-7, "{level:?}: {power:e}, {inverse:e}");
        }
    }
}
