//! A worker's share of `y = w * x`; of `dx`, too, which is the same with turned weights.

use super::{
    planes::Planes,
    points::{self, Place, SQUARE},
    rooms::{Carved, PANEL_MAX, Rooms},
    sheet::{Sheets, TileRow},
    transform::POINTS,
};
use crate::cpu::{
    tile::{Product, Strides},
    vector::{Kernel, Simd},
};

/// What the worker reads and writes, `M` by `M` outputs at a time.
pub(super) struct Forward<'a, const M: usize> {
    pub(super) sheets: Sheets,
    pub(super) input: Planes,
    pub(super) output: Planes,
    pub(super) x: &'a [f32],
    /// `[output vector, point, input, lane]`.
    pub(super) u: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) add: bool,
    pub(super) y: &'a mut [f32],
    pub(super) rooms: Rooms,
    pub(super) scratch: &'a mut [f32],
}

impl<const M: usize> Kernel for Forward<'_, M> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(mut self, s: S) {
        let mut room = self.rooms.carve_forward(std::mem::take(&mut self.scratch));
        let (sheets, tiles_max) = (self.sheets, self.rooms.tiles);
        for block in (0..).map_while(|index| sheets.block(index, tiles_max)) {
            for row in self.sheets.rows_of(block) {
                read::<S, L, M>(
                    s,
                    &self.sheets,
                    &self.input,
                    self.x,
                    row,
                    &self.rooms,
                    &mut room,
                );
            }
            let mut vector = 0;
            while vector < self.rooms.outputs {
                let vectors = panel(self.rooms.outputs - vector);
                self.multiply(s, block.tiles, vector, vectors, &mut room);
                for i in 0..vectors {
                    for row in self.sheets.rows_of(block) {
                        self.write(s, row, (vector, i), &mut room);
                    }
                }
                vector += vectors;
            }
        }
    }
}

impl<const M: usize> Forward<'_, M> {
    /// The products at every point, of `vectors` vectors from `vector`.
    #[inline(always)]
    fn multiply<S: Simd<L>, const L: usize>(
        &self, s: S, tiles: usize, vector: usize, vectors: usize, room: &mut Carved<'_>,
    ) {
        let (depth, pitch) = (self.input.channels(), self.rooms.product_pitch);
        let u = |point: usize| &self.u[(vector * SQUARE + point) * depth * L..];
        for point in 0..SQUARE {
            Product::<true> {
                rows: tiles,
                depth,
                vectors,
                a: &room.input[point * self.rooms.input_pitch..],
                a_at: Strides { row: self.rooms.inputs * L, col: 1 },
                b: u(point),
                b_at: Strides { row: L, col: SQUARE * depth * L },
                c: &mut room.output[point * pitch..],
                c_at: Strides { row: L, col: SQUARE * pitch },
                add: false,
                next_b: (point + 1 < SQUARE).then(|| u(point + 1)),
            }
            .run(s);
        }
    }

    /// Vector `i` of the panel at `vector`, of one row of tiles, to its planes.
    #[inline(always)]
    fn write<S: Simd<L>, const L: usize>(
        &mut self, s: S, (tile, row): (usize, TileRow), (vector, i): (usize, usize),
        room: &mut Carved<'_>,
    ) {
        let pitch = self.rooms.product_pitch;
        let products = room.output[i * SQUARE * pitch..].as_chunks().0;
        let place = Place { tile, width: 1, vector: 0, pitch: pitch / L };
        let band = room.output_band.as_chunks_mut().0;
        let cols = self.rooms.output_cols;
        let columns = room.columns.as_chunks_mut().0;
        points::output::<S, L, M>(s, row.tiles, products, place, columns, (band, cols));
        let epilogue = (self.bias, self.add);
        let y = &mut *self.y;
        self.output.write(s, &self.sheets, row, y, vector + i, epilogue, (band, cols));
    }
}

/// How many of `left` vectors the next product makes: pairs, which leave the most registers for rows,
/// and three where one would be left over.
pub(super) fn panel(left: usize) -> usize {
    if left == PANEL_MAX { PANEL_MAX } else { left.min(2) }
}

/// One row of tiles of the input at the points, its first tile the `tile`-th of the room.
#[inline(always)]
pub(super) fn read<S: Simd<L>, const L: usize, const M: usize>(
    s: S, sheets: &Sheets, input: &Planes, x: &[f32], (tile, row): (usize, TileRow),
    rooms: &Rooms, room: &mut Carved<'_>,
) {
    let band = room.input_band.as_chunks_mut().0;
    let columns = room.columns.as_chunks_mut().0;
    let points = room.input.as_chunks_mut().0;
    let (cols, top) = (rooms.input_cols, row.top as isize - sheets.pad as isize);
    for vector in 0..rooms.inputs {
        let origin = (top, sheets.pad);
        input.read(s, sheets, row, x, origin, vector, (band, POINTS, cols));
        let pitch = rooms.input_pitch / L;
        let place = Place { tile, width: rooms.inputs, vector, pitch };
        points::input::<S, L, M>(s, row.tiles, (band, cols), columns, points, place);
    }
}
