//! A packed set to a contact sheet: a few training pictures of each class as a net would get them,
//! but for cropping, mirroring and lighting. One row a class, in the order of the labels.

use crate::{
    dataset::Split,
    decode::{DecodeError, Image},
    resize::{Resizer, Stored},
    source::{SampleError, Shards, Source as _},
};

/// Pictures of a class, evenly spread over those that there are.
pub const COLUMNS_MAX: usize = 8;
/// Classes: the first ones.
pub const ROWS_MAX: usize = 64;
/// Side of a picture on the sheet, pixels; larger ones are rescaled. With the limits above, a sheet
/// has at most 100 MB of pixels.
pub const CELL_MAX: usize = 256;
const _: () = assert!(COLUMNS_MAX * ROWS_MAX * CELL_MAX * CELL_MAX * 3 <= 101_000_000);

/// Pictures side by side, `columns` by `rows`; where a class has fewer, the rest is black.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sheet {
    /// All of it.
    pub image: Image,
    /// Pictures in a row.
    pub columns: usize,
    /// Classes.
    pub rows: usize,
}

/// Draws the sheet of a set.
///
/// # Errors
/// If a record is damaged or cannot be decoded.
pub fn contact_sheet(set: &Shards) -> Result<Sheet, SampleError> {
    let rows = set.classes().len().min(ROWS_MAX);
    let of_class = |row| set.of_class(Split::Train, row as u32);
    let columns = (0..rows).map(|row| of_class(row).len()).max().unwrap_or(0).min(COLUMNS_MAX);
    let cell = set.size().min(CELL_MAX);
    let (width, height) = (columns * cell, rows * cell);
    let mut rgb = vec![0; width * height * 3];
    let mut picture = Picture::default();
    for row in 0..rows {
        let records = of_class(row);
        let shown = records.len().min(columns);
        for column in 0..shown {
            let index = u64::from(records[column * records.len() / shown]);
            let square = picture.square(set, index, cell)?;
            for (line, from) in square.chunks_exact(cell * 3).enumerate() {
                let at = 3 * ((row * cell + line) * width + column * cell);
                rgb[at..at + cell * 3].copy_from_slice(from);
            }
        }
    }
    Ok(Sheet { image: Image { width, height, rgb }, columns, rows })
}

/// Buffers for one picture at a time.
#[derive(Debug, Default)]
struct Picture {
    bytes: Vec<u8>,
    stored: Stored,
    resizer: Resizer,
    image: Image,
    small: Vec<u8>,
}

impl Picture {
    /// The stored square of a training record, no larger than `cell`.
    fn square(&mut self, set: &Shards, index: u64, cell: usize) -> Result<&[u8], SampleError> {
        let size = set.size();
        let place = |source: DecodeError| {
            let place = set.place(Split::Train, index);
            SampleError::Decode { place, source }
        };
        let encoded = set.read(Split::Train, index, &mut self.bytes)?;
        self.stored.square(encoded, size, &mut self.image.rgb).map_err(place)?;
        if size == cell {
            return Ok(&self.image.rgb);
        }
        (self.image.width, self.image.height) = (size, size);
        self.resizer.square(&self.image, cell, &mut self.small).map_err(place)?;
        Ok(&self.small)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataset::Encoding,
        pack::{PackConfig, PackPolicy, build},
    };
    use std::path::Path;

    /// Packs flat pictures: training picture `i` of class `c` has the level `40 c + i`.
    fn pack(dir: &Path, counts: &[usize], size: usize, encoding: Encoding) -> Shards {
        for (class, count) in counts.iter().enumerate() {
            let folder = dir.join(format!("tree/train/n{class}"));
            std::fs::create_dir_all(&folder).expect("room");
            for i in 0..*count {
                let level = image::Rgb([(40 * class + i) as u8; 3]);
                let path = folder.join(format!("{i:03}.png"));
                image::RgbImage::from_pixel(9, 7, level).save(path).expect("room");
            }
        }
        let config = PackConfig {
            size,
            encoding,
            jobs: 2,
            on_corrupt: PackPolicy::Fail,
            ..PackConfig::new(dir.join("tree"), dir.join("out"))
        };
        build(&config, &|_| ()).expect("a sound tree");
        Shards::open(&config.out).expect("its own folder")
    }

    #[test]
    fn a_row_shows_pictures_spread_over_its_class() {
        let dir = tempfile::tempdir().expect("a folder");
        let set = pack(dir.path(), &[24, 3], 4, Encoding::Original);
        let sheet = contact_sheet(&set).expect("sound");
        assert_eq!((sheet.columns, sheet.rows), (8, 2));
        assert_eq!((sheet.image.width, sheet.image.height), (32, 8));
        for (at, pixel) in sheet.image.rgb.chunks_exact(3).enumerate() {
            let (row, column) = (at / 32 / 4, at % 32 / 4);
            let level = match row {
                0 => 3 * column,
                _ if column < 3 => 40 + column,
                _ => 0, // there is no such picture
            };
            assert_eq!(pixel, [level as u8; 3], "picture {column} of class {row}");
        }
    }

    #[test]
    fn large_pictures_and_many_classes_keep_to_the_limits() {
        let dir = tempfile::tempdir().expect("a folder");
        let set = pack(dir.path(), &[1; ROWS_MAX + 1], 4, Encoding::Raw);
        let sheet = contact_sheet(&set).expect("sound");
        assert_eq!((sheet.columns, sheet.rows), (1, ROWS_MAX));
        let dir = tempfile::tempdir().expect("a folder");
        let set = pack(dir.path(), &[1, 2], CELL_MAX + 4, Encoding::Raw);
        let Image { width, height, rgb } = contact_sheet(&set).expect("sound").image;
        assert_eq!((width, height), (2 * CELL_MAX, 2 * CELL_MAX));
        assert_eq!(rgb[3 * (CELL_MAX * 2 * CELL_MAX + CELL_MAX)], 41, "class 1, picture 1");
    }
}
