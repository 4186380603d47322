//! A JPEG's orientation (EXIF 2.3, tag 0x0112), and a picture turned by it. The pipeline ignores it,
//! as the 2012 pipeline and ImageNet's users do; packing applies it on request.

use crate::decode::Image;

const TAG: u16 = 0x0112;
/// Entries of a directory that are looked at: it has a few dozen.
const ENTRIES_MAX: usize = 1024;

/// How a picture is stored: 1 as it is seen, 2 to 4 mirrored or upside down, 5 to 8 on its side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation(u8);

impl Orientation {
    /// Of a file: as it is seen, if it does not say or is no JPEG.
    pub fn of(bytes: &[u8]) -> Self {
        let tiff = exif(bytes).and_then(tagged);
        Self(tiff.filter(|value| (1..=8).contains(value)).map_or(1, |value| value as u8))
    }

    /// Turns and mirrors a picture until it is seen upright. `scratch` is a buffer.
    pub fn apply(self, image: &mut Image, scratch: &mut Vec<u8>) {
        if self.0 == 1 {
            return;
        }
        let (width, height) = (image.width, image.height);
        let on_side = self.0 >= 5;
        let (mirrored, upside_down) =
            (matches!(self.0, 2 | 3 | 7 | 8), matches!(self.0, 3 | 4 | 6 | 7));
        let (across, down) = if on_side { (height, width) } else { (width, height) };
        scratch.clear();
        for y in 0..down {
            for x in 0..across {
                let (column, row) = if on_side { (y, x) } else { (x, y) };
                let column = if mirrored { width - 1 - column } else { column };
                let row = if upside_down { height - 1 - row } else { row };
                scratch.extend_from_slice(&image.rgb[3 * (row * width + column)..][..3]);
            }
        }
        std::mem::swap(&mut image.rgb, scratch);
        (image.width, image.height) = (across, down);
    }
}

/// The TIFF structure of a file's first EXIF segment.
fn exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes.strip_prefix(&[0xFF, 0xD8])?;
    loop {
        let [0xFF, marker, high, low, ..] = *rest else { return None };
        if marker == 0xFF {
            rest = &rest[1..]; // a fill byte
            continue;
        }
        if marker == 0xDA {
            return None; // the data begin
        }
        let segment = rest.get(4..2 + usize::from(u16::from_be_bytes([high, low])))?;
        if marker == 0xE1
            && let Some(tiff) = segment.strip_prefix(b"Exif\0\0")
        {
            return Some(tiff);
        }
        rest = &rest[4 + segment.len()..];
    }
}

/// The tag's value, from the first directory.
fn tagged(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.first_chunk::<4>()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let offset = *tiff.get(4..)?.first_chunk::<4>()?;
    let directory =
        if little { u32::from_le_bytes(offset) } else { u32::from_be_bytes(offset) } as usize;
    let entries = usize::from(u16_at(directory)?).min(ENTRIES_MAX);
    let at =
        (0..entries).map(|i| directory + 2 + 12 * i).find(|at| u16_at(*at) == Some(TAG))?;
    u16_at(at + 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's beginning that says it, in one order of bytes or the other.
    fn file(value: u8, little: bool) -> Vec<u8> {
        let mut tiff = if little {
            vec![b'I', b'I', 42, 0, 8, 0, 0, 0, 2, 0]
        } else {
            vec![b'M', b'M', 0, 42, 0, 0, 0, 8, 0, 2]
        };
        for (tag, value) in [(0x0100, 7), (TAG, value)] {
            let two =
                |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() };
            tiff.extend(two(tag).into_iter().chain(two(3)));
            tiff.extend(if little { [1, 0, 0, 0] } else { [0, 0, 0, 1] });
            tiff.extend(two(value.into()).into_iter().chain([0, 0]));
        }
        let mut bytes = vec![0xFF, 0xD8, 0xFF, 0xE0, 0, 4, 1, 2, 0xFF, 0xE1];
        bytes.extend((tiff.len() as u16 + 8).to_be_bytes());
        bytes.extend(b"Exif\0\0");
        bytes.extend(tiff);
        bytes
    }

    /// Pixels in the order in which they stand after each of the eight.
    #[test]
    fn a_picture_is_turned_as_the_standard_draws_it() {
        // a b c
        // d e f
        let seen = [
            (3, "abcdef"),
            (3, "cbafed"),
            (3, "fedcba"),
            (3, "defabc"),
            (2, "adbecf"),
            (2, "daebfc"),
            (2, "fcebda"),
            (2, "cfbead"),
        ];
        for (value, (width, letters)) in (1..).zip(seen) {
            for little in [true, false] {
                let orientation = Orientation::of(&file(value, little));
                assert_eq!(orientation, Orientation(value));
                let rgb = b"abcdef".iter().flat_map(|letter| [*letter; 3]).collect();
                let mut image = Image { width: 3, height: 2, rgb };
                orientation.apply(&mut image, &mut vec![]);
                let found: String = image.rgb.chunks(3).map(|p| char::from(p[1])).collect();
                assert_eq!((image.width, &*found), (width, letters), "{value}");
                assert_eq!(image.height, 6 / width);
            }
        }
    }

    #[test]
    fn what_says_nothing_is_seen_as_it_is() {
        let sound = file(6, true);
        for len in 0..sound.len() {
            let found = Orientation::of(&sound[..len]);
            assert_eq!(found, Orientation(1), "{len} of {} bytes", sound.len());
        }
        for value in [0, 9, 255] {
            assert_eq!(Orientation::of(&file(value, false)), Orientation(1));
        }
        let mut draws = crate::random::Draws::new(8, 0, 0, 0);
        for _ in 0..5000 {
            let mut bytes = sound.clone();
            let at = draws.below(bytes.len() as u32) as usize;
            bytes[at] = draws.below(256) as u8;
            Orientation::of(&bytes); // whatever it finds, it ends
        }
    }
}
