//! Random crops, mirrors and PCA lighting (sections 2 and 4.1), in one pass into a slot.
//!
//! Each value is one subtraction, one addition and one multiplication in single precision, rounded
//! each time, and then rounded to the slot's element, to the nearest, ties to even. The versions
//! for the instruction sets do the same in the same order, so their bytes are the same. Memory is
//! the limit: on a machine that fills memory at 24 GB/s, 25 us for the 602 KB of a 224 crop in single
//! precision. So the vector versions go past the caches where a place is aligned for it: a slot is
//! read by another core or by a device, much later.

mod plain;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use crate::{
    dataset::Statistics,
    level::{Level, Set},
    random::Draws,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Sets the draws of augmentation apart from others of the same seed.
const PURPOSE: u32 = 0x4155_474D; // "AUGM"
/// Standard deviation of the lighting's draws (section 4.1).
const LIGHTING_SIGMA: f64 = 0.1;
/// The noise adds variance; the 2012 source divides it out again (`convdata_jpeg.py`).
const RENORMALISE: f64 = 1.0 / (1.0 + LIGHTING_SIGMA);
/// Pixels of a row that the vector versions take at a time, in 96 bytes.
#[cfg(target_arch = "x86_64")]
const GROUP: usize = 32;
/// How far ahead pixels are fetched, rows: 16 rows are no faster, none costs a quarter.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 4;
/// Bytes that travel together.
const LINE_BYTES: usize = 64;

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
#[derive(Debug, Clone)]
pub struct Augment {
    stored: usize,
    crop: usize,
    element: Element,
    /// The mean image's centre window: the same for every crop, as in the source.
    mean: Arc<Mean>,
    /// `axes[i]`: what one standard draw adds along component `i`, as R, G, B.
    axes: [[f64; 3]; 3],
    scale: f64,
    level: Level,
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
        let mean = Arc::new(Mean::new(&statistics.mean, stored, crop));
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
        Self { stored, crop, element, mean, axes, scale, level: Level::widest() }
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

    /// The same for each instruction set that this CPU has, by name, the widest last: for tests and
    /// measurements.
    pub fn at_every_level(&self) -> Vec<(&'static str, Self)> {
        let levels = Level::all().into_iter();
        levels.map(|level| (level.name(), Self { level, ..self.clone() })).collect()
    }

    /// `out[c, v, u] = (image[y + v, x + u', c] - mean[c, v, u] + lighting[c]) scale`, `u'` mirrored
    /// if drawn. `image` is `[stored, stored, 3]`, `out` is `[3, crop, crop]` in the slot's element.
    /// It is written past the caches where it begins at a multiple of 64 bytes and its rows are
    /// multiples of 64 bytes long; then, too, other threads see it as after any other write.
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
        let work = self.work(image, width, x, y, draw);
        match self.level.set() {
            Set::Baseline => plain::write(&work, self.element, out),
            // A row is a group at least, for the last one is taken from its end.
            #[cfg(target_arch = "x86_64")]
            _ if self.crop < GROUP => plain::write(&work, self.element, out),
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => avx2::write(self.level, &work, self.element, out),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => avx512::write(self.level, &work, self.element, out),
        }
    }

    fn work<'a>(
        &'a self, image: &'a [u8], width: usize, x: usize, y: usize, draw: &Draw,
    ) -> Work<'a> {
        assert!(x + self.crop <= width, "a crop from column {x} on, of {width}");
        Work {
            pixels: &image[3 * (y * width + x)..],
            stride: 3 * width,
            crop: self.crop,
            mean: &self.mean,
            mirror: draw.mirror,
            light: draw.lighting,
            scale: draw.scale,
        }
    }
}

/// The centre of a mean image, `[3, crop, crop]`; it begins with a line.
#[derive(Debug)]
struct Mean {
    memory: Vec<f32>,
    first: usize,
    crop: usize,
}

impl Mean {
    /// Of an image `[3, stored, stored]`.
    fn new(image: &[f32], stored: usize, crop: usize) -> Self {
        let edge = (stored - crop) / 2;
        let line = LINE_BYTES / size_of::<f32>();
        let mut memory = Vec::<f32>::with_capacity(3 * crop * crop + line);
        let first = memory.as_ptr().align_offset(LINE_BYTES).min(line);
        memory.resize(first, 0.0);
        for plane in image.chunks_exact(stored * stored) {
            for row in plane.chunks_exact(stored).skip(edge).take(crop) {
                memory.extend_from_slice(&row[edge..edge + crop]);
            }
        }
        Self { memory, first, crop }
    }

    /// Row `v` of channel `c`.
    fn row(&self, v: usize, c: usize) -> &[f32] {
        &self.memory[self.first + (c * self.crop + v) * self.crop..][..self.crop]
    }
}

/// One crop to be written.
#[derive(Debug)]
struct Work<'a> {
    /// From the crop's first pixel on.
    pixels: &'a [u8],
    /// Bytes from a row of the picture to the next.
    stride: usize,
    crop: usize,
    mean: &'a Mean,
    mirror: bool,
    light: [f32; 3],
    scale: f32,
}

impl Work<'_> {
    /// The pixels of row `v`.
    fn row(&self, v: usize) -> &[u8] {
        &self.pixels[v * self.stride..][..3 * self.crop]
    }

    /// The pixels that are worked on some rows after row `v`.
    #[cfg(target_arch = "x86_64")]
    fn ahead(&self, v: usize) -> Option<&[u8]> {
        (v + AHEAD < self.crop).then(|| self.row(v + AHEAD))
    }

    /// Where the groups of a row begin. The last one ends with the row, so that it may take again
    /// what the one before has taken: the same values are written to the same places.
    #[cfg(target_arch = "x86_64")]
    fn groups(&self) -> impl Iterator<Item = usize> {
        let last = self.crop - GROUP;
        (0..self.crop).step_by(GROUP).map(move |first| first.min(last))
    }

    /// Whether all groups of a place begin and end with a line, as streaming stores need it.
    #[cfg(target_arch = "x86_64")]
    fn streams(&self, element: Element, out: &[u8]) -> bool {
        let row_bytes = self.crop * element.bytes();
        out.as_ptr().addr().is_multiple_of(LINE_BYTES) && row_bytes.is_multiple_of(LINE_BYTES)
    }
}

#[cfg(test)]
mod tests;
