//! 32 pixels at a time: a permutation spreads the bytes of a channel, in order or mirrored, over the
//! lanes of a vector.

use super::{AHEAD, Element, GROUP, LINE_BYTES, Work, avx2::prefetch};
use crate::level::{Level, Set};
use std::arch::x86_64::{
    __m256i, __m512, __m512i, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_sfence,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi256_si512, _mm512_cvtepi32_ps, _mm512_cvtps_ph, _mm512_inserti64x4,
    _mm512_maskz_permutexvar_epi8, _mm512_mul_ps, _mm512_permutex2var_epi16, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_srli_epi32, _mm512_stream_si512, _mm512_sub_ps,
};
use std::hint::black_box;

const F32: u8 = Element::F32 as u8;
const F16: u8 = Element::F16 as u8;
const BF16: u8 = Element::Bf16 as u8;

/// `FROM[mirror][half][c]`: for each lane of a half of a group, where in its load the byte of
/// channel `c` is. The loads are the group's first and last 64 bytes; mirrored, the first half is
/// taken from the last.
const FROM: [[[[u8; 64]; 3]; 2]; 2] = {
    let mut from = [[[[0; 64]; 3]; 2]; 2];
    let mut i = 0;
    while i < 2 * GROUP * 3 {
        let (mirror, u, c) = (i / (GROUP * 3), i / 3 % GROUP, i % 3);
        let pixel = if mirror == 1 { GROUP - 1 - u } else { u };
        let load = pixel / 16;
        from[mirror][u / 16][c][u % 16 * 4] = (3 * pixel + c - 32 * load) as u8;
        i += 1;
    }
    from
};
/// The first byte of each lane; the others become zero.
const LANES: u64 = 0x1111_1111_1111_1111;

pub(super) fn write(level: Level, work: &Work<'_>, element: Element, out: &mut [u8]) {
    assert_eq!(level.set(), Set::Avx512, "the widest");
    let stream = work.streams(element, out);
    // SAFETY: the level has the features, and is proof of them.
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

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn rows<const ELEMENT: u8, const STREAM: bool>(work: &Work<'_>, out: &mut [u8]) {
    let (crop, mirror) = (work.crop, usize::from(work.mirror));
    let bytes = if ELEMENT == F32 { 4 } else { 2 };
    let from = FROM[mirror].map(|half| half.map(bytemuck::must_cast::<[u8; 64], __m512i>));
    let light = work.light.map(|light| _mm512_set1_ps(light));
    let scale = _mm512_set1_ps(work.scale);
    // Seen as a constant, the mask would become an instruction of its own for each permutation.
    let lanes = black_box(LANES);
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
                let mean = means[c][first..first + GROUP].as_chunks::<16>().0;
                let half = |half: usize| {
                    let pixels =
                        _mm512_maskz_permutexvar_epi8(lanes, from[half][c], loads[half]);
                    let mean = bytemuck::must_cast::<[f32; 16], __m512>(mean[half]);
                    let centred = _mm512_sub_ps(_mm512_cvtepi32_ps(pixels), mean);
                    _mm512_mul_ps(_mm512_add_ps(centred, light[c]), scale)
                };
                let halves = [half(0), half(1)];
                let out = &mut out[place * bytes..(place + GROUP) * bytes];
                let lines = out.as_chunks_mut::<LINE_BYTES>().0;
                match ELEMENT {
                    F32 => {
                        store::<STREAM>(&mut lines[0], _mm512_castps_si512(halves[0]));
                        store::<STREAM>(&mut lines[1], _mm512_castps_si512(halves[1]));
                    }
                    F16 => store::<STREAM>(&mut lines[0], to_f16(halves)),
                    _ => store::<STREAM>(&mut lines[0], to_bf16(halves)),
                }
            }
        }
    }
}

/// The group's first and last 64 bytes, in the order in which the halves take them.
#[inline]
#[target_feature(enable = "avx512f")]
fn loads(group: &[u8], mirror: bool) -> [__m512i; 2] {
    let at = if mirror { [32, 0] } else { [0, 32] };
    at.map(|at| {
        let bytes: &[u8; 64] = group[at..at + 64].try_into().expect("64 bytes");
        bytemuck::must_cast(*bytes)
    })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn to_f16(halves: [__m512; 2]) -> __m512i {
    const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
    let [low, high]: [__m256i; 2] = halves.map(|half| _mm512_cvtps_ph::<NEAREST>(half));
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// The upper 16 bits, to nearest, ties to even. The instruction for it makes zero of what is
/// subnormal.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn to_bf16(halves: [__m512; 2]) -> __m512i {
    const UPPER: [u16; 32] = {
        let mut upper = [0; 32];
        let mut i = 0;
        while i < 32 {
            upper[i] = 2 * i as u16 + 1;
            i += 1;
        }
        upper
    };
    let [low, high] = halves.map(|half| {
        let bits = _mm512_castps_si512(half);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd)
    });
    _mm512_permutex2var_epi16(low, bytemuck::must_cast(UPPER), high)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<const STREAM: bool>(line: &mut [u8; LINE_BYTES], values: __m512i) {
    if STREAM {
        let to: *mut __m512i = line.as_mut_ptr().cast();
        debug_assert!(to.is_aligned());
        // SAFETY: the 64 bytes are ours, and `Work::streams` saw that they are aligned.
        unsafe { _mm512_stream_si512(to, values) }
    } else {
        *line = bytemuck::must_cast(values);
    }
}
