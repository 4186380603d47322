//! AVX-512 F and VL, with or without BF16: sixteen floats in each of thirty-two registers.

use super::{Amx, FOURTH_ROOT, Kernel, Simd, apart};
use std::{
    arch::x86_64::{
        __m256bh, __m256i, __m512, __m512bh, _CMP_EQ_OQ, _CMP_GT_OQ, _CMP_UNORD_Q,
        _mm512_add_epi32, _mm512_add_ps, _mm512_alignr_epi32, _mm512_and_si512,
        _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps_si512, _mm512_castsi512_ps,
        _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_div_ps,
        _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_or_epi32,
        _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps, _mm512_max_ps,
        _mm512_mul_ps, _mm512_or_si512, _mm512_permutex2var_ps, _mm512_set_epi32,
        _mm512_set1_epi32, _mm512_set1_ps, _mm512_shuffle_f32x4, _mm512_slli_epi32,
        _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_epi32, _mm512_sub_ps,
        _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    },
    mem::transmute,
};

/// The proof that this CPU has AVX-512 F and VL, and with `BF16` and `AMX` those, too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof<const BF16: bool, const AMX: bool>(());

/// Without instructions for bf16.
pub(super) type Avx512 = Proof<false, false>;
/// With them.
pub(super) type Avx512Bf16 = Proof<true, false>;
/// With them and a matrix unit.
pub(super) type Avx512Amx = Proof<true, true>;

impl<const BF16: bool, const AMX: bool> Proof<BF16, AMX> {
    /// # Safety
    /// The CPU has AVX-512 F and VL, and BF16 if this is so called; so called, there is an [`Amx`].
    pub(super) unsafe fn new() -> Self {
        Self(())
    }
}

#[target_feature(enable = "avx512f,avx512vl")]
fn outline<S: Simd<L>, K: Kernel>(proof: S, kernel: K) -> K::Out {
    kernel.run(proof)
}

#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
fn outline_bf16<S: Simd<L>, K: Kernel>(proof: S, kernel: K) -> K::Out {
    kernel.run(proof)
}

const L: usize = 16;

/// The first `len` lanes.
#[inline(always)]
fn first(len: usize) -> u16 {
    assert!(len < L, "{len} floats are a whole vector");
    (1 << len) - 1
}

// SAFETY, of every block below: `self` is the proof that the CPU has the instruction; references to
// arrays, and masks of as many lanes as a slice is long, cover what is read and written.
impl<const BF16: bool, const AMX: bool> Simd<L> for Proof<BF16, AMX> {
    type V = __m512;
    const ROWS_MAX: [usize; 4] = [0, 14, 14, 9];
    const MATRIX_UNIT: bool = AMX;

    #[inline(always)]
    fn call<K: Kernel>(self, kernel: K) -> K::Out {
        type Outline<S, K> = unsafe fn(S, K) -> <K as Kernel>::Out;
        let outline: Outline<Self, K> =
            if BF16 { outline_bf16::<Self, K> } else { outline::<Self, K> };
        // SAFETY: see above.
        unsafe { apart(outline)(self, kernel) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, from: &[f32; L]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }

    #[inline(always)]
    fn load_part(self, from: &[f32]) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; L]) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }

    #[inline(always)]
    fn store_part(self, v: Self::V, to: &mut [f32]) {
        // SAFETY: see above.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
    }

    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_sub_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }

    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_div_ps(a, b) }
    }

    #[inline(always)]
    fn inverse_fourth_root(self, a: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let quarter = _mm512_srli_epi32::<2>(_mm512_castps_si512(a));
            _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_set1_epi32(FOURTH_ROOT), quarter))
        }
    }

    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_max_ps(a, b) }
    }

    #[inline(always)]
    fn if_equal(self, a: Self::V, b: Self::V, x: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), x) }
    }

    #[inline(always)]
    fn if_positive(self, a: Self::V, x: Self::V) -> Self::V {
        let zero = self.zero();
        // SAFETY: see above.
        unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, zero), x) }
    }

    #[inline(always)]
    fn split(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let even =
                _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
            let odd =
                _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }

    #[inline(always)]
    fn merge(self, even: Self::V, odd: Self::V) -> [Self::V; 2] {
        // SAFETY: see above.
        unsafe {
            let low = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
            let high =
                _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
            [_mm512_permutex2var_ps(even, low, odd), _mm512_permutex2var_ps(even, high, odd)]
        }
    }

    #[inline(always)]
    fn shift(self, before: Self::V, v: Self::V) -> Self::V {
        // SAFETY: see above.
        unsafe {
            let (before, v) = (_mm512_castps_si512(before), _mm512_castps_si512(v));
            _mm512_castsi512_ps(_mm512_alignr_epi32::<15>(v, before))
        }
    }

    #[inline(always)]
    fn dot(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: see above; as many bits are as many bits.
        unsafe {
            if BF16 {
                let bits = |v| transmute::<__m512, __m512bh>(v);
                return _mm512_dpbf16_ps(c, bits(a), bits(b));
            }
            let high = |v| _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(!0xFFFF));
            let low = |v| _mm512_slli_epi32::<16>(_mm512_castps_si512(v));
            let [a_high, b_high, a_low, b_low] =
                [high(a), high(b), low(a), low(b)].map(|v| _mm512_castsi512_ps(v));
            _mm512_fmadd_ps(a_low, b_low, _mm512_fmadd_ps(a_high, b_high, c))
        }
    }

    #[inline(always)]
    fn pair(self, low: Self::V, high: Self::V) -> Self::V {
        // SAFETY: see above; as many bits are as many bits.
        unsafe {
            let round = |v| {
                if BF16 {
                    return _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(
                        _mm512_cvtneps_pbh(v),
                    ));
                }
                let bits = _mm512_castps_si512(v);
                let cut = _mm512_srli_epi32::<16>(bits);
                let half = _mm512_add_epi32(
                    _mm512_set1_epi32(0x7FFF),
                    _mm512_and_si512(cut, _mm512_set1_epi32(1)),
                );
                let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
                let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
                _mm512_mask_or_epi32(rounded, no_number, cut, _mm512_set1_epi32(0x40))
            };
            let high = _mm512_slli_epi32::<16>(round(high));
            _mm512_castsi512_ps(_mm512_or_si512(round(low), high))
        }
    }

    #[inline(always)]
    fn transpose(self, r: [Self::V; L]) -> [Self::V; L] {
        let mut quads = r;
        // SAFETY: see above.
        unsafe {
            // Columns j, 4 + j, 8 + j and 12 + j of four rows, side by side, in quads[4 g + j].
            for g in 0..4 {
                let [a, b, c, d] = [r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]];
                let ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                quads[4 * g] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                quads[4 * g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
                let ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                quads[4 * g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                quads[4 * g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            }
            let mut columns = quads;
            for j in 0..4 {
                let [a, b, c, d] = [quads[j], quads[4 + j], quads[8 + j], quads[12 + j]];
                let left = _mm512_shuffle_f32x4::<0x44>(a, b);
                let right = _mm512_shuffle_f32x4::<0x44>(c, d);
                columns[j] = _mm512_shuffle_f32x4::<0x88>(left, right);
                columns[4 + j] = _mm512_shuffle_f32x4::<0xDD>(left, right);
                let left = _mm512_shuffle_f32x4::<0xEE>(a, b);
                let right = _mm512_shuffle_f32x4::<0xEE>(c, d);
                columns[8 + j] = _mm512_shuffle_f32x4::<0x88>(left, right);
                columns[12 + j] = _mm512_shuffle_f32x4::<0xDD>(left, right);
            }
            columns
        }
    }

    #[inline(always)]
    fn amx(self) -> Option<Amx> {
        // SAFETY: see above.
        AMX.then(|| unsafe { Amx::new() })
    }
}
