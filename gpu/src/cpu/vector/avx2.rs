//! AVX2 and FMA: eight floats in each of sixteen registers.

use super::{FOURTH_ROOT, Kernel, Simd, apart};
use std::arch::x86_64::{
    __m256, _CMP_EQ_OQ, _CMP_GT_OQ, _CMP_UNORD_Q, _mm256_add_epi32, _mm256_add_ps,
    _mm256_alignr_epi8, _mm256_and_ps, _mm256_and_si256, _mm256_blendv_epi8, _mm256_castpd_ps,
    _mm256_castps_pd, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_mul_ps, _mm256_or_si256,
    _mm256_permute2f128_ps, _mm256_permute2x128_si256, _mm256_permute4x64_pd,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_slli_epi32,
    _mm256_srli_epi32, _mm256_storeu_ps, _mm256_sub_epi32, _mm256_sub_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps,
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
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_div_ps(a, b) }
    }

    #[inline(always)]
    fn inverse_fourth_root(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let quarter = _mm256_srli_epi32::<2>(_mm256_castps_si256(a));
            _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_set1_epi32(FOURTH_ROOT), quarter))
        }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_max_ps(a, b) }
    }

    #[inline(always)]
    fn if_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), x) }
    }

    #[inline(always)]
    fn if_positive(self, a: Self::V, x: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, _mm256_setzero_ps()), x) }
    }

    #[inline(always)]
    fn split(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            // Both halves at once leave a0 b0 a1 b1, in pairs.
            let pairs = [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b)];
            let [even, odd] = [_mm256_castps_pd(pairs[0]), _mm256_castps_pd(pairs[1])];
            [
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(even)),
                _mm256_castpd_ps(_mm256_permute4x64_pd::<0xD8>(odd)),
            ]
        }
    }

    #[inline(always)]
    fn merge(self, even: Self::V, odd: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
            [
                _mm256_permute2f128_ps::<0x20>(low, high),
                _mm256_permute2f128_ps::<0x31>(low, high),
            ]
        }
    }

    #[inline(always)]
    fn shift(self, before: Self::V, v: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (before, v) = (_mm256_castps_si256(before), _mm256_castps_si256(v));
            let middle = _mm256_permute2x128_si256::<0x21>(before, v); // before's top, v's bottom
            _mm256_castsi256_ps(_mm256_alignr_epi8::<12>(v, middle))
        }
    }

    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let high = _mm256_castsi256_ps(_mm256_set1_epi32(!0xFFFF));
            let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
            let sum = _mm256_fmadd_ps(_mm256_and_ps(a, high), _mm256_and_ps(b, high), c);
            _mm256_fmadd_ps(low(a), low(b), sum)
        }
    }

    #[inline(always)]
    fn pair(self, low: Self::V, high: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let round = |v| {
                let bits = _mm256_castps_si256(v);
                let cut = _mm256_srli_epi32::<16>(bits);
                let half = _mm256_add_epi32(
                    _mm256_set1_epi32(0x7FFF),
                    _mm256_and_si256(cut, _mm256_set1_epi32(1)),
                );
                let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
                let no_number = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
                let told = _mm256_or_si256(cut, _mm256_set1_epi32(0x40));
                _mm256_blendv_epi8(rounded, told, no_number)
            };
            let high = _mm256_slli_epi32::<16>(round(high));
            _mm256_castsi256_ps(_mm256_or_si256(round(low), high))
        }
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
