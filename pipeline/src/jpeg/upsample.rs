//! Samples of chrominance to one for each pixel, by libjpeg's "fancy" triangles: a pixel is 3/4 of
//! the nearer sample and 1/4 of the farther one, in each direction.
//!
//! A row comes with one sample before and one after; at an edge of the picture that is the edge's
//! own sample, which gives what libjpeg's rules for edges give.

use super::level::{Level, Set};

/// How a row is made. The lengths of `near` and `far` are the samples plus two.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind<'a> {
    /// Each sample this many times.
    Repeat(usize),
    /// Twice as many columns.
    Columns,
    /// From two rows; the first bias is for pixels above the nearer row's middle.
    Rows { far: &'a [u8], bias: u16 },
    /// From two rows, twice as many columns.
    Both { far: &'a [u8] },
}

/// Fills `out`, which may end before the last sample's last pixel.
pub(super) fn row(level: Level, kind: Kind<'_>, near: &[u8], out: &mut Vec<u8>) {
    match level.set() {
        Set::Baseline => body(kind, near, out),
        // SAFETY: the level has the feature, and is proof of it.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { avx2(kind, near, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe { avx512(kind, near, out) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(kind: Kind<'_>, near: &[u8], out: &mut Vec<u8>) {
    body(kind, near, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
fn avx512(kind: Kind<'_>, near: &[u8], out: &mut Vec<u8>) {
    body(kind, near, out);
}

/// Plain loops: compilers make vectors of them.
#[inline(always)]
fn body(kind: Kind<'_>, near: &[u8], out: &mut Vec<u8>) {
    let samples = near.len() - 2;
    let pixels = match kind {
        Kind::Repeat(times) => samples * times,
        Kind::Columns | Kind::Both { .. } => 2 * samples,
        Kind::Rows { .. } => samples,
    };
    if out.len() < pixels {
        out.resize(pixels, 0);
    }
    let out = &mut out[..pixels];
    match kind {
        Kind::Repeat(times) => {
            for (out, sample) in out.chunks_exact_mut(times).zip(&near[1..]) {
                out.fill(*sample);
            }
        }
        Kind::Columns => {
            let value = |i: usize| u16::from(near[i]);
            for (i, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let here = 3 * value(i + 1);
                *out = [
                    ((here + value(i) + 1) >> 2) as u8,
                    ((here + value(i + 2) + 2) >> 2) as u8,
                ];
            }
        }
        Kind::Rows { far, bias } => {
            for ((out, near), far) in out.iter_mut().zip(&near[1..]).zip(&far[1..]) {
                *out = ((3 * u16::from(*near) + u16::from(*far) + bias) >> 2) as u8;
            }
        }
        Kind::Both { far } => {
            let far = &far[..near.len()];
            let sum = |i: usize| 3 * u16::from(near[i]) + u16::from(far[i]);
            for (i, out) in out.as_chunks_mut::<2>().0.iter_mut().enumerate() {
                let here = 3 * sum(i + 1);
                *out = [((here + sum(i) + 8) >> 4) as u8, ((here + sum(i + 2) + 7) >> 4) as u8];
            }
        }
    }
}
