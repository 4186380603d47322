//! RGB of any size to the stored square: the shorter side to `size`, the centre of the longer
//! (section 2), with an antialiased bilinear filter as Pillow's.

use crate::{
    dataset::Encoding,
    decode::{DecodeError, Decoder, Image},
    source::Encoded,
};
use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions,
    images::{ImageRef, TypedImage},
    pixels::U8x3,
};

/// How pictures are rescaled, for `dataset.json`.
pub const FILTER: &str = "shorter side, antialiased bilinear, centre square";

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
        let Image { width, height, ref rgb } = *image;
        let cannot = |reason: String| DecodeError::Resize { width, height, reason };
        if width == 0 || height == 0 || size == 0 {
            return Err(cannot("there are no pixels".into()));
        }
        out.resize(size * size * 3, 0);
        // The longer side keeps the aspect, rounded down as torchvision does.
        let (w, h) = if width < height {
            (size, (size * height / width).max(size))
        } else {
            ((size * width / height).max(size), size)
        };
        if w.max(h) > size * ASPECT_MAX {
            return Err(cannot(format!("one side is more than {ASPECT_MAX} times the other")));
        }
        let (left, top) = ((w - size) / 2, (h - size) / 2);
        if (w, h) == (width, height) {
            centre(rgb, w, left, top, size, out);
            return Ok(());
        }
        self.rescaled.resize(w * h * 3, 0);
        let from = ImageRef::new(width as u32, height as u32, rgb, PixelType::U8x3)
            .map_err(|e| cannot(e.to_string()))?;
        let mut to = TypedImage::<U8x3>::from_buffer(w as u32, h as u32, &mut self.rescaled)
            .map_err(|e| cannot(e.to_string()))?;
        let options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        let from = from.typed_image::<U8x3>().ok_or_else(|| cannot("not RGB".into()))?;
        self.inner.resize_typed(&from, &mut to, &options).map_err(|e| cannot(e.to_string()))?;
        centre(&self.rescaled, w, left, top, size, out);
        Ok(())
    }
}

/// A picture longer than this many times its breadth is a line, and would take much memory.
const ASPECT_MAX: usize = 64;

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
}

impl Stored {
    /// With empty buffers.
    pub fn new() -> Self {
        Self::default()
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
        self.decoder.decode(encoded.bytes, &mut self.image)
    }

    /// The second half, of what was decoded last.
    ///
    /// # Errors
    /// If it cannot be rescaled.
    pub fn resize(&mut self, size: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        self.resizer.square(&self.image, size, out)
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

    #[test]
    fn a_line_is_refused() {
        let mut out = vec![];
        let error =
            Resizer::new().square(&gradient(1000, 2), 64, &mut out).expect_err("a line");
        assert!(error.to_string().contains("1000 x 2"), "{error}");
    }
}
