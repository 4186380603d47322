//! RGB of any size to the stored square: the shorter side to `size`, the centre of the longer
//! (section 2), with an antialiased bilinear filter as Pillow's.

use crate::{
    dataset::Encoding,
    decode::{DecodeError, Decoder, Image, Placed},
    jpeg::Region,
    orientation::Orientation,
    source::Encoded,
};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions,
    images::{ImageRef, TypedImage},
    pixels::U8x3,
};
use std::ops::Range;

/// How pictures are rescaled, for `dataset.json`.
pub const FILTER: &str = "shorter side, antialiased bilinear, centre square";

/// The same of pictures that were turned by their EXIF orientation before.
pub const FILTER_UPRIGHT: &str =
    "upright by EXIF, shorter side, antialiased bilinear, centre square";

/// A picture longer than this many times its breadth is a line, and would take much memory.
const ASPECT_MAX: usize = 64;
/// Reach of the bilinear filter, in pixels of the smaller picture.
const REACH: f64 = 1.0;

/// A square part of the stored square, in its pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Left edge.
    pub x: usize,
    /// Top edge.
    pub y: usize,
    /// Pixels of a side.
    pub side: usize,
}

/// A picture rescaled, and the stored square in it.
struct Scaled {
    width: usize,
    height: usize,
    left: usize,
    top: usize,
}

impl Scaled {
    /// The shorter side becomes `size`; the longer keeps the aspect, rounded down as torchvision
    /// does.
    fn new(width: usize, height: usize, size: usize) -> Result<Self, DecodeError> {
        let cannot = |reason: String| Err(DecodeError::Resize { width, height, reason });
        if width == 0 || height == 0 || size == 0 {
            return cannot("there are no pixels".into());
        }
        let (w, h) = if width < height {
            (size, (size * height / width).max(size))
        } else {
            ((size * width / height).max(size), size)
        };
        if w.max(h) > size * ASPECT_MAX {
            return cannot(format!("one side is more than {ASPECT_MAX} times the other"));
        }
        Ok(Self { width: w, height: h, left: (w - size) / 2, top: (h - size) / 2 })
    }
}

/// Where a window begins and ends along one side of a picture of `len` pixels, which is rescaled to
/// `scaled`; and the pixels that its filter reaches.
fn span(len: usize, scaled: usize, start: usize, side: usize) -> (f64, f64, Range<usize>) {
    let scale = len as f64 / scaled as f64;
    let (first, last) = (start as f64 * scale, (start + side) as f64 * scale);
    if len == scaled {
        return (first, last, start..start + side);
    }
    let reach = REACH * scale.max(1.0) - scale / 2.0; // from the middle of an outer pixel
    let reached = (first - reach).floor().max(0.0)..(last + reach).ceil().min(len as f64);
    (first, last, reached.start as usize..reached.end as usize)
}

/// The region of a picture that a window of its stored square is made of.
///
/// # Errors
/// If the picture cannot be rescaled to a square.
pub fn region(
    width: usize, height: usize, size: usize, window: Window,
) -> Result<Region, DecodeError> {
    let scaled = Scaled::new(width, height, size)?;
    let (.., x) = span(width, scaled.width, scaled.left + window.x, window.side);
    let (.., y) = span(height, scaled.height, scaled.top + window.y, window.side);
    Ok(Region { x: x.start, y: y.start, width: x.len(), height: y.len() })
}

/// Rescales one picture at a time; keeps its buffers.
#[derive(Debug, Default)]
pub struct Resizer {
    inner: fast_image_resize::Resizer,
    rescaled: Vec<u8>,
}

impl Resizer {
    /// A resizer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `[size, size, 3]` to `out`.
    ///
    /// # Errors
    /// If the picture has no pixels, or its sides are too unlike to be rescaled.
    pub fn square(
        &mut self, image: &Image, size: usize, out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let Scaled { width: w, height: h, left, top } =
            Scaled::new(image.width, image.height, size)?;
        out.resize(size * size * 3, 0);
        if (w, h) == (image.width, image.height) {
            centre(&image.rgb, w, left, top, size, out);
            return Ok(());
        }
        self.rescaled.resize(w * h * 3, 0);
        rescale(&mut self.inner, image, None, &mut self.rescaled, w, h)?;
        centre(&self.rescaled, w, left, top, size, out);
        Ok(())
    }

    /// Writes a window of the stored square to `out`, `[side, side, 3]`, without making the square.
    /// `image` is a part of a picture that has at least the window's [`region`].
    ///
    /// The same weights are given to the same pixels as by [`square`](Self::square); but these are
    /// fixed-point numbers, with as many bits as the largest of a picture's leaves, which may be
    /// one at its edge, outside of the window. Where that makes a difference, each of the two passes
    /// may round a value to its other neighbour, so that a value differs by 2 levels at most.
    ///
    /// # Errors
    /// If the picture's sides are too unlike to be rescaled, or the part does not have the region.
    pub fn window(
        &mut self, image: &Image, placed: &Placed, size: usize, window: Window,
        out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let Placed { width, height, region } = *placed;
        let Window { x, y, side } = window;
        let scaled = Scaled::new(width, height, size)?;
        let across = span(width, scaled.width, scaled.left + x, side);
        let down = span(height, scaled.height, scaled.top + y, side);
        let has = |start: usize, len: usize, reached: &Range<usize>| {
            start <= reached.start && reached.end <= start + len
        };
        if !has(region.x, region.width, &across.2) || !has(region.y, region.height, &down.2) {
            let reason = format!("{region:?} has not all pixels of {window:?} of {size}");
            return Err(DecodeError::Resize { width, height, reason });
        }
        out.resize(side * side * 3, 0);
        if (scaled.width, scaled.height) == (width, height) {
            let (left, top) = (across.2.start - region.x, down.2.start - region.y);
            centre(&image.rgb, image.width, left, top, side, out);
            return Ok(());
        }
        let part = |first: f64, last: f64, start: usize, len: usize| {
            let first = (first - start as f64).max(0.0);
            (first, (last - start as f64).min(len as f64) - first)
        };
        let (left, columns) = part(across.0, across.1, region.x, region.width);
        let (top, rows) = part(down.0, down.1, region.y, region.height);
        rescale(&mut self.inner, image, Some([left, top, columns, rows]), out, side, side)
    }
}

/// Rescales a picture, or the box (left, top, width, height) of it, to `w x h` pixels.
fn rescale(
    resizer: &mut fast_image_resize::Resizer, image: &Image, part: Option<[f64; 4]>,
    out: &mut [u8], w: usize, h: usize,
) -> Result<(), DecodeError> {
    let Image { width, height, ref rgb } = *image;
    let cannot = |reason: String| DecodeError::Resize { width, height, reason };
    let from = ImageRef::new(width as u32, height as u32, rgb, PixelType::U8x3)
        .map_err(|e| cannot(e.to_string()))?;
    let mut to = TypedImage::<U8x3>::from_buffer(w as u32, h as u32, out)
        .map_err(|e| cannot(e.to_string()))?;
    let mut options =
        ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    if let Some([left, top, width, height]) = part {
        options = options.crop(left, top, width, height);
    }
    let from = from.typed_image::<U8x3>().ok_or_else(|| cannot("not RGB".into()))?;
    resizer.resize_typed(&from, &mut to, &options).map_err(|e| cannot(e.to_string()))
}

fn centre(rgb: &[u8], width: usize, left: usize, top: usize, size: usize, out: &mut [u8]) {
    for (row, out) in out.chunks_exact_mut(size * 3).enumerate() {
        let start = 3 * ((top + row) * width + left);
        out.copy_from_slice(&rgb[start..start + size * 3]);
    }
}

/// The bytes of a sample, of any encoding, to the stored square; keeps its buffers.
#[derive(Debug, Default)]
pub struct Stored {
    decoder: Decoder,
    resizer: Resizer,
    image: Image,
    /// Turns pictures by their EXIF orientation, by way of a buffer.
    upright: Option<Vec<u8>>,
    /// The part of a picture that `image` is, where it was decoded for a window.
    part: Option<(Placed, usize, Window)>,
}

impl Stored {
    /// With empty buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, for pictures that are to be turned by their EXIF orientation; whole ones only.
    pub fn upright() -> Self {
        Self { upright: Some(vec![]), ..Self::default() }
    }

    /// Writes `[size, size, 3]` to `out`.
    ///
    /// # Errors
    /// If the bytes are no picture, or no raw picture of this size.
    pub fn square(
        &mut self, encoded: Encoded<'_>, size: usize, out: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        if encoded.encoding == Encoding::Raw {
            return raw(encoded.bytes, size, out);
        }
        self.decode(encoded)?;
        self.resize(size, out)
    }

    /// The first half of [`Stored::square`], for encodings other than raw.
    ///
    /// # Errors
    /// If the bytes are no picture.
    pub fn decode(&mut self, encoded: Encoded<'_>) -> Result<(), DecodeError> {
        self.part = None;
        self.decoder.decode(encoded.bytes, &mut self.image)?;
        if let Some(scratch) = &mut self.upright {
            Orientation::of(encoded.bytes).apply(&mut self.image, scratch);
        }
        Ok(())
    }

    /// The first half of making a window of the stored square, for encodings other than raw:
    /// decodes what the window needs.
    ///
    /// # Errors
    /// If the bytes are no picture, or it cannot be rescaled.
    pub fn decode_window(
        &mut self, encoded: Encoded<'_>, size: usize, window: Window,
    ) -> Result<(), DecodeError> {
        self.part = None;
        let choose = |width, height| region(width, height, size, window);
        let placed = self.decoder.decode_part(encoded.bytes, choose, &mut self.image)?;
        self.part = Some((placed, size, window));
        Ok(())
    }

    /// The second half, of what was decoded last: `[size, size, 3]`, or the window,
    /// `[side, side, 3]`.
    ///
    /// # Errors
    /// If it cannot be rescaled.
    pub fn resize(&mut self, size: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        match &self.part {
            None => self.resizer.square(&self.image, size, out),
            Some((placed, of_size, window)) => {
                assert_eq!(*of_size, size, "decoded for another size");
                self.resizer.window(&self.image, placed, size, *window, out)
            }
        }
    }
}

/// A raw record is the stored square itself.
///
/// # Errors
/// If it has another length.
pub fn raw(bytes: &[u8], size: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let expected = size * size * 3;
    if bytes.len() != expected {
        return Err(DecodeError::WrongLength { found: bytes.len(), expected });
    }
    out.clear();
    out.extend_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(width: usize, height: usize) -> Image {
        let at = |x: usize, y: usize| {
            [(x * 7 % 256) as u8, (y * 5 % 256) as u8, ((x * y) % 251) as u8]
        };
        let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| at(x, y))).collect();
        Image { width, height, rgb }
    }

    #[test]
    fn the_centre_of_a_picture_of_the_right_height_is_copied() {
        let (image, mut out) = (gradient(21, 8), vec![]);
        Resizer::new().square(&image, 8, &mut out).expect("pixels");
        for (i, pixel) in out.chunks_exact(3).enumerate() {
            let at = 3 * (i / 8 * 21 + (21 - 8) / 2 + i % 8);
            assert_eq!(pixel, &image.rgb[at..at + 3]);
        }
    }

    /// Every third window of a picture's square, from the whole picture and from the region alone.
    #[test]
    fn a_window_is_cut_from_the_square_within_two_levels() {
        let (mut resizer, mut square, mut out) = (Resizer::new(), vec![], vec![]);
        let (size, side) = (32, 20);
        let (mut values, mut off) = (0, 0);
        for (width, height) in [(57, 43), (43, 57), (32, 40), (33, 32), (200, 150), (20, 25)] {
            let image = gradient(width, height);
            resizer.square(&image, size, &mut square).expect("pixels");
            for (x, y) in (0..13 * 13).step_by(3).map(|i| (i % 13, i / 13)) {
                let window = Window { x, y, side };
                let region = region(width, height, size, window).expect("a square");
                let rows = image.rgb.chunks_exact(3 * width).skip(region.y).take(region.height);
                let part = Image {
                    width: region.width,
                    height: region.height,
                    rgb: rows
                        .flat_map(|row| &row[3 * region.x..][..3 * region.width])
                        .copied()
                        .collect(),
                };
                let placed = Placed { width, height, region };
                resizer.window(&part, &placed, size, window, &mut out).expect("pixels");
                let rows = square.chunks_exact(3 * size).skip(y).take(side);
                let wanted = rows.flat_map(|row| &row[3 * x..][..3 * side]);
                for (found, wanted) in out.iter().zip(wanted) {
                    let distance = found.abs_diff(*wanted);
                    assert!(distance <= 2, "{width} x {height}, {window:?}: {found}, {wanted}");
                    (values, off) = (values + 1, off + usize::from(distance > 0));
                }
            }
        }
        assert!(off * 50 < values, "{off} of {values} differ");
    }

    #[test]
    fn a_window_takes_no_more_of_a_picture_than_its_filter_reaches() {
        let window = |x, y| Window { x, y, side: 224 };
        // 500 x 375 to 341 x 256: 1.466 pixels across and 1.465 down for each, from pixel 61.6 on.
        let found = region(500, 375, 256, window(0, 0)).expect("a square");
        assert_eq!(found, Region { x: 60, y: 0, width: 331, height: 329 });
        let found = region(500, 375, 256, window(32, 32)).expect("a square");
        assert_eq!((found.x, found.y + found.height), (107, 375));
        let found = region(300, 256, 256, window(32, 5)).expect("a square");
        assert_eq!(found, Region { x: 54, y: 5, width: 224, height: 224 });
    }

    #[test]
    fn a_line_is_refused() {
        let mut out = vec![];
        let error =
            Resizer::new().square(&gradient(1000, 2), 64, &mut out).expect_err("a line");
        assert!(error.to_string().contains("1000 x 2"), "{error}");
    }
}
