//! What every CPU of the architecture has: arrays of four floats, which compilers turn into the
//! vectors of SSE2 or NEON.

use super::{Kernel, Simd, apart};

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
    fn transpose(self, r: [Self::V; L]) -> [Self::V; L] {
        let column = |j: usize| [r[0][j], r[1][j], r[2][j], r[3][j]];
        [column(0), column(1), column(2), column(3)]
    }
}
