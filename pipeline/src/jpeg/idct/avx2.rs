//! Two blocks at a time, one in each half of a register, rows as vectors.

use super::{CONST_BITS, EVEN, Level, ODD, SHIFTS, Set};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_madd_epi16, _mm256_mullo_epi16, _mm256_packs_epi16, _mm256_packs_epi32,
    _mm256_permute4x64_epi64, _mm256_set_m128i, _mm256_set1_epi8, _mm256_set1_epi32,
    _mm256_srai_epi32, _mm256_sub_epi32, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
    _mm256_xor_si256,
};

pub(super) fn blocks(
    level: Level, blocks: &[[i16; 64]], steps: &[i16; 64], out: &mut [u8], stride: usize,
) {
    assert_ne!(level.set(), Set::Baseline, "which has no AVX2");
    // SAFETY: both levels but the baseline have AVX2, and a level is proof of its features.
    unsafe { pairs(blocks, steps, out, stride) }
}

type Rows = [__m256i; 8];

#[target_feature(enable = "avx2")]
fn pairs(blocks: &[[i16; 64]], steps: &[i16; 64], out: &mut [u8], stride: usize) {
    let steps = steps.as_chunks::<8>().0;
    for (i, pair) in blocks.chunks(2).enumerate() {
        let first = pair[0].as_chunks::<8>().0;
        let second = pair.get(1).unwrap_or(&[0; 64]).as_chunks::<8>().0;
        let rows = std::array::from_fn(|y| {
            let rows = of_halves(first[y], second[y]);
            _mm256_mullo_epi16(rows, of_halves(steps[y], steps[y]))
        });
        let rows = transposed(pass::<{ SHIFTS[0] as i32 }>(rows));
        let rows = transposed(pass::<{ SHIFTS[1] as i32 }>(rows));
        for (y, rows) in rows.as_chunks::<2>().0.iter().enumerate() {
            let samples = _mm256_packs_epi16(rows[0], rows[1]);
            let samples = _mm256_xor_si256(samples, _mm256_set1_epi8(-128)); // plus 128
            let samples = _mm256_permute4x64_epi64::<0b11_01_10_00>(samples);
            let at = 2 * y * stride + 16 * i;
            let upper: [u8; 16] = bytemuck::must_cast(_mm256_castsi256_si128(samples));
            let lower: [u8; 16] = bytemuck::must_cast(_mm256_extracti128_si256::<1>(samples));
            out[at..at + 16].copy_from_slice(&upper);
            out[at + stride..at + stride + 16].copy_from_slice(&lower);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn of_halves(low: [i16; 8], high: [i16; 8]) -> __m256i {
    _mm256_set_m128i(bytemuck::must_cast(high), bytemuck::must_cast(low))
}

/// Pairs of 16-bit constants for `_mm256_madd_epi16`.
#[inline]
#[target_feature(enable = "avx2")]
fn constants(pair: [i16; 2]) -> __m256i {
    _mm256_set1_epi32(bytemuck::must_cast(pair))
}

/// One dimension, from vector to vector.
#[inline]
#[target_feature(enable = "avx2")]
fn pass<const SHIFT: i32>(x: Rows) -> Rows {
    let low = half::<SHIFT>(
        _mm256_unpacklo_epi16(x[0], x[4]),
        _mm256_unpacklo_epi16(x[2], x[6]),
        _mm256_unpacklo_epi16(x[1], x[3]),
        _mm256_unpacklo_epi16(x[5], x[7]),
    );
    let high = half::<SHIFT>(
        _mm256_unpackhi_epi16(x[0], x[4]),
        _mm256_unpackhi_epi16(x[2], x[6]),
        _mm256_unpackhi_epi16(x[1], x[3]),
        _mm256_unpackhi_epi16(x[5], x[7]),
    );
    std::array::from_fn(|i| _mm256_packs_epi32(low[i], high[i]))
}

/// Half of the columns, at 32 bits: inputs 0 and 4 in alternation, and so on.
#[inline]
#[target_feature(enable = "avx2")]
fn half<const SHIFT: i32>(x04: __m256i, x26: __m256i, x13: __m256i, x57: __m256i) -> Rows {
    const ONE: i16 = 1 << CONST_BITS;
    let rounding = _mm256_set1_epi32(1 << (SHIFT - 1));
    let base = [[ONE, ONE], [ONE, -ONE]]
        .map(|signs| _mm256_add_epi32(_mm256_madd_epi16(x04, constants(signs)), rounding));
    let more = EVEN.map(|pair| _mm256_madd_epi16(x26, constants(pair)));
    let even = [
        _mm256_add_epi32(base[0], more[0]),
        _mm256_add_epi32(base[1], more[1]),
        _mm256_sub_epi32(base[1], more[1]),
        _mm256_sub_epi32(base[0], more[0]),
    ];
    let odd = ODD.map(|[one, three, five, seven]| {
        let upper = _mm256_madd_epi16(x13, constants([one, three]));
        _mm256_add_epi32(upper, _mm256_madd_epi16(x57, constants([five, seven])))
    });
    std::array::from_fn(|i| {
        let sum = if i < 4 {
            _mm256_add_epi32(even[i], odd[i])
        } else {
            _mm256_sub_epi32(even[7 - i], odd[7 - i])
        };
        _mm256_srai_epi32::<SHIFT>(sum)
    })
}

/// Both halves' 8 x 8 values, rows to columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(x: Rows) -> Rows {
    let a: Rows = std::array::from_fn(|i| match i % 2 {
        0 => _mm256_unpacklo_epi16(x[i / 2], x[i / 2 + 4]),
        _ => _mm256_unpackhi_epi16(x[i / 2], x[i / 2 + 4]),
    });
    let b: Rows = std::array::from_fn(|i| match i % 2 {
        0 => _mm256_unpacklo_epi16(a[i / 2], a[i / 2 + 4]),
        _ => _mm256_unpackhi_epi16(a[i / 2], a[i / 2 + 4]),
    });
    std::array::from_fn(|i| match i % 2 {
        0 => _mm256_unpacklo_epi16(b[i / 2], b[i / 2 + 4]),
        _ => _mm256_unpackhi_epi16(b[i / 2], b[i / 2 + 4]),
    })
}
