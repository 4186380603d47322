//! How the images of a batch are laid out on sheets, and sheets cut into tiles.
//!
//! A tile takes `m` by `m` outputs; a plane of 13 would waste a third of three tiles of 6. So images
//! lie `across` by `down` on a sheet, one `period` apart, which leaves as many zeros between them as
//! the convolution pads with: what hangs over one image is of use to the next. A tile that straddles
//! two images adds nothing of the one to the outputs of the other but rounding.

use std::ops::Range;

/// The most images side by side on a sheet: by then at most one tile in ten is wasted.
const IMAGES_MAX: usize = 4;

/// Height and width of a plane.
pub(super) type Sides = [usize; 2];

/// Images on sheets, sheets in tiles.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sheets {
    /// Images in all.
    n: usize,
    /// Outputs of a tile, in height and in width.
    pub(super) tile: usize,
    /// Zeros above and left of an image.
    pub(super) pad: usize,
    /// Input height and width.
    pub(super) input: Sides,
    /// Output height and width.
    pub(super) output: Sides,
    /// From an image to the next on the sheet, down and across.
    pub(super) period: Sides,
    /// Images on a sheet, down and across.
    pub(super) images: Sides,
}

/// One row of tiles of a sheet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TileRow {
    /// Of the sheet's first image.
    pub(super) image: usize,
    /// Images on the sheet.
    pub(super) images: usize,
    /// First output row, in rows of the sheet.
    pub(super) top: usize,
    /// Tiles in the row.
    pub(super) tiles: usize,
}

/// Some rows of tiles that are treated at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// Rows of tiles before it.
    first: usize,
    /// Rows of tiles.
    count: usize,
    /// Tiles of all its rows.
    pub(super) tiles: usize,
}

/// Rows of one image within a row of tiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// First row in the row of tiles.
    pub(super) at: usize,
    /// Rows of the image; none in the gap between two.
    pub(super) rows: Range<usize>,
    /// Rows here: as many as there are of the image, or of the gap.
    pub(super) count: usize,
    /// The leftmost image of these rows, counted on the sheet.
    pub(super) image: usize,
}

impl Sheets {
    /// Lays `n` images out with the fewest tiles.
    pub(super) fn new(
        n: usize, tile: usize, [pad_before, pad_after]: [usize; 2], input: Sides, output: Sides,
    ) -> Self {
        let pads = pad_before.max(pad_after);
        let period = [0, 1].map(|i| (input[i] + pads).max(output[i]));
        let sheets = |images| Self { n, tile, pad: pad_before, input, output, period, images };
        let side = 1..=IMAGES_MAX.min(n.max(1));
        let all = side.clone().flat_map(|down| side.clone().map(move |across| [down, across]));
        all.map(sheets).min_by_key(Self::tiles).expect("one image on a sheet")
    }

    /// Tiles in all.
    pub(super) fn tiles(&self) -> usize {
        self.rows().map(|row| row.tiles).sum()
    }

    /// Tiles in the longest row.
    pub(super) fn tiles_across(&self) -> usize {
        self.tiles_for(1, self.images[1])
    }

    /// Tiles that cover `images` images in a row or column.
    fn tiles_for(&self, side: usize, images: usize) -> usize {
        ((images - 1) * self.period[side] + self.output[side]).div_ceil(self.tile)
    }

    /// How many rows of tiles there are; the last sheet may have fewer images.
    fn rows_count(&self) -> usize {
        let [down, across] = self.images;
        let left = self.n % (down * across);
        let last = if left == 0 { 0 } else { self.tiles_for(0, left.div_ceil(across)) };
        self.n / (down * across) * self.tiles_for(0, down) + last
    }

    /// Row of tiles `index`, sheet by sheet.
    fn row(&self, index: usize) -> TileRow {
        let [down, across] = self.images;
        let rows = self.tiles_for(0, down);
        let sheet = (index / rows).min(self.n / (down * across));
        let image = sheet * down * across;
        let images = (down * across).min(self.n - image);
        let tiles = self.tiles_for(1, across.min(images));
        TileRow { image, images, top: (index - sheet * rows) * self.tile, tiles }
    }

    fn rows(&self) -> impl Iterator<Item = TileRow> + use<> {
        let sheets = *self;
        (0..self.rows_count()).map(move |index| sheets.row(index))
    }

    /// The `index`-th of the blocks of as many rows as have at most `tiles_max` tiles, if there are so
    /// many.
    ///
    /// # Panics
    /// If that is less than a row.
    pub(super) fn block(&self, index: usize, tiles_max: usize) -> Option<Block> {
        let rows = tiles_max / self.tiles_across();
        assert!(rows > 0, "{tiles_max} tiles are less than a row");
        let first = index * rows;
        let count = rows.min(self.rows_count().checked_sub(first)?);
        let tiles = (first..first + count).map(|row| self.row(row).tiles).sum();
        (count > 0).then_some(Block { first, count, tiles })
    }

    /// Rows of tiles of a block, each with the number of tiles before it.
    pub(super) fn rows_of(
        &self, block: Block,
    ) -> impl Iterator<Item = (usize, TileRow)> + use<> {
        let (sheets, mut tiles) = (*self, 0);
        (block.first..block.first + block.count).map(move |row| {
            let (before, row) = (tiles, sheets.row(row));
            tiles += row.tiles;
            (before, row)
        })
    }

    /// The same layout with other images: at most as many as it was made for.
    pub(super) fn with(self, n: usize) -> Self {
        Self { n, ..self }
    }

    /// Which images' rows, of planes of `height`, rows `first..first + count` of a sheet are.
    pub(super) fn runs(
        &self, first: isize, count: usize, height: usize,
    ) -> impl Iterator<Item = Run> + use<> {
        let (period, across) = (self.period[0], self.images[1]);
        let mut at = 0;
        std::iter::from_fn(move || {
            if at == count {
                return None;
            }
            let row = first + at as isize;
            let (image, row) =
                (row.div_euclid(period as isize), row.rem_euclid(period as isize));
            let row = row as usize;
            let left = count - at;
            let run = if image >= 0 && row < height {
                let rows = row..(row + left).min(height);
                Run { at, count: rows.len(), rows, image: image as usize * across }
            } else {
                Run { at, count: left.min(period - row), rows: 0..0, image: 0 }
            };
            at += run.count;
            Some(run)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_by_three_planes_of_13_take_49_tiles_of_6() {
        let sheets = Sheets::new(9, 6, [1, 1], [13, 13], [13, 13]);
        assert_eq!((sheets.images, sheets.period, sheets.tiles()), ([3, 3], [14, 14], 49));
        let left_over = Sheets::new(64, 6, [1, 1], [13, 13], [13, 13]);
        assert_eq!(left_over.tiles(), 7 * 49 + 9);
        assert_eq!(left_over.rows().last().map(|row| (row.image, row.tiles)), Some((63, 3)));
    }

    #[test]
    fn a_plane_of_27_fills_tiles_of_4_alone() {
        let sheets = Sheets::new(3, 4, [2, 2], [27, 27], [27, 27]);
        assert_eq!((sheets.images, sheets.tiles()), ([1, 1], 3 * 49));
    }

    #[test]
    fn blocks_hold_all_rows_in_order() {
        let sheets = Sheets::new(11, 6, [1, 1], [13, 13], [13, 13]);
        let mut rows = vec![];
        for block in (0..).map_while(|index| sheets.block(index, 20)) {
            assert!(block.tiles <= 20);
            let mut tiles = 0;
            for (before, row) in sheets.rows_of(block) {
                assert_eq!(before, tiles, "before row {row:?}");
                tiles += row.tiles;
                rows.push(row);
            }
            assert_eq!(tiles, block.tiles);
        }
        assert_eq!(rows, sheets.rows().collect::<Vec<_>>());
    }

    #[test]
    fn every_row_of_every_image_is_in_one_run() {
        let sheets = Sheets { images: [3, 2], ..Sheets::new(9, 6, [1, 1], [13, 13], [13, 13]) };
        let mut seen = vec![];
        for row in sheets.rows() {
            for run in sheets.runs(row.top as isize, 6, 13).filter(|run| !run.rows.is_empty()) {
                let images = run.image..row.images.min(run.image + 2);
                seen.extend(
                    images.flat_map(|image| {
                        run.rows.clone().map(move |y| (row.image + image, y))
                    }),
                );
            }
        }
        seen.sort_unstable();
        let wanted: Vec<_> =
            (0..9).flat_map(|image| (0..13).map(move |y| (image, y))).collect();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn above_the_sheet_and_between_images_are_gaps() {
        let sheets = Sheets { images: [2, 1], ..Sheets::new(2, 6, [1, 1], [13, 13], [13, 13]) };
        let runs: Vec<_> = sheets.runs(-1, 17, 13).collect();
        let gap = |at| Run { at, rows: 0..0, count: 1, image: 0 };
        let image = |at, rows: Range<usize>, image| Run { at, count: rows.len(), rows, image };
        assert_eq!(runs, [gap(0), image(1, 0..13, 0), gap(14), image(15, 0..2, 1)]);
    }
}
