//! 64 pixels at a time.

use super::{BLUE, GREEN, RED};
use crate::jpeg::level::{Level, Set};
use std::arch::x86_64::{
    __m512i, _mm512_add_epi16, _mm512_dpwssd_epi32, _mm512_mask_permutexvar_epi8,
    _mm512_mulhi_epi16, _mm512_packs_epi32, _mm512_packus_epi16, _mm512_permutex2var_epi8,
    _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_slli_epi16,
    _mm512_srai_epi16, _mm512_srai_epi32, _mm512_sub_epi16, _mm512_unpackhi_epi8,
    _mm512_unpackhi_epi16, _mm512_unpacklo_epi8, _mm512_unpacklo_epi16,
};

pub(super) fn ycbcr(level: Level, rows: [&[u8]; 3], out: &mut [u8]) {
    assert_eq!(level.set(), Set::Avx512, "the widest");
    // SAFETY: the level has the features, and is proof of them.
    unsafe { pieces(rows, out) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn pieces([y, cb, cr]: [&[u8]; 3], out: &mut [u8]) {
    let whole = y.len() / 64 * 64;
    let pieces = y.as_chunks::<64>().0.iter();
    let pieces = pieces.zip(cb.as_chunks::<64>().0).zip(cr.as_chunks::<64>().0);
    for (((y, cb), cr), out) in pieces.zip(out.as_chunks_mut::<192>().0) {
        *out = piece(y, cb, cr);
    }
    // The rest once more as a whole piece, of which only the rest is kept.
    if whole < y.len() {
        let rest = |row: &[u8]| {
            let mut piece = [0; 64];
            piece[..row.len() - whole].copy_from_slice(&row[whole..]);
            piece
        };
        let pixels = piece(&rest(y), &rest(cb), &rest(cr));
        let out = &mut out[3 * whole..];
        out.copy_from_slice(&pixels[..out.len()]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn piece(y: &[u8; 64], cb: &[u8; 64], cr: &[u8; 64]) -> [u8; 192] {
    let [y, cb, cr] = [y, cb, cr].map(|row| bytemuck::must_cast::<[u8; 64], __m512i>(*row));
    let zero = _mm512_setzero_si512();
    let unpacked = |x: __m512i| [_mm512_unpacklo_epi8(x, zero), _mm512_unpackhi_epi8(x, zero)];
    let (y, cb, cr) = (unpacked(y), unpacked(cb), unpacked(cr));
    let low = converted(y[0], cb[0], cr[0]);
    let high = converted(y[1], cb[1], cr[1]);
    // Packing undoes the unpacking: pixels stand in their order again.
    interleaved(std::array::from_fn(|c| _mm512_packus_epi16(low[c], high[c])))
}

/// Red, green and blue of 32 pixels, not yet clamped.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn converted(y: __m512i, cb: __m512i, cr: __m512i) -> [__m512i; 3] {
    let half = _mm512_set1_epi16(128);
    let (b, r) = (_mm512_sub_epi16(cb, half), _mm512_sub_epi16(cr, half));
    // (c x + 2^15) >> 16 is ((2 c x >> 16) + 1) >> 1, since flooring twice is flooring once.
    let rounded = |x: __m512i, constant: i16| {
        let high = _mm512_mulhi_epi16(_mm512_slli_epi16::<1>(x), _mm512_set1_epi16(constant));
        _mm512_srai_epi16::<1>(_mm512_add_epi16(high, _mm512_set1_epi16(1)))
    };
    let green = |pairs: __m512i| {
        let constants = _mm512_set1_epi32(bytemuck::must_cast(GREEN));
        let sum = _mm512_dpwssd_epi32(_mm512_set1_epi32(1 << 15), pairs, constants);
        _mm512_srai_epi32::<16>(sum)
    };
    let green = _mm512_packs_epi32(
        green(_mm512_unpacklo_epi16(b, r)),
        green(_mm512_unpackhi_epi16(b, r)),
    );
    [
        _mm512_add_epi16(_mm512_add_epi16(y, r), rounded(r, RED)),
        _mm512_add_epi16(_mm512_sub_epi16(y, r), green),
        _mm512_add_epi16(_mm512_add_epi16(y, _mm512_slli_epi16::<1>(b)), rounded(b, BLUE)),
    ]
}

/// 64 pixels of three channels to 192 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn interleaved(channels: [__m512i; 3]) -> [u8; 192] {
    /// `[piece][i]`: which red or green is byte `i` of a piece, and where the blues go.
    const FROM: [([u8; 64], [u8; 64], u64); 3] = {
        let mut from = [([0; 64], [0; 64], 0); 3];
        let mut i = 0;
        while i < 192 {
            let (piece, byte, pixel) = (i / 64, i % 64, (i / 3) as u8);
            match i % 3 {
                0 => from[piece].0[byte] = pixel,
                1 => from[piece].0[byte] = 64 + pixel,
                _ => {
                    from[piece].1[byte] = pixel;
                    from[piece].2 |= 1 << byte;
                }
            }
            i += 1;
        }
        from
    };
    let pieces = FROM.map(|(two, third, mask)| {
        let two = bytemuck::must_cast(two);
        let pixels = _mm512_permutex2var_epi8(channels[0], two, channels[1]);
        let pixels =
            _mm512_mask_permutexvar_epi8(pixels, mask, bytemuck::must_cast(third), channels[2]);
        bytemuck::must_cast::<__m512i, [u8; 64]>(pixels)
    });
    bytemuck::must_cast(pieces)
}
