//! What every CPU of the architecture has: arrays of four floats, which compilers turn into the
//! vectors of SSE2 or NEON.

use super::{FOURTH_ROOT, Kernel, Simd, apart, bf16};

/// Four floats at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline;

const L: usize = 4;

impl Simd<L> for Baseline {
    type V = [f32; L];
    // SSE2 and NEON have 16 or more registers.
    const ROWS_MAX: [usize; 4] = [0, 8, 6, 4];

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        fn outline<K: Kernel>(kernel: K) -> K::Out {
            kernel.run(Baseline)
        }
        apart(outline::<K> as fn(K) -> K::Out)(kernel)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; L]
    }

    #[inline(always)]
    fn load(self, from: &[f32; L]) -> Self::V {
        *from
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::V {
        let mut v = [0.0; L];
        v[..from.len()].copy_from_slice(from);
        v
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; L]) {
        *to = v;
    }

    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        to.copy_from_slice(&v[..to.len()]);
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        [a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]]
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        [a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3]]
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        [a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]]
    }

    /// Rounds twice: a fused one is a slow library call where there is no instruction for it.
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        [a[0] / b[0], a[1] / b[1], a[2] / b[2], a[3] / b[3]]
    }

    #[inline(always)]
    fn inverse_fourth_root(self, a: Self::V) -> Self::V {
        a.map(|x| f32::from_bits(FOURTH_ROOT.cast_unsigned() - (x.to_bits() >> 2)))
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        let max = |i: usize| if a[i] > b[i] { a[i] } else { b[i] };
        [max(0), max(1), max(2), max(3)]
    }

    #[inline(always)]
    fn if_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V {
        let kept = |i: usize| if a[i] == b[i] { x[i] } else { 0.0 };
        [kept(0), kept(1), kept(2), kept(3)]
    }

    #[inline(always)]
    fn if_positive(self, a: Self::V, x: Self::V) -> Self::V {
        let kept = |i: usize| if a[i] > 0.0 { x[i] } else { 0.0 };
        [kept(0), kept(1), kept(2), kept(3)]
    }

    #[inline(always)]
    fn split(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        [[a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]]]
    }

    #[inline(always)]
    fn merge(self, even: Self::V, odd: Self::V) -> [Self::V; 2] {
        [[even[0], odd[0], even[1], odd[1]], [even[2], odd[2], even[3], odd[3]]]
    }

    #[inline(always)]
    fn shift(self, before: Self::V, v: Self::V) -> Self::V {
        [before[3], v[0], v[1], v[2]]
    }

    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let low = |x: f32| f32::from_bits(x.to_bits() << 16);
        let high = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        let dot = |i: usize| c[i] + high(a[i]) * high(b[i]) + low(a[i]) * low(b[i]);
        [dot(0), dot(1), dot(2), dot(3)]
    }

    #[inline(always)]
    fn pair(self, low: Self::V, high: Self::V) -> Self::V {
        let pair = |i: usize| f32::from_bits(bf16(low[i]) | bf16(high[i]) << 16);
        [pair(0), pair(1), pair(2), pair(3)]
    }

    #[inline(always)]
    fn transpose(self, r: [Self::V; L]) -> [Self::V; L] {
        let column = |j: usize| [r[0][j], r[1][j], r[2][j], r[3][j]];
        [column(0), column(1), column(2), column(3)]
    }
}
