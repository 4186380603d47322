//! 32 pixels at a time, in vectors of 8: a shuffle spreads the bytes of a channel, in order or
//! mirrored, over the lanes of a vector.

use super::{AHEAD, Element, GROUP, LINE_BYTES, Work};
use crate::level::{Level, Set};
use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_NTA, _mm_prefetch,
    _mm_sfence, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_castps_si256,
    _mm256_cvtepi32_ps, _mm256_cvtps_ph, _mm256_mul_ps, _mm256_packus_epi32,
    _mm256_permute4x64_epi64, _mm256_set_m128i, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_shuffle_epi8, _mm256_srli_epi32, _mm256_stream_si256, _mm256_sub_ps,
};

const F32: u8 = Element::F32 as u8;
const F16: u8 = Element::F16 as u8;
const BF16: u8 = Element::Bf16 as u8;

/// Pixels of a vector, and vectors of a group.
const PIECE: usize = 8;
const PIECES: usize = GROUP / PIECE;

/// `FROM[mirror][c]`: for each lane of a piece, where in its load the byte of channel `c` is; 0x80
/// makes zeros. The loads are the piece's first and last 16 bytes, for 4 lanes each; mirrored, the
/// last come first.
const FROM: [[[u8; 32]; 3]; 2] = {
    let mut from = [[[0x80; 32]; 3]; 2];
    let mut i = 0;
    while i < 2 * PIECE * 3 {
        let (mirror, u, c) = (i / (PIECE * 3), i / 3 % PIECE, i % 3);
        let pixel = if mirror == 1 { PIECE - 1 - u } else { u };
        let load = pixel / 4;
        from[mirror][c][4 * u] = (3 * pixel + c - 8 * load) as u8;
        i += 1;
    }
    from
};

pub(super) fn write(level: Level, work: &Work<'_>, element: Element, out: &mut [u8]) {
    assert_ne!(level.set(), Set::Baseline, "which has no AVX2");
    let stream = work.streams(element, out);
    // SAFETY: both levels but the baseline have the features, and a level is proof of its own.
    unsafe {
        match (element, stream) {
            (Element::F32, false) => rows::<F32, false>(work, out),
            (Element::F32, true) => rows::<F32, true>(work, out),
            (Element::F16, false) => rows::<F16, false>(work, out),
            (Element::F16, true) => rows::<F16, true>(work, out),
            (Element::Bf16, false) => rows::<BF16, false>(work, out),
            (Element::Bf16, true) => rows::<BF16, true>(work, out),
        }
        if stream {
            _mm_sfence(); // before the stores that tell others that the sample is whole
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
fn rows<const ELEMENT: u8, const STREAM: bool>(work: &Work<'_>, out: &mut [u8]) {
    let crop = work.crop;
    let bytes = if ELEMENT == F32 { 4 } else { 2 };
    let from = FROM[usize::from(work.mirror)].map(bytemuck::must_cast::<[u8; 32], __m256i>);
    let light = work.light.map(|light| _mm256_set1_ps(light));
    let scale = _mm256_set1_ps(work.scale);
    (0..AHEAD.min(crop)).for_each(|v| prefetch(work.row(v)));
    for v in 0..crop {
        let row = work.row(v);
        let means = [0, 1, 2].map(|c| work.mean.row(v, c));
        if let Some(ahead) = work.ahead(v) {
            prefetch(ahead);
        }
        for first in work.groups() {
            let at = if work.mirror { crop - GROUP - first } else { first };
            let loads = loads(&row[3 * at..3 * (at + GROUP)], work.mirror);
            for c in 0..3 {
                let place = (c * crop + v) * crop + first;
                let mean = means[c][first..first + GROUP].as_chunks::<PIECE>().0;
                let piece = |i: usize| {
                    let pixels = _mm256_shuffle_epi8(loads[i], from[c]);
                    let mean = bytemuck::must_cast::<[f32; PIECE], __m256>(mean[i]);
                    let centred = _mm256_sub_ps(_mm256_cvtepi32_ps(pixels), mean);
                    _mm256_mul_ps(_mm256_add_ps(centred, light[c]), scale)
                };
                let pieces = [piece(0), piece(1), piece(2), piece(3)];
                let out = &mut out[place * bytes..(place + GROUP) * bytes];
                let halves = out.as_chunks_mut::<{ LINE_BYTES / 2 }>().0;
                if ELEMENT == F32 {
                    for (half, piece) in halves.iter_mut().zip(pieces) {
                        store::<STREAM>(half, _mm256_castps_si256(piece));
                    }
                } else {
                    for (half, pair) in halves.iter_mut().zip(pieces.as_chunks::<2>().0) {
                        let values =
                            if ELEMENT == F16 { to_f16(*pair) } else { to_bf16(*pair) };
                        store::<STREAM>(half, values);
                    }
                }
            }
        }
    }
}

/// Each piece's first and last 16 bytes, in the order in which they are taken.
#[inline]
#[target_feature(enable = "avx2")]
fn loads(group: &[u8], mirror: bool) -> [__m256i; PIECES] {
    let load = |at: usize| -> __m128i {
        let bytes: &[u8; 16] = group[at..at + 16].try_into().expect("16 bytes");
        bytemuck::must_cast(*bytes)
    };
    std::array::from_fn(|i| {
        let at = 3 * PIECE * if mirror { PIECES - 1 - i } else { i };
        let (low, high) = (load(at), load(at + 8));
        if mirror { _mm256_set_m128i(low, high) } else { _mm256_set_m128i(high, low) }
    })
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn to_f16(pair: [__m256; 2]) -> __m256i {
    let [low, high] = pair.map(|half| _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(half));
    _mm256_set_m128i(high, low)
}

/// The upper 16 bits, to nearest, ties to even.
#[inline]
#[target_feature(enable = "avx2")]
fn to_bf16(pair: [__m256; 2]) -> __m256i {
    let [low, high] = pair.map(|half| {
        let bits = _mm256_castps_si256(half);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd);
        _mm256_srli_epi32::<16>(rounded)
    });
    // Packing takes four of each by turns.
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packus_epi32(low, high))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store<const STREAM: bool>(half: &mut [u8; LINE_BYTES / 2], values: __m256i) {
    if STREAM {
        let to: *mut __m256i = half.as_mut_ptr().cast();
        debug_assert!(to.is_aligned());
        // SAFETY: the 32 bytes are ours, and `Work::streams` saw that they are aligned.
        unsafe { _mm256_stream_si256(to, values) }
    } else {
        *half = bytemuck::must_cast(values);
    }
}

/// Fetches a row of pixels: rows are parted by what is not in the crop, and their pages need not
/// follow one another in memory, where the CPU's own guesses end. They are read once, so they need
/// not push the mean image out of the caches.
#[inline]
pub(super) fn prefetch(row: &[u8]) {
    for line in row.chunks(LINE_BYTES) {
        // SAFETY: it reads nothing, and the address is that of a byte that could be read.
        unsafe { _mm_prefetch::<_MM_HINT_NTA>(line.as_ptr().cast()) };
    }
}
