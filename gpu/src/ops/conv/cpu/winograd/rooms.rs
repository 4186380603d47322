//! How the scratch memory of one worker is divided.

use super::{points::SQUARE, sheet::Sheets, transform::POINTS};
use crate::cpu::LINE;

/// Vectors that a product makes at once, see [`super::forward::panel`].
pub(super) const PANEL_MAX: usize = 3;

/// Sizes of what a worker keeps at the points, for as many tiles as it treats at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rooms {
    /// Tiles treated at once.
    pub(super) tiles: usize,
    /// Vectors of input channels.
    pub(super) inputs: usize,
    /// Vectors of output channels.
    pub(super) outputs: usize,
    /// Floats from a point of the input to the next.
    pub(super) input_pitch: usize,
    /// The same of one vector of the output.
    pub(super) product_pitch: usize,
    /// The same of all vectors of the output, for its gradient.
    pub(super) gradient_pitch: usize,
    /// Pixels in a row of the input's band.
    pub(super) input_cols: usize,
    /// Pixels in a row of the output's band.
    pub(super) output_cols: usize,
    lanes: usize,
    tile: usize,
}

/// The parts of a worker's scratch memory. A forward pass keeps products where a backward pass keeps
/// gradients.
pub(super) struct Carved<'a> {
    /// The input at the points.
    pub(super) input: &'a mut [f32],
    /// The products, or gradients, at the points.
    pub(super) output: &'a mut [f32],
    /// Eight rows of a sheet's input.
    pub(super) input_band: &'a mut [f32],
    /// The same with columns transformed, or one tile of the output so: [`POINTS`] by [`POINTS`] at least.
    pub(super) columns: &'a mut [f32],
    /// A tile's rows of a sheet's output.
    pub(super) output_band: &'a mut [f32],
}

impl Rooms {
    /// For vectors of `lanes` floats and about `tiles` tiles at once, at least a row of them.
    pub(super) fn new(
        sheets: &Sheets, lanes: usize, channels: [usize; 2], tiles: usize,
    ) -> Self {
        let tiles = tiles.min(sheets.tiles()).max(sheets.tiles_across());
        let [inputs, outputs] = channels.map(|channels| channels.div_ceil(lanes));
        let output_cols = sheets.tile * sheets.tiles_across();
        Self {
            tiles,
            inputs,
            outputs,
            input_pitch: pitch(tiles * inputs * lanes),
            product_pitch: pitch(tiles * lanes),
            gradient_pitch: pitch(tiles * outputs * lanes),
            input_cols: output_cols + POINTS - sheets.tile,
            output_cols,
            lanes,
            tile: sheets.tile,
        }
    }

    fn lens(&self, output: usize) -> [usize; 5] {
        let (input_pixels, output_pixels) =
            (POINTS * self.input_cols, self.tile * self.output_cols);
        [
            SQUARE * self.input_pitch,
            SQUARE * output,
            input_pixels * self.lanes,
            input_pixels * self.lanes,
            output_pixels * self.lanes,
        ]
        .map(|len| len.next_multiple_of(LINE))
    }

    /// Floats of a worker's scratch memory in a forward pass.
    pub(super) fn forward_len(&self) -> usize {
        self.lens(PANEL_MAX * self.product_pitch).iter().sum()
    }

    /// Floats of a worker's scratch memory for the gradient of the weights.
    pub(super) fn gradient_len(&self) -> usize {
        self.lens(self.gradient_pitch).iter().sum()
    }

    /// Divides a forward pass's; the bands are zeroed.
    pub(super) fn carve_forward<'a>(&self, scratch: &'a mut [f32]) -> Carved<'a> {
        carve(scratch, self.lens(PANEL_MAX * self.product_pitch))
    }

    /// Divides a gradient's; the bands are zeroed.
    pub(super) fn carve_gradient<'a>(&self, scratch: &'a mut [f32]) -> Carved<'a> {
        carve(scratch, self.lens(self.gradient_pitch))
    }

    /// One point of the input, `[tile, input]`, and of the output's gradient in what was carved for it.
    pub(super) fn at_point<'a>(&self, scratch: &'a [f32], point: usize) -> [&'a [f32]; 2] {
        let (input, rest) = scratch.split_at(self.lens(self.gradient_pitch)[0]);
        [
            &input[point * self.input_pitch..][..self.input_pitch],
            &rest[point * self.gradient_pitch..][..self.gradient_pitch],
        ]
    }
}

/// At least `len` floats, an odd number of cache lines: the points of one tile are written one after
/// another, and would share a few sets of the cache if they were a round number apart.
fn pitch(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

fn carve(scratch: &mut [f32], lens: [usize; 5]) -> Carved<'_> {
    let mut rest = scratch;
    let [input, output, input_band, columns, output_band] = lens.map(|len| {
        let (part, left) = std::mem::take(&mut rest).split_at_mut(len);
        rest = left;
        part
    });
    input_band.fill(0.0);
    output_band.fill(0.0);
    Carved { input, output, input_band, columns, output_band }
}
