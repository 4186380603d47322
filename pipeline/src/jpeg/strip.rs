//! The samples of one component in one row of MCUs, and the last row of the MCUs above.

use super::plan::Part;

/// Columns before the first and after the last: what a triangle reaches out to, and what the
/// inverse transform writes beyond an odd number of blocks.
const MARGIN: usize = 16;

/// Rows of samples. Keeps its buffer.
#[derive(Debug, Default)]
pub(super) struct Strip {
    samples: Vec<u8>,
    stride: usize,
    /// Sample rows of a row of MCUs.
    height: usize,
    /// The sample column of the first block.
    left: usize,
}

impl Strip {
    /// Makes room for a part.
    pub(super) fn begin(&mut self, part: &Part) {
        self.left = 8 * part.columns.start;
        self.height = 8 * part.v;
        self.stride = 8 * part.columns.len() + 2 * MARGIN;
        let len = (self.height + 1) * self.stride;
        if self.samples.len() < len {
            self.samples.resize(len, 0);
        }
    }

    /// Where a sample is: row -1 is the last of the MCUs above.
    fn at(&self, column: usize, row: usize) -> usize {
        (row + 1) * self.stride + MARGIN + column - self.left
    }

    /// From a block's first sample on, for the inverse transform; and the distance of rows.
    /// `column` and `row` count blocks: of the picture, and of the row of MCUs.
    pub(super) fn block_mut(&mut self, column: usize, row: usize) -> (&mut [u8], usize) {
        let (at, stride) = (self.at(8 * column, 8 * row), self.stride);
        (&mut self.samples[at..], stride)
    }

    /// `len` samples of a row, counted from the MCU row's first plus one, from `column` on; and
    /// one before and one after them.
    pub(super) fn row(&self, row: usize, column: usize, len: usize) -> &[u8] {
        let at = row * self.stride + MARGIN + column - self.left - 1;
        &self.samples[at..at + len + 2]
    }

    /// Repeats the samples at the edges of the picture beyond them, if they are here.
    pub(super) fn extend_edges(&mut self, part: &Part) {
        let ends_here = 8 * part.columns.end >= part.width;
        for row in 0..self.height {
            if self.left == 0 {
                let first = self.at(0, row);
                self.samples[first - 1] = self.samples[first];
            }
            if ends_here {
                let after = self.at(part.width, row);
                self.samples[after] = self.samples[after - 1];
            }
        }
    }

    /// Keeps the last row for the MCUs below.
    pub(super) fn roll(&mut self) {
        let last = self.height * self.stride;
        self.samples.copy_within(last..last + self.stride, 0);
    }
}
