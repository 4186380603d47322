//! The bytes of an image file to RGB, by what the bytes are and not by the file's name.
//!
//! JPEG by the decoder of [`jpeg`]; PNG, GIF, WebP and BMP, which ILSVRC hides behind `.JPEG`, by
//! `image`. EXIF [orientation](crate::orientation) is not applied, as in the 2012 pipeline. No input makes it panic.

use crate::jpeg::{self, JpegError, Region};
use std::{
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Longest side of a picture, pixels. ILSVRC's longest is 9331.
pub const DIMENSION_MAX: usize = 16_384;
/// Pixels of a picture, checked before its memory is allocated.
pub const PIXELS_MAX: usize = 1 << 27;

/// A decoded picture, `[height, width, 3]` RGB. Its buffer is used again.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height x width x 3` bytes.
    pub rgb: Vec<u8>,
}

/// Bytes that are no picture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the messages say it")]
pub enum DecodeError {
    #[error("an empty file")]
    Empty,
    #[error("not a JPEG, PNG, GIF, WebP or BMP file")]
    Unknown,
    #[error("{format}: {reason}")]
    Broken { format: &'static str, reason: String },
    #[error("JPEG: {0}, which is not supported")]
    Unsupported(&'static str),
    #[error(
        "{width} x {height} pixels, more than {DIMENSION_MAX} a side or {PIXELS_MAX} in all"
    )]
    TooLarge { width: usize, height: usize },
    #[error("{found} bytes, and a raw picture has {expected}")]
    WrongLength { found: usize, expected: usize },
    #[error("cannot rescale {width} x {height} pixels: {reason}")]
    Resize { width: usize, height: usize, reason: String },
}

/// Where a decoded part stands in its picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Pixels in a row of the whole picture.
    pub width: usize,
    /// Its rows.
    pub height: usize,
    /// The part.
    pub region: Region,
}

impl Placed {
    fn whole(width: usize, height: usize) -> Self {
        Self { width, height, region: Region { x: 0, y: 0, width, height } }
    }
}

/// Decodes one picture at a time.
#[derive(Debug, Default)]
pub struct Decoder {
    jpeg: jpeg::Decoder,
}

impl Decoder {
    /// A decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes `bytes` into `out`.
    ///
    /// # Errors
    /// If they are no whole picture of a sane size.
    pub fn decode(&mut self, bytes: &[u8], out: &mut Image) -> Result<(), DecodeError> {
        self.guarded(bytes, out, |decoder, out| {
            let jpeg::Header { width, height, .. } = decoder.decode(bytes, &mut out.rgb)?;
            if !ends(bytes) {
                return Err(broken("JPEG", "truncated: no end-of-image marker").into());
            }
            Ok(Placed::whole(width, height))
        })?;
        Ok(())
    }

    /// Decodes that part of a picture which `choose` chooses by its width and height, or more: all
    /// of it, if it is of a kind that is only decoded as a whole. What lies outside of the part may
    /// be broken.
    ///
    /// # Errors
    /// If the bytes are no picture of a sane size, or by `choose`.
    pub fn decode_part(
        &mut self, bytes: &[u8], choose: impl Fn(usize, usize) -> Result<Region, DecodeError>,
        out: &mut Image,
    ) -> Result<Placed, DecodeError> {
        self.guarded(bytes, out, |decoder, out| {
            let jpeg::Header { width, height, .. } = decoder.header(bytes)?;
            let region = choose(width, height)?;
            decoder.decode_region(bytes, region, &mut out.rgb)?;
            Ok(Placed { width, height, region })
        })
    }

    /// Decodes JPEGs by `ours`, and other formats whole.
    fn guarded(
        &mut self, bytes: &[u8], out: &mut Image,
        ours: impl Fn(&mut jpeg::Decoder, &mut Image) -> Result<Placed, Fault>,
    ) -> Result<Placed, DecodeError> {
        let (format, name) = match bytes {
            [] => return Err(DecodeError::Empty),
            [0xFF, 0xD8, ..] => (None, "JPEG"),
            [0x89, b'P', b'N', b'G', ..] => (Some(image::ImageFormat::Png), "PNG"),
            [b'G', b'I', b'F', b'8', ..] => (Some(image::ImageFormat::Gif), "GIF"),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                (Some(image::ImageFormat::WebP), "WebP")
            }
            [b'B', b'M', ..] => (Some(image::ImageFormat::Bmp), "BMP"),
            _ => return Err(DecodeError::Unknown),
        };
        // A decoder's panic is a bug of its crate, set off by a file: for us, a broken file.
        let placed = catch_unwind(AssertUnwindSafe(|| match format {
            None => match ours(&mut self.jpeg, out) {
                Ok(placed) => Ok(placed),
                Err(Fault::Jpeg(JpegError::Unsupported(what))) => {
                    Err(DecodeError::Unsupported(what))
                }
                Err(Fault::Jpeg(JpegError::TooLarge { width, height })) => {
                    Err(DecodeError::TooLarge { width, height })
                }
                Err(Fault::Jpeg(error)) => Err(broken(name, error.to_string())),
                Err(Fault::Chosen(error)) => Err(error),
            },
            Some(format) => other(format, name, bytes, out),
        }))
        .unwrap_or_else(|_| Err(broken(name, "the decoder gave up")))?;
        (out.width, out.height) = (placed.region.width, placed.region.height);
        Ok(placed)
    }
}

/// What keeps our decoder from a picture.
enum Fault {
    Jpeg(JpegError),
    Chosen(DecodeError),
}

impl From<JpegError> for Fault {
    fn from(error: JpegError) -> Self {
        Self::Jpeg(error)
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Chosen(error)
    }
}

fn broken(format: &'static str, reason: impl Into<String>) -> DecodeError {
    DecodeError::Broken { format, reason: reason.into() }
}

fn check(width: usize, height: usize) -> Result<(), DecodeError> {
    let sane =
        width <= DIMENSION_MAX && height <= DIMENSION_MAX && width * height <= PIXELS_MAX;
    if sane { Ok(()) } else { Err(DecodeError::TooLarge { width, height }) }
}

/// Whether the end-of-image marker follows the header: a picture of one scan may be whole without it,
/// or lack its last block's last bits.
/// The header is walked over, since a thumbnail in it has an end of its own.
fn ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some([0xFF, marker, high, low]) = bytes.get(at..at + 4) {
        at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
        if *marker == 0xDA {
            break; // start of scan: entropy-coded data begins
        }
    }
    bytes.get(at..).is_some_and(|data| data.windows(2).rev().any(|pair| pair == [0xFF, 0xD9]))
}

fn other(
    format: image::ImageFormat, name: &'static str, bytes: &[u8], out: &mut Image,
) -> Result<Placed, DecodeError> {
    let mut reader = image::ImageReader::with_format(Cursor::new(bytes), format);
    reader.no_limits(); // ours are checked before the pixels are decoded
    let (width, height) = image::ImageReader::with_format(Cursor::new(bytes), format)
        .into_dimensions()
        .map_err(|e| broken(name, e.to_string()))?;
    check(width as usize, height as usize)?;
    let picture = reader.decode().map_err(|e| broken(name, e.to_string()))?.into_rgb8();
    out.rgb.clear();
    out.rgb.extend_from_slice(picture.as_raw());
    Ok(Placed::whole(width as usize, height as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u16, height: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let rgb: Vec<u8> = (0..usize::from(width) * usize::from(height) * 3)
            .map(|i| (i / 3 % usize::from(width) * 255 / usize::from(width)) as u8)
            .collect();
        jpeg_encoder::Encoder::new(&mut bytes, 95)
            .encode(&rgb, width, height, jpeg_encoder::ColorType::Rgb)
            .expect("a sound picture");
        bytes
    }

    #[test]
    fn a_jpeg_is_decoded_whatever_was_in_the_buffer_before() {
        let (mut decoder, mut out) = (Decoder::new(), Image::default());
        for (width, height) in [(40, 30), (17, 13), (64, 8)] {
            decoder.decode(&picture(width, height), &mut out).expect("a picture");
            assert_eq!((out.width, out.height), (width.into(), height.into()));
            assert_eq!(out.rgb.len(), out.width * out.height * 3);
            assert!(out.rgb[0] < 16 && out.rgb[3 * (out.width - 1)] > 220);
        }
    }

    #[test]
    fn other_formats_are_told_by_their_bytes() {
        let mut png = Cursor::new(Vec::new());
        let source = image::RgbImage::from_fn(5, 4, |x, y| image::Rgb([x as u8, y as u8, 9]));
        source.write_to(&mut png, image::ImageFormat::Png).expect("room");
        let mut out = Image::default();
        Decoder::new().decode(&png.into_inner(), &mut out).expect("a picture");
        assert_eq!((out.width, out.height, &out.rgb), (5, 4, source.as_raw()));
    }

    #[test]
    fn no_truncation_passes_for_a_picture() {
        let (bytes, mut out) = (picture(33, 21), Image::default());
        for len in 0..bytes.len() - 1 {
            let error = Decoder::new().decode(&bytes[..len], &mut out);
            assert!(error.is_err(), "{len} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_bomb_is_refused_before_its_memory_is_taken() {
        let mut bytes = picture(16, 16);
        let sof = bytes.windows(2).position(|pair| pair == [0xFF, 0xC0]).expect("a frame");
        bytes[sof + 5..sof + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
        let error = Decoder::new().decode(&bytes, &mut Image::default()).expect_err("a bomb");
        assert!(matches!(error, DecodeError::TooLarge { width: 65_535, .. }), "{error}");
    }
}
