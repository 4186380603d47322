//! 32 pixels at a time.

use super::{BLUE, GREEN, RED, scalar};
use crate::jpeg::level::{Level, Set};
use std::arch::x86_64::{
    __m128i, __m256i, _mm_or_si128, _mm_shuffle_epi8, _mm256_add_epi16, _mm256_add_epi32,
    _mm256_cvtepu8_epi16, _mm256_extracti128_si256, _mm256_madd_epi16, _mm256_mulhi_epi16,
    _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srai_epi32,
    _mm256_sub_epi16, _mm256_unpackhi_epi16, _mm256_unpacklo_epi16,
};

pub(super) fn ycbcr(level: Level, rows: [&[u8]; 3], out: &mut [u8]) {
    assert_ne!(level.set(), Set::Baseline, "which has no AVX2");
    // SAFETY: both levels but the baseline have AVX2, and a level is proof of its features.
    unsafe { pieces(rows, out) }
}

#[target_feature(enable = "avx2")]
fn pieces([y, cb, cr]: [&[u8]; 3], out: &mut [u8]) {
    let whole = y.len() / 32 * 32;
    let pieces = y.as_chunks::<32>().0.iter();
    let pieces = pieces.zip(cb.as_chunks::<32>().0).zip(cr.as_chunks::<32>().0);
    for (((y, cb), cr), out) in pieces.zip(out.as_chunks_mut::<96>().0) {
        let halves = [0, 16].map(|at| {
            let half = |row: &[u8; 32]| -> __m256i {
                let bytes: [u8; 16] = std::array::from_fn(|i| row[at + i]);
                _mm256_cvtepu8_epi16(bytemuck::must_cast(bytes))
            };
            converted(half(y), half(cb), half(cr))
        });
        let channel = |c: usize| {
            let packed = _mm256_packus_epi16(halves[0][c], halves[1][c]);
            _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
        };
        let channels = [channel(0), channel(1), channel(2)];
        let low = channels.map(|c| _mm256_extracti128_si256::<0>(c));
        let high = channels.map(|c| _mm256_extracti128_si256::<1>(c));
        let (first, second) = out.split_at_mut(48);
        interleave(low, first);
        interleave(high, second);
    }
    scalar([&y[whole..], &cb[whole..], &cr[whole..]], &mut out[3 * whole..]);
}

/// Red, green and blue of 16 pixels, not yet clamped.
#[inline]
#[target_feature(enable = "avx2")]
fn converted(y: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
    let half = _mm256_set1_epi16(128);
    let (b, r) = (_mm256_sub_epi16(cb, half), _mm256_sub_epi16(cr, half));
    // (c x + 2^15) >> 16 is ((2 c x >> 16) + 1) >> 1, since flooring twice is flooring once.
    let rounded = |x: __m256i, constant: i16| {
        let high = _mm256_mulhi_epi16(_mm256_slli_epi16::<1>(x), _mm256_set1_epi16(constant));
        _mm256_srai_epi16::<1>(_mm256_add_epi16(high, _mm256_set1_epi16(1)))
    };
    let green = |pairs: __m256i| {
        let constants = _mm256_set1_epi32(bytemuck::must_cast(GREEN));
        let sum = _mm256_madd_epi16(pairs, constants);
        _mm256_srai_epi32::<16>(_mm256_add_epi32(sum, _mm256_set1_epi32(1 << 15)))
    };
    let green = _mm256_packs_epi32(
        green(_mm256_unpacklo_epi16(b, r)),
        green(_mm256_unpackhi_epi16(b, r)),
    );
    [
        _mm256_add_epi16(_mm256_add_epi16(y, r), rounded(r, RED)),
        _mm256_add_epi16(_mm256_sub_epi16(y, r), green),
        _mm256_add_epi16(_mm256_add_epi16(y, _mm256_slli_epi16::<1>(b)), rounded(b, BLUE)),
    ]
}

/// 16 pixels of three channels to 48 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn interleave(channels: [__m128i; 3], out: &mut [u8]) {
    /// `[piece][channel][i]`: which pixel's value is byte `i` of a piece; 0x80 for another's.
    const FROM: [[[u8; 16]; 3]; 3] = {
        let mut from = [[[0x80; 16]; 3]; 3];
        let mut i = 0;
        while i < 48 {
            from[i / 16][i % 3][i % 16] = (i / 3) as u8;
            i += 1;
        }
        from
    };
    for (from, out) in FROM.iter().zip(out.as_chunks_mut::<16>().0) {
        let part = |c: usize| _mm_shuffle_epi8(channels[c], bytemuck::must_cast(from[c]));
        *out = bytemuck::must_cast(_mm_or_si128(_mm_or_si128(part(0), part(1)), part(2)));
    }
}
