//! Two blocks at a time, 32-bit sums of both in one register. The blocks come as coded: the
//! permutation that sorts them also pairs them for multiplication, so nothing is interleaved later.

use super::{CONST_BITS, EVEN, Level, ODD, SHIFTS, Set};
use crate::jpeg::entropy::ZIGZAG;
use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_dpwssd_epi32, _mm512_extracti32x4_epi32,
    _mm512_mullo_epi16, _mm512_packs_epi16, _mm512_packs_epi32, _mm512_permutex2var_epi8,
    _mm512_permutex2var_epi16, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_setzero_si512,
    _mm512_shuffle_i64x2, _mm512_srai_epi32, _mm512_sub_epi32, _mm512_xor_si512,
};

pub(super) fn blocks(
    level: Level, blocks: &[[i16; 64]], steps: &[i16; 64], out: &mut [u8], stride: usize,
) {
    assert_eq!(level.set(), Set::Avx512, "the widest");
    // SAFETY: the level has the features, and is proof of them.
    unsafe { pairs(blocks, steps, out, stride) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi,avx512vnni")]
fn pairs(blocks: &[[i16; 64]], steps: &[i16; 64], out: &mut [u8], stride: usize) {
    let steps = halves(steps);
    for (i, pair) in blocks.chunks(2).enumerate() {
        let first = sorted(&pair[0], steps);
        let second = sorted(pair.get(1).unwrap_or(&[0; 64]), steps);
        let rows = pass::<{ SHIFTS[0] }>(joined(first, second));
        let columns = pass::<{ SHIFTS[1] }>(turned(&rows));
        for (half, samples) in samples(&columns).into_iter().enumerate() {
            let lanes: [[u8; 16]; 4] = [
                bytemuck::must_cast(_mm512_extracti32x4_epi32::<0>(samples)),
                bytemuck::must_cast(_mm512_extracti32x4_epi32::<1>(samples)),
                bytemuck::must_cast(_mm512_extracti32x4_epi32::<2>(samples)),
                bytemuck::must_cast(_mm512_extracti32x4_epi32::<3>(samples)),
            ];
            for (y, lane) in lanes.iter().enumerate() {
                let at = (4 * half + y) * stride + 16 * i;
                out[at..at + 16].copy_from_slice(lane);
            }
        }
    }
}

/// Inputs of a pass: 0 and 4 in alternation, 2 and 6, 1 and 3, 5 and 7, for 16 columns.
type Pairs = [__m512i; 4];
/// Outputs of a pass, 0 to 7, for 16 columns.
type Sums = [__m512i; 8];

/// `PAIRED[i]`: which two inputs stand in `Pairs[i]`.
const PAIRED: [[usize; 2]; 4] = [[0, 4], [2, 6], [1, 3], [5, 7]];

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(values: &[i16; 64]) -> [__m512i; 2] {
    let halves: [[i16; 32]; 2] = bytemuck::must_cast(*values);
    halves.map(bytemuck::must_cast)
}

/// A block's coefficients times their steps: `Pairs[0]` and `[1]` of its 8 columns, `[2]` and `[3]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn sorted(block: &[i16; 64], steps: [__m512i; 2]) -> [__m512i; 2] {
    /// `[half][i]`: which coefficient of the zigzag is word `i`.
    const FROM: [[u16; 32]; 2] = {
        let mut coded = [0; 64];
        let mut k = 0;
        while k < 64 {
            coded[ZIGZAG[k] as usize] = k as u16;
            k += 1;
        }
        let mut from = [[0; 32]; 2];
        let mut i = 0;
        while i < 64 {
            let (column, row) = (i % 16 / 2, PAIRED[i / 16][i % 2]);
            from[i / 32][i % 32] = coded[8 * row + column];
            i += 1;
        }
        from
    };
    let block = halves(block);
    let low = _mm512_mullo_epi16(block[0], steps[0]);
    let high = _mm512_mullo_epi16(block[1], steps[1]);
    FROM.map(|from| _mm512_permutex2var_epi16(low, bytemuck::must_cast(from), high))
}

/// The lower and upper halves of both blocks' registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn joined(first: [__m512i; 2], second: [__m512i; 2]) -> Pairs {
    [
        _mm512_shuffle_i64x2::<0x44>(first[0], second[0]),
        _mm512_shuffle_i64x2::<0xEE>(first[0], second[0]),
        _mm512_shuffle_i64x2::<0x44>(first[1], second[1]),
        _mm512_shuffle_i64x2::<0xEE>(first[1], second[1]),
    ]
}

/// Pairs of 16-bit constants for `_mm512_dpwssd_epi32`.
#[inline]
#[target_feature(enable = "avx512f")]
fn constants(pair: [i16; 2]) -> __m512i {
    _mm512_set1_epi32(bytemuck::must_cast(pair))
}

/// One dimension of 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn pass<const SHIFT: u32>([x04, x26, x13, x57]: Pairs) -> Sums {
    const ONE: i16 = 1 << CONST_BITS;
    let rounding = _mm512_set1_epi32(1 << (SHIFT - 1));
    let base = [[ONE, ONE], [ONE, -ONE]]
        .map(|signs| _mm512_dpwssd_epi32(rounding, x04, constants(signs)));
    let even: [__m512i; 4] = std::array::from_fn(|i| {
        let pair = EVEN[i.min(3 - i)];
        let pair = if i < 2 { pair } else { pair.map(|x| -x) };
        _mm512_dpwssd_epi32(base[i.min(3 - i)], x26, constants(pair))
    });
    let odd = ODD.map(|[one, three, five, seven]| {
        let zero = _mm512_setzero_si512();
        let upper = _mm512_dpwssd_epi32(zero, x13, constants([one, three]));
        _mm512_dpwssd_epi32(upper, x57, constants([five, seven]))
    });
    std::array::from_fn(|i| {
        let sum = if i < 4 {
            _mm512_add_epi32(even[i], odd[i])
        } else {
            _mm512_sub_epi32(even[7 - i], odd[7 - i])
        };
        _mm512_srai_epi32::<SHIFT>(sum)
    })
}

/// Saturates to 16 bits. A register has two outputs: four columns of each in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn saturated(sums: &Sums) -> [__m512i; 4] {
    std::array::from_fn(|i| _mm512_packs_epi32(sums[2 * i], sums[2 * i + 1]))
}

/// Rows to columns, for the second pass: its 16 columns are rows 0 to 3 of the first block and of
/// the second, then rows 4 to 7 of both.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn turned(rows: &Sums) -> Pairs {
    /// `[half][i]`: which word of two saturated registers, that is of four rows, is word `i`.
    const FROM: [[u16; 32]; 2] = {
        let mut from = [[0; 32]; 2];
        let mut i = 0;
        while i < 64 {
            let (block, row) = (i % 16 / 8, i % 8 / 2);
            let column = PAIRED[i / 16][i % 2];
            let lane = 2 * block + column / 4;
            let word = 8 * lane + row % 2 * 4 + column % 4;
            from[i / 32][i % 32] = (row / 2 * 32 + word) as u16;
            i += 1;
        }
        from
    };
    let rows = saturated(rows);
    let upper =
        FROM.map(|from| _mm512_permutex2var_epi16(rows[0], bytemuck::must_cast(from), rows[1]));
    let lower =
        FROM.map(|from| _mm512_permutex2var_epi16(rows[2], bytemuck::must_cast(from), rows[3]));
    joined([upper[0], upper[1]], [lower[0], lower[1]])
}

/// The second pass's columns to rows 0 to 3 of both blocks side by side, and rows 4 to 7.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn samples(columns: &Sums) -> [__m512i; 2] {
    /// `[half][i]`: which byte of columns 0 to 3 and 4 to 7 is byte `i`.
    const FROM: [[u8; 64]; 2] = {
        let mut from = [[0; 64]; 2];
        let mut i = 0;
        while i < 128 {
            let (row, block, column) = (i / 16, i % 16 / 8, i % 8);
            let lane = row / 4 * 2 + block;
            from[i / 64][i % 64] =
                (column / 4 * 64 + 16 * lane + column % 4 * 4 + row % 4) as u8;
            i += 1;
        }
        from
    };
    let words = saturated(columns);
    let bias = _mm512_set1_epi8(-128); // its exclusive or adds 128
    let low = _mm512_xor_si512(_mm512_packs_epi16(words[0], words[1]), bias);
    let high = _mm512_xor_si512(_mm512_packs_epi16(words[2], words[3]), bias);
    FROM.map(|from| _mm512_permutex2var_epi8(low, bytemuck::must_cast(from), high))
}
