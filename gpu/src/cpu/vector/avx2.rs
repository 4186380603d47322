//! AVX2 and FMA: eight floats in each of sixteen registers.

use super::{Kernel, Simd, apart};
use std::arch::x86_64::{
    __m256, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps,
    _mm256_permute2f128_ps, _mm256_set1_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

/// The proof that this CPU has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2 and FMA.
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx2,fma")]
fn outline<K: Kernel>(avx2: Avx2, kernel: K) -> K::Out {
    kernel.run(avx2)
}

const L: usize = 8;

// SAFETY, of every block below: `self` is the proof that the CPU has the instruction, and references
// to arrays cover what is read and written.
impl Simd<L> for Avx2 {
    type V = __m256;
    // Four rows of three would leave one register for elements of `a`; the compiler wants two, and spills.
    const ROWS_MAX: [usize; 4] = [0, 12, 6, 3];

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        // SAFETY: see above.
        unsafe { apart(outline::<K> as unsafe fn(Self, K) -> K::Out)(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; L]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::V {
        let mut whole = [0.0; L];
        whole[..from.len()].copy_from_slice(from);
        self.load(&whole)
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; L]) {
        // SAFETY: see above.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        let mut whole = [0.0; L];
        self.store(v, &mut whole);
        to.copy_from_slice(&whole[..to.len()]);
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn transpose(self, r: [Self::V; L]) -> [Self::V; L] {
        let mut quads = r;
        // SAFETY: see above.
        unsafe {
            // Columns j and 4 + j of four rows, side by side, in quads[4 g + j].
            for g in 0..2 {
                let [a, b, c, d] = [r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]];
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                quads[4 * g] = _mm256_shuffle_ps::<0x44>(ab, cd);
                quads[4 * g + 1] = _mm256_shuffle_ps::<0xEE>(ab, cd);
                let (ab, cd) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                quads[4 * g + 2] = _mm256_shuffle_ps::<0x44>(ab, cd);
                quads[4 * g + 3] = _mm256_shuffle_ps::<0xEE>(ab, cd);
            }
            let mut columns = quads;
            for j in 0..4 {
                let (top, bottom) = (quads[j], quads[4 + j]);
                columns[j] = _mm256_permute2f128_ps::<0x20>(top, bottom);
                columns[4 + j] = _mm256_permute2f128_ps::<0x31>(top, bottom);
            }
            columns
        }
    }
}
