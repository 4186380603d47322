//! Rows of components to rows of RGB pixels (JFIF, section 7; ITU-R BT.601).
//!
//! libjpeg's integers: constants of 16 bits, each sum rounded once. With `b` = Cb - 128 and `r` =
//! Cr - 128:
//!
//! ```text
//! R = Y + (91881 r + 2^15) >> 16
//! G = Y + (-22554 b - 46802 r + 2^15) >> 16
//! B = Y + (116130 b + 2^15) >> 16
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::level::{Level, Set};

// Whole parts of the constants are taken out, so that the rest fits 16 bits: what of Cr is in red,
// what of Cb and Cr in green, what of Cb in blue, times 2^16.
const RED: i16 = 26345; // 1.40200 - 1
const GREEN: [i16; 2] = [-22554, 18734]; // -0.34414, 1 - 0.71414
const BLUE: i16 = -14942; // 1.77200 - 2

/// `out[3 i..]` is the pixel of `y[i]`, `cb[i]` and `cr[i]`; `out` says how many.
pub(super) fn ycbcr(level: Level, [y, cb, cr]: [&[u8]; 3], out: &mut [u8]) {
    let pixels = out.len() / 3;
    let rows = [&y[..pixels], &cb[..pixels], &cr[..pixels]];
    match level.set() {
        Set::Baseline => scalar(rows, out),
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => avx2::ycbcr(level, rows, out),
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => avx512::ycbcr(level, rows, out),
    }
}

fn scalar([y, cb, cr]: [&[u8]; 3], out: &mut [u8]) {
    for (((out, y), cb), cr) in out.as_chunks_mut::<3>().0.iter_mut().zip(y).zip(cb).zip(cr) {
        let (y, b, r) = (i32::from(*y), i32::from(*cb) - 128, i32::from(*cr) - 128);
        let scaled = |constant: i16, x: i32| i32::from(constant) * x;
        let rounded = |sum: i32| (sum + (1 << 15)) >> 16;
        *out = [
            y + r + rounded(scaled(RED, r)),
            y - r + rounded(scaled(GREEN[0], b) + scaled(GREEN[1], r)),
            y + 2 * b + rounded(scaled(BLUE, b)),
        ]
        .map(|value| value.clamp(0, 255) as u8);
    }
}

/// The components are red, green and blue themselves.
pub(super) fn rgb([red, green, blue]: [&[u8]; 3], out: &mut [u8]) {
    for (((out, red), green), blue) in
        out.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue)
    {
        *out = [*red, *green, *blue];
    }
}

/// The one component is all three.
pub(super) fn grey(y: &[u8], out: &mut [u8]) {
    for (out, y) in out.as_chunks_mut::<3>().0.iter_mut().zip(y) {
        *out = [*y; 3];
    }
}

/// Inks from stored cyan, magenta and yellow, of which 255 is none; where they are stored as
/// luminance and chrominance, [`ycbcr`] gives the inks at once.
pub(super) fn cmy(stored: [&[u8]; 3], out: &mut [u8]) {
    rgb(stored, out);
    for value in out {
        *value = 255 - *value;
    }
}

/// Inks to colours, on stored black, as Pillow: each ink takes its share of what black leaves.
pub(super) fn print(black: &[u8], out: &mut [u8]) {
    for (out, black) in out.as_chunks_mut::<3>().0.iter_mut().zip(black) {
        *out = out.map(|ink| {
            let product = u32::from(*black) * u32::from(ink) + 128;
            *black - ((product + (product >> 8)) >> 8) as u8 // rounded, and at most `black`
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All 2^24 colours, by the formula above; and every length of a row's end.
    #[test]
    fn every_version_gives_the_formulas_integers() {
        let wanted = |y: i32, b: i32, r: i32| {
            [
                y + ((91881 * r + (1 << 15)) >> 16),
                y + ((-22554 * b - 46802 * r + (1 << 15)) >> 16),
                y + ((116130 * b + (1 << 15)) >> 16),
            ]
            .map(|value| value.clamp(0, 255) as u8)
        };
        for level in Level::all() {
            let y: Vec<u8> = (0..=255).collect();
            let mut out = vec![0; 3 * 256];
            for cb in 0..=255_u8 {
                for cr in 0..=255_u8 {
                    ycbcr(level, [&y, &[cb; 256], &[cr; 256]], &mut out);
                    let (b, r) = (i32::from(cb) - 128, i32::from(cr) - 128);
                    for (y, found) in (0..).zip(out.as_chunks::<3>().0) {
                        assert_eq!(*found, wanted(y, b, r), "{level:?} {y} {cb} {cr}");
                    }
                }
            }
            let ramp =
                |seed: u8| (0..200).map(|i: u8| i.wrapping_mul(seed)).collect::<Vec<_>>();
            let rows = [ramp(7), ramp(11), ramp(13)];
            let rows = rows.each_ref().map(Vec::as_slice);
            let mut whole = vec![0; 3 * 200];
            scalar(rows, &mut whole);
            for len in 0..200 {
                let mut out = vec![9; 3 * len];
                ycbcr(level, rows, &mut out);
                assert_eq!(out, whole[..3 * len], "{level:?}, {len} pixels");
            }
        }
    }
}
