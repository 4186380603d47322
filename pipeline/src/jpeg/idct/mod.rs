//! Dequantisation and the inverse DCT: coefficients to samples.
//!
//! The "slow integer" transform of Loeffler, Ligtenberg and Moschytz, as libjpeg does it: constants
//! of 13 bits, 2 fractional bits between the passes. Each pass is linear up to its rounding, so its
//! sums are taken in an order that suits multiply-and-add instructions, with libjpeg's products
//! gathered into one constant for each input and output; the results are the same.
//!
//! For coefficients that no encoder writes, these are the integers of every version here: products
//! with the quantisation step wrap to 16 bits, the first pass saturates to 16 bits, and no sum of
//! 16-bit values overflows 32 bits, since the constants of an output sum to less than 2^16.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use super::level::{Level, Set};

/// Fractional bits of the constants.
const CONST_BITS: u32 = 13;
/// Fractional bits between the passes.
const PASS1_BITS: u32 = 2;
/// By how much the sums of the first pass are shifted, and those of the second.
const SHIFTS: [u32; 2] = [CONST_BITS - PASS1_BITS, CONST_BITS + PASS1_BITS + 3];

/// `EVEN[i]`: what inputs 2 and 6 add to outputs `i` and `7 - i`, and take from `3 - i` and `4 + i`.
const EVEN: [[i16; 2]; 2] = {
    // 0.541196100, 0.765366865 and 1.847759065, times 2^13.
    let (z1, two, six) = (4433, 6270, -15137);
    [[z1 + two, z1], [z1, z1 + six]]
};

/// `ODD[i]`: what inputs 1, 3, 5 and 7 add to output `i`, and take from output `7 - i`.
const ODD: [[i16; 4]; 4] = {
    // 1.501321110, 3.072711026, 2.053119869 and 0.298631336, times 2^13.
    let (one, three, five, seven) = (12299, 25172, 16819, 2446);
    // libjpeg's z1 to z4, of inputs 7 and 1, 5 and 3, 7 and 3, 5 and 1; and z5, of all four:
    // -0.899976223, -2.562915447, -1.961570560, -0.390180644 and 1.175875602.
    let (z1, z2, z3, z4, z5) = (-7373, -20995, -16069, -3196, 9633);
    [
        [(one + z1 + z4 + z5) as i16, z5 as i16, (z4 + z5) as i16, (z1 + z5) as i16],
        [z5 as i16, (three + z2 + z3 + z5) as i16, (z2 + z5) as i16, (z3 + z5) as i16],
        [(z4 + z5) as i16, (z2 + z5) as i16, (five + z2 + z4 + z5) as i16, z5 as i16],
        [(z1 + z5) as i16, (z3 + z5) as i16, z5 as i16, (seven + z1 + z3 + z5) as i16],
    ]
};

/// Writes the samples of `blocks`, which stand side by side, to rows `stride` apart: block `i` to
/// `out[8 * i..]`. `steps` and the blocks are in the [`Order`](super::entropy::Order) of `level`.
///
/// # Panics
/// If `out` ends before the last row has room for an even number of blocks.
pub(super) fn blocks(
    level: Level, blocks: &[[i16; 64]], steps: &[i16; 64], out: &mut [u8], stride: usize,
) {
    let width = 8 * blocks.len().next_multiple_of(2);
    assert!(width <= stride && out.len() >= 7 * stride + width, "no room for {width} columns");
    match level.set() {
        Set::Baseline => {
            for (i, block) in blocks.iter().enumerate() {
                scalar::block(block, steps, &mut out[8 * i..], stride);
            }
        }
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => avx2::blocks(level, blocks, steps, out, stride),
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => avx512::blocks(level, blocks, steps, out, stride),
    }
}

#[cfg(test)]
mod tests;
