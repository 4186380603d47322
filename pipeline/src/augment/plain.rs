//! For any CPU; the others are held against this one. Compilers make vectors of its loops.

use super::{Element, Work};
use half::slice::HalfFloatSliceExt as _;

/// Longest piece of a row that is converted at a time, pixels.
const PIECE: usize = 256;

pub(super) fn write(work: &Work<'_>, element: Element, out: &mut [u8]) {
    let crop = work.crop;
    for (i, out) in out.chunks_exact_mut(crop * element.bytes()).enumerate() {
        let (c, v) = (i / crop, i % crop);
        let line = Line {
            pixels: work.row(v),
            mean: work.mean.row(v, c),
            c,
            mirror: work.mirror,
            light: work.light[c],
            scale: work.scale,
        };
        match element {
            Element::F32 => line.write(out, |to, values| {
                to.copy_from_slice(bytemuck::cast_slice(values));
            }),
            Element::F16 => line.write(out, |to, values| {
                let mut halves = [half::f16::ZERO; PIECE];
                let halves = &mut halves[..values.len()];
                halves.convert_from_f32_slice(values);
                to.copy_from_slice(bytemuck::cast_slice(halves));
            }),
            Element::Bf16 => line.write(out, |to, values| {
                let mut halves = [half::bf16::ZERO; PIECE];
                let halves = &mut halves[..values.len()];
                halves.convert_from_f32_slice(values);
                to.copy_from_slice(bytemuck::cast_slice(halves));
            }),
        }
    }
}

/// One channel of one row of a crop.
struct Line<'a> {
    pixels: &'a [u8],
    mean: &'a [f32],
    c: usize,
    mirror: bool,
    light: f32,
    scale: f32,
}

impl Line<'_> {
    /// Writes the row, a piece at a time by `store`: `out` may begin anywhere.
    fn write(&self, out: &mut [u8], store: impl Fn(&mut [u8], &[f32])) {
        let mut piece = [0.0; PIECE];
        let bytes = out.len() / self.mean.len();
        for (i, out) in out.chunks_mut(PIECE * bytes).enumerate() {
            let piece = &mut piece[..out.len() / bytes];
            self.values(i * PIECE, piece);
            store(out, piece);
        }
    }

    /// The values from column `first` on.
    fn values(&self, first: usize, out: &mut [f32]) {
        let value = |pixel: u8, mean: f32| (f32::from(pixel) - mean + self.light) * self.scale;
        let mean = &self.mean[first..first + out.len()];
        if self.mirror {
            let end = self.mean.len() - first;
            let pixels = &self.pixels[3 * (end - out.len())..3 * end];
            let pixels = pixels.chunks_exact(3).rev();
            for ((out, pixel), mean) in out.iter_mut().zip(pixels).zip(mean) {
                *out = value(pixel[self.c], *mean);
            }
        } else {
            let pixels = self.pixels[3 * first..].chunks_exact(3);
            for ((out, pixel), mean) in out.iter_mut().zip(pixels).zip(mean) {
                *out = value(pixel[self.c], *mean);
            }
        }
    }
}
