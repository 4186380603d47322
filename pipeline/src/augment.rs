//! Random crops, mirrors and PCA lighting (sections 2 and 4.1), in one pass into a slot.

use crate::{dataset::Statistics, random::Draws};
use half::slice::HalfFloatSliceExt as _;
use serde::{Deserialize, Serialize};

/// Sets the draws of augmentation apart from others of the same seed.
const PURPOSE: u32 = 0x4155_474D; // "AUGM"
/// Standard deviation of the lighting's draws (section 4.1).
const LIGHTING_SIGMA: f64 = 0.1;
/// The noise adds variance; the 2012 source divides it out again (`convdata_jpeg.py`).
const RENORMALISE: f64 = 1.0 / (1.0 + LIGHTING_SIGMA);
/// Longest piece of a row that is converted at a time, pixels.
const PIECE: usize = 256;

/// What a slot is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    Bf16,
}

impl Element {
    /// Size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How far the colours of a picture move along their principal components `p_i`, for three normal
/// draws `z_i` a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lighting {
    /// The 2012 source: `0.1 z_i sqrt(eigenvalue_i) p_i`, then everything divided by 1.1.
    Stddev,
    /// Torch: `0.1 z_i eigenvalue_i p_i` of pixels scaled to 0..1; nothing is divided.
    Eigenvalue01,
    /// None, and nothing is divided.
    Off,
}

/// What chance decided for one picture, once per epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// Left edge of the crop.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Mirror left to right.
    pub mirror: bool,
    /// Added to every pixel's R, G and B, grey levels.
    pub lighting: [f32; 3],
    /// Everything is multiplied by this.
    pub scale: f32,
}

/// Crops of one size for one data set.
#[derive(Debug)]
pub struct Augment {
    stored: usize,
    crop: usize,
    element: Element,
    /// The mean image's centre window, `[3, crop, crop]`: the same for every crop, as in the source.
    mean: Vec<f32>,
    /// `axes[i]`: what one standard draw adds along component `i`, as R, G, B.
    axes: [[f64; 3]; 3],
    scale: f64,
}

impl Augment {
    /// Crops of side `crop` from pictures of side `stored`.
    ///
    /// # Panics
    /// If the crop is larger than the picture, or the mean image has another size.
    pub fn new(
        stored: usize, crop: usize, element: Element, lighting: Lighting,
        statistics: &Statistics,
    ) -> Self {
        assert!(crop <= stored, "crops of {crop} from pictures of {stored}");
        assert_eq!(statistics.mean.len(), 3 * stored * stored, "a mean image of another size");
        let edge = (stored - crop) / 2;
        let mut mean = Vec::with_capacity(3 * crop * crop);
        for plane in statistics.mean.chunks_exact(stored * stored) {
            for row in plane.chunks_exact(stored).skip(edge).take(crop) {
                mean.extend_from_slice(&row[edge..edge + crop]);
            }
        }
        let length = |eigenvalue: f64| match lighting {
            Lighting::Stddev => LIGHTING_SIGMA * eigenvalue.sqrt(),
            // Eigenvalues are squared: 255^2 to pixels of 0..1, then 255 back to grey levels.
            Lighting::Eigenvalue01 => LIGHTING_SIGMA * eigenvalue / 255.0,
            Lighting::Off => 0.0,
        };
        let axes = std::array::from_fn(|i| {
            statistics.eigenvectors[i].map(|x| x * length(statistics.eigenvalues[i]))
        });
        let scale = if lighting == Lighting::Stddev { RENORMALISE } else { 1.0 };
        Self { stored, crop, element, mean, axes, scale }
    }

    /// Bytes of one augmented picture.
    pub fn sample_bytes(&self) -> usize {
        3 * self.crop * self.crop * self.element.bytes()
    }

    /// What chance decides for `sample` in `epoch`: a function of these and the seed alone.
    pub fn draw(&self, seed: u64, epoch: u64, sample: u64) -> Draw {
        let mut draws = Draws::new(seed, PURPOSE, epoch, sample);
        let places = (self.stored - self.crop + 1) as u32;
        let (x, y) = (draws.below(places) as usize, draws.below(places) as usize);
        let mirror = draws.below(2) == 1;
        let mut lighting = [0.0; 3];
        for axis in self.axes {
            let z = draws.normal();
            lighting.iter_mut().zip(axis).for_each(|(sum, along)| *sum += z * along);
        }
        let lighting = lighting.map(|x: f64| x as f32);
        Draw { x, y, mirror, lighting, scale: self.scale as f32 }
    }

    /// The crop of a test: the centre, neither mirrored nor lit nor divided.
    pub fn centre(&self) -> Draw {
        let edge = (self.stored - self.crop) / 2;
        Draw { x: edge, y: edge, mirror: false, lighting: [0.0; 3], scale: 1.0 }
    }

    /// `out[c, v, u] = (image[y + v, x + u', c] - mean[c, v, u] + lighting[c]) scale`, `u'` mirrored
    /// if drawn. `image` is `[stored, stored, 3]`, `out` is `[3, crop, crop]` in the slot's element.
    ///
    /// # Panics
    /// If a length is wrong or the crop leaves the picture.
    pub fn crop(&self, out: &mut [u8], image: &[u8], draw: &Draw) {
        assert_eq!(image.len(), self.stored * self.stored * 3, "a picture of another size");
        self.window(out, image, self.stored, draw.x, draw.y, draw);
    }

    /// The same of what has been cropped already: `image` is `[crop, crop, 3]`, the picture from
    /// `draw.x` and `draw.y` on.
    ///
    /// # Panics
    /// If a length is wrong.
    pub fn cropped(&self, out: &mut [u8], image: &[u8], draw: &Draw) {
        assert_eq!(image.len(), self.crop * self.crop * 3, "a crop of another size");
        self.window(out, image, self.crop, 0, 0, draw);
    }

    /// The crop at `(x, y)` of an image with rows of `width` pixels.
    fn window(
        &self, out: &mut [u8], image: &[u8], width: usize, x: usize, y: usize, draw: &Draw,
    ) {
        assert_eq!(out.len(), self.sample_bytes(), "a place of another size");
        let (crop, bytes) = (self.crop, self.element.bytes());
        let rows = self.mean.chunks_exact(crop).zip(out.chunks_exact_mut(crop * bytes));
        for (i, (mean, out)) in rows.enumerate() {
            let (c, v) = (i / crop, i % crop);
            let start = 3 * ((y + v) * width + x);
            let line = Line {
                pixels: &image[start..start + 3 * crop],
                mean,
                c,
                mirror: draw.mirror,
                light: draw.lighting[c],
                scale: draw.scale,
            };
            match self.element {
                Element::F32 => line.write(0, bytemuck::cast_slice_mut(out)),
                Element::F16 => line.write_half::<half::f16>(bytemuck::cast_slice_mut(out)),
                Element::Bf16 => line.write_half::<half::bf16>(bytemuck::cast_slice_mut(out)),
            }
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
    /// Writes from column `first` on.
    fn write(&self, first: usize, out: &mut [f32]) {
        let value = |pixel: u8, mean: f32| (f32::from(pixel) - mean + self.light) * self.scale;
        let mean = &self.mean[first..first + out.len()];
        let columns = self.pixels.len() / 3;
        if self.mirror {
            let pixels = &self.pixels[3 * (columns - first - out.len())..3 * (columns - first)];
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

    fn write_half<H>(&self, out: &mut [H])
    where
        [H]: half::slice::HalfFloatSliceExt,
    {
        let mut piece = [0.0; PIECE];
        for (i, out) in out.chunks_mut(PIECE).enumerate() {
            let piece = &mut piece[..out.len()];
            self.write(i * PIECE, piece);
            out.convert_from_f32_slice(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(stored: usize) -> Statistics {
        Statistics {
            images: 1,
            mean: (0..3 * stored * stored).map(|i| 100.0 + (i % 97) as f32 / 3.0).collect(),
            covariance: [[0.0; 3]; 3],
            eigenvalues: [14_000.0, 1_300.0, 300.0],
            eigenvectors: [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]],
        }
    }

    /// Pixels tell their own place.
    fn image(stored: usize) -> Vec<u8> {
        (0..stored * stored * 3).map(|i| (i * 31 % 251) as u8).collect()
    }

    #[test]
    fn every_value_is_as_the_formula_says_in_double_precision() {
        let (stored, crop) = (300, 270); // longer than a piece
        let (statistics, image) = (statistics(stored), image(stored));
        for element in [Element::F32, Element::F16, Element::Bf16] {
            let augment = Augment::new(stored, crop, element, Lighting::Stddev, &statistics);
            let mut bytes = vec![0_u8; augment.sample_bytes() + 4];
            let aligned = bytes.as_ptr().align_offset(4);
            let out = &mut bytes[aligned..aligned + augment.sample_bytes()];
            let mut mirrored = [false; 2];
            for sample in 0..6 {
                let draw = augment.draw(3, 1, sample);
                mirrored[usize::from(draw.mirror)] = true;
                augment.crop(out, &image, &draw);
                for i in (0..3 * crop * crop).step_by(137) {
                    let (c, v, u) = (i / crop / crop, i / crop % crop, i % crop);
                    let column = if draw.mirror { crop - 1 - u } else { u };
                    let pixel = image[3 * ((draw.y + v) * stored + draw.x + column) + c];
                    let mean = statistics.mean[(c * stored + 15 + v) * stored + 15 + u];
                    let wanted = (f64::from(pixel) - f64::from(mean)
                        + f64::from(draw.lighting[c]))
                        / 1.1;
                    let (found, tolerance) = match element {
                        Element::F32 => (bytemuck::cast_slice::<_, f32>(out)[i], 1e-6),
                        Element::F16 => {
                            (bytemuck::cast_slice::<_, half::f16>(out)[i].to_f32(), 6e-4)
                        }
                        Element::Bf16 => {
                            (bytemuck::cast_slice::<_, half::bf16>(out)[i].to_f32(), 5e-3)
                        }
                    };
                    // A grey level's rounding on top: 100 - 100 has no relative precision.
                    let error = (f64::from(found) - wanted).abs();
                    assert!(error <= tolerance * wanted.abs() + 1e-4, "{found} for {wanted}");
                }
            }
            assert_eq!(mirrored, [true; 2]);
        }
    }

    #[test]
    fn lighting_moves_colours_by_standard_deviations_along_the_eigenvectors() {
        let (statistics, n) = (statistics(16), 20_000);
        let variance = |lighting: Lighting| {
            let augment = Augment::new(16, 8, Element::F32, lighting, &statistics);
            let squares = (0..n).map(|i| {
                let light = augment.draw(1, 0, i).lighting.map(f64::from);
                let along = |p: [f64; 3]| p.iter().zip(light).map(|(p, x)| p * x).sum::<f64>();
                statistics.eigenvectors.map(|p| along(p).powi(2))
            });
            let sum = squares
                .fold([0.0; 3], |sum, square| std::array::from_fn(|i| sum[i] + square[i]));
            sum.map(|sum: f64| sum / n as f64)
        };
        for (found, wanted) in variance(Lighting::Stddev).into_iter().zip([140.0, 13.0, 3.0]) {
            assert!((found / wanted - 1.0).abs() < 0.05, "{found} for {wanted}");
        }
        let torch = (0.1 * 14_000.0 / 255.0_f64).powi(2);
        assert!((variance(Lighting::Eigenvalue01)[0] / torch - 1.0).abs() < 0.05);
        assert_eq!(variance(Lighting::Off), [0.0; 3]);
    }

    #[test]
    fn draws_reach_every_corner_and_depend_on_seed_epoch_and_sample() {
        let augment = Augment::new(12, 8, Element::F32, Lighting::Off, &statistics(12));
        let mut seen = [[0; 5]; 5];
        (0..2500).for_each(|i| {
            let draw = augment.draw(1, 2, i);
            seen[draw.y][draw.x] += 1;
        });
        assert!(seen.iter().flatten().all(|n| (50..160).contains(n)), "{seen:?}");
        let augment = Augment::new(12, 8, Element::F32, Lighting::Stddev, &statistics(12));
        let first = augment.draw(1, 2, 3);
        assert_eq!(first, augment.draw(1, 2, 3));
        assert!(
            ![(2, 2, 3), (1, 3, 3), (1, 2, 4)]
                .map(|(s, e, i)| augment.draw(s, e, i))
                .contains(&first)
        );
    }
}
