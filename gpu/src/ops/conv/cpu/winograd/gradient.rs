//! The gradient of the weights: `dw[u, v] = sum_{i, j} dy[i, j] x[i + u, j + v]` is a correlation with
//! the gradients of a tile as taps, so tiles add up at the points and are brought back once.

use super::{
    forward::{panel, read},
    planes::Planes,
    points::{self, Place},
    rooms::Rooms,
    sheet::{Block, Sheets},
};
use crate::cpu::{
    tile::{Product, Strides},
    vector::{Kernel, Simd},
};

/// Brings one worker's block of tiles, `M` by `M` gradients each, to the points.
pub(super) struct Gather<'a, const M: usize> {
    pub(super) sheets: Sheets,
    pub(super) input: Planes,
    pub(super) output: Planes,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) block: Block,
    pub(super) rooms: Rooms,
    pub(super) scratch: &'a mut [f32],
}

impl<const M: usize> Kernel for Gather<'_, M> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { sheets, rooms, .. } = self;
        let mut room = rooms.carve_gradient(self.scratch);
        for (tile, row) in sheets.rows_of(self.block) {
            read::<S, L, M>(s, &sheets, &self.input, self.x, (tile, row), &rooms, &mut room);
            let band = room.output_band.as_chunks_mut().0;
            let columns = room.columns.as_chunks_mut().0;
            let points = room.output.as_chunks_mut().0;
            for vector in 0..rooms.outputs {
                let (origin, cols) = ((row.top as isize, 0), rooms.output_cols);
                self.output.read(s, &sheets, row, self.dy, origin, vector, (band, M, cols));
                let pitch = rooms.gradient_pitch / L;
                let place = Place { tile, width: rooms.outputs, vector, pitch };
                let band = (&*band, cols);
                points::gradient::<S, L, M>(s, row.tiles, band, columns, points, place);
            }
        }
    }
}

/// `sums[input, output] (+)=` the products of one worker's tiles at one point.
pub(super) struct Sum<'a> {
    /// Input channels.
    pub(super) channels: usize,
    pub(super) tiles: usize,
    pub(super) rooms: Rooms,
    /// The worker's input at the point, `[tile, input]`.
    pub(super) input: &'a [f32],
    /// The worker's gradients at the point, `[tile, output]`.
    pub(super) gradient: &'a [f32],
    /// Adds to the sums instead of overwriting them.
    pub(super) add: bool,
    pub(super) sums: &'a mut [f32],
}

impl Kernel for Sum<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let (inputs, outputs) = (self.rooms.inputs, self.rooms.outputs);
        let mut vector = 0;
        while vector < outputs {
            let vectors = panel(outputs - vector);
            Product::<true> {
                rows: self.channels,
                depth: self.tiles,
                vectors,
                a: self.input,
                a_at: Strides { row: 1, col: inputs * L },
                b: &self.gradient[vector * L..],
                b_at: Strides { row: outputs * L, col: L },
                c: &mut self.sums[vector * L..],
                c_at: Strides { row: outputs * L, col: L },
                add: self.add,
                next_b: (vector + vectors < outputs)
                    .then(|| &self.gradient[(vector + vectors) * L..]),
            }
            .run(s);
            vector += vectors;
        }
    }
}
