//! Tiles of a row at the points, and back.

use super::transform::{POINTS, outputs, pixels, taps};
use crate::cpu::vector::Simd;

/// Products per tile: one for every pair of points.
pub(super) const SQUARE: usize = POINTS * POINTS;

/// Where the points of tiles lie: point p of tile t is at `p pitch + t width`, in vectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The row's first tile.
    pub(super) tile: usize,
    /// Vectors from a tile to the next.
    pub(super) width: usize,
    /// Which of them.
    pub(super) vector: usize,
    /// Vectors from a point to the next.
    pub(super) pitch: usize,
}

impl Place {
    #[inline(always)]
    fn at(&self, point: usize, tile: usize) -> usize {
        point * self.pitch + (self.tile + tile) * self.width + self.vector
    }
}

/// The pixels of `tiles` tiles of `M` outputs at the points, from a band of eight rows of `cols`.
/// Neighbours share columns, so all columns are transformed before the rows of each tile.
#[inline(always)]
pub(super) fn input<S: Simd<L>, const L: usize, const M: usize>(
    s: S, tiles: usize, (band, cols): (&[[f32; L]], usize), columns: &mut [[f32; L]],
    points: &mut [[f32; L]], place: Place,
) {
    let used = M * tiles + POINTS - M;
    for (col, out) in columns.as_chunks_mut::<POINTS>().0[..used].iter_mut().enumerate() {
        let mut x = [s.zero(); POINTS];
        for i in 0..POINTS {
            x[i] = s.load(&band[i * cols + col]);
        }
        let x = pixels(s, x);
        for i in 0..POINTS {
            s.store(x[i], &mut out[i]);
        }
    }
    for tile in 0..tiles {
        let columns = &columns[M * tile * POINTS..][..SQUARE];
        for i in 0..POINTS {
            let mut x = [s.zero(); POINTS];
            for j in 0..POINTS {
                x[j] = s.load(&columns[j * POINTS + i]);
            }
            let x = pixels(s, x);
            for j in 0..POINTS {
                s.store(x[j], &mut points[place.at(i * POINTS + j, tile)]);
            }
        }
    }
}

/// The gradients of `tiles` tiles of `M` outputs at the points, from a band of `M` rows of `cols`. `columns` has room for
/// those of a tile: an array would be cleared for each.
#[inline(always)]
pub(super) fn gradient<S: Simd<L>, const L: usize, const M: usize>(
    s: S, tiles: usize, (band, cols): (&[[f32; L]], usize), columns: &mut [[f32; L]],
    points: &mut [[f32; L]], place: Place,
) {
    let columns = &mut columns.as_chunks_mut::<POINTS>().0[..M];
    for tile in 0..tiles {
        for (j, out) in columns.iter_mut().enumerate() {
            let mut column = [s.zero(); M];
            for i in 0..M {
                column[i] = s.load(&band[i * cols + M * tile + j]);
            }
            let column = taps(s, column);
            for i in 0..POINTS {
                s.store(column[i], &mut out[i]);
            }
        }
        for i in 0..POINTS {
            let mut row = [s.zero(); M];
            for j in 0..M {
                row[j] = s.load(&columns[j][i]);
            }
            let row = taps(s, row);
            for j in 0..POINTS {
                s.store(row[j], &mut points[place.at(i * POINTS + j, tile)]);
            }
        }
    }
}

/// The outputs of `tiles` tiles from the points, to a band of `M` rows of `cols`; `columns` as for [`gradient`].
#[inline(always)]
pub(super) fn output<S: Simd<L>, const L: usize, const M: usize>(
    s: S, tiles: usize, points: &[[f32; L]], place: Place, columns: &mut [[f32; L]],
    (band, cols): (&mut [[f32; L]], usize),
) {
    let columns = &mut columns.as_chunks_mut::<M>().0[..POINTS];
    for tile in 0..tiles {
        for (j, out) in columns.iter_mut().enumerate() {
            let mut column = [s.zero(); POINTS];
            for i in 0..POINTS {
                column[i] = s.load(&points[place.at(i * POINTS + j, tile)]);
            }
            let column: [S::V; M] = outputs(s, column);
            for i in 0..M {
                s.store(column[i], &mut out[i]);
            }
        }
        for i in 0..M {
            let mut row = [s.zero(); POINTS];
            for j in 0..POINTS {
                row[j] = s.load(&columns[j][i]);
            }
            let row: [S::V; M] = outputs(s, row);
            for j in 0..M {
                s.store(row[j], &mut band[i * cols + M * tile + j]);
            }
        }
    }
}
