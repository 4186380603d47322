//! The one-dimensional transforms of F(m, r), `m + r - 1 = 8` points (Winograd, 1980; Lavin and Gray,
//! 2016).
//!
//! `m` outputs of a correlation with `r` taps are a polynomial product's coefficients. With the
//! eight points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity it takes eight multiplications:
//! `y = A^T ((N^-1 G w) (B^T x))`, where `G` evaluates the `r` taps at the points, `N` holds the
//! products of differences of the points, `B^T` has the coefficients of the Lagrange polynomials, and
//! `A^T` is the transpose of `G` for `m` in place of `r`. So one set of functions does all of
//! F(4, 5), F(5, 4), F(6, 3) and F(3, 6). Points `p` and `-p` share the even and the odd part of each
//! sum.

use crate::cpu::vector::Simd;

/// Points, and multiplications per tile and dimension.
pub(super) const POINTS: usize = 8;

/// The derivative of `x (x^2 - 1) (x^2 - 4) (x^2 - 1/4)` at each point, which `G` is divided by.
pub(super) const N: [f32; POINTS] = [-1.0, -4.5, -4.5, 90.0, 90.0, 1.40625, 1.40625, 1.0];

/// `B^T x`: what eight pixels of a row or column contribute to each point.
#[inline(always)]
pub(super) fn pixels<S: Simd<L>, const L: usize>(s: S, x: [S::V; POINTS]) -> [S::V; POINTS] {
    let ends = s.splat(5.25);
    let zero = s.fma(ends, s.sub(x[2], x[4]), s.sub(x[6], x[0]));
    let infinity = s.fma(ends, s.sub(x[3], x[5]), s.sub(x[7], x[1]));
    let [a, b] = pixels_at(s, x, 1.0, [-4.25, 1.0]);
    let [c, d] = pixels_at(s, x, 2.0, [-1.25, 0.25]);
    let [e, f] = pixels_at(s, x, 0.5, [-5.0, 4.0]);
    [zero, a, b, c, d, e, f, infinity]
}

/// At `p` and `-p`, whose polynomials are `x (x + p)` and `x (x - p)` times `x^4 + b x^2 + c`.
#[inline(always)]
fn pixels_at<S: Simd<L>, const L: usize>(
    s: S, x: [S::V; POINTS], p: f32, [b, c]: [f32; 2],
) -> [S::V; 2] {
    let (b, c, p) = (s.splat(b), s.splat(c), s.splat(p));
    let even = s.fma(c, x[2], s.fma(b, x[4], x[6]));
    let odd = s.fma(c, x[1], s.fma(b, x[3], x[5]));
    [s.fma(p, odd, even), s.sub(even, s.mul(p, odd))]
}

/// `G w`, not divided by [`N`]: the values at the points of the polynomial with coefficients `w`.
#[inline(always)]
pub(super) fn taps<S: Simd<L>, const L: usize, const R: usize>(
    s: S, w: [S::V; R],
) -> [S::V; POINTS] {
    let mut z = [w[0]; POINTS];
    z[POINTS - 1] = w[R - 1];
    for i in 0..3 {
        let p = [1.0_f32, 2.0, 0.5][i];
        let (mut even, mut odd) = (w[0], s.mul(s.splat(p), w[1]));
        let mut power = p;
        for k in 2..R {
            power *= p;
            let part = if k % 2 == 0 { &mut even } else { &mut odd };
            *part = s.fma(s.splat(power), w[k], *part);
        }
        z[1 + 2 * i] = s.add(even, odd);
        z[2 + 2 * i] = s.sub(even, odd);
    }
    z
}

/// `A^T z`: the `M` outputs from the products at the points.
#[inline(always)]
pub(super) fn outputs<S: Simd<L>, const L: usize, const M: usize>(
    s: S, z: [S::V; POINTS],
) -> [S::V; M] {
    let even = [s.add(z[1], z[2]), s.add(z[3], z[4]), s.add(z[5], z[6])];
    let odd = [s.sub(z[1], z[2]), s.sub(z[3], z[4]), s.sub(z[5], z[6])];
    let mut y = [s.add(z[0], s.add(even[0], s.add(even[1], even[2]))); M];
    let mut power = 1.0_f32;
    for i in 1..M {
        power *= 2.0;
        let part = if i % 2 == 0 { even } else { odd };
        let halves = s.fma(s.splat(1.0 / power), part[2], part[0]);
        y[i] = s.fma(s.splat(power), part[1], halves);
    }
    y[M - 1] = s.add(y[M - 1], z[POINTS - 1]);
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::{Level, vector::Kernel},
        testing::noise,
    };

    struct Correlate<const M: usize, const R: usize>;

    impl<const M: usize, const R: usize> Kernel for Correlate<M, R> {
        type Out = ();
        #[inline(always)]
        fn run<S: Simd<L>, const L: usize>(self, s: S) {
            let (x, w) = (noise(1, POINTS * L), noise(2, R * L));
            let lanes =
                |from: &[f32], at: usize| s.load(from.as_chunks::<L>().0.get(at).expect("L"));
            let points = pixels(s, std::array::from_fn(|i| lanes(&x, i)));
            let values = taps(s, std::array::from_fn::<_, R, _>(|i| lanes(&w, i)));
            let products = std::array::from_fn(|i| {
                s.mul(s.splat(1.0 / N[i]), s.mul(values[i], points[i]))
            });
            for (i, y) in outputs::<S, L, M>(s, products).into_iter().enumerate() {
                let mut found = [0.0; L];
                s.store(y, &mut found);
                for (lane, found) in found.into_iter().enumerate() {
                    let term = |u: usize| {
                        f64::from(w[u * L + lane]) * f64::from(x[(i + u) * L + lane])
                    };
                    let wanted: f64 = (0..R).map(term).sum();
                    assert!((f64::from(found) - wanted).abs() < 3e-6, "{found}, not {wanted}");
                }
            }
        }
    }

    #[test]
    fn eight_multiplications_make_a_correlation() {
        for level in Level::all() {
            level.run(Correlate::<4, 5>);
            level.run(Correlate::<5, 4>);
            level.run(Correlate::<6, 3>);
            level.run(Correlate::<3, 6>);
        }
    }
}
