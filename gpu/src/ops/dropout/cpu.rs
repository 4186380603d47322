//! On the CPU: one Philox call per four units.

use super::Dropout;
use crate::{cpu::Pool, random::philox};

/// Floats of one piece of [`scale`].
const PIECE: usize = 1 << 14;

/// Zeroes the dropped units of `y[n, units]`.
pub(crate) fn apply(pool: &Pool, op: &Dropout, n: usize, y: &mut [f32]) {
    let threshold = op.threshold();
    let key = [op.seed as u32, (op.seed >> 32) as u32 ^ op.layer];
    pool.chunks(&mut y[..n * op.units], op.units, |row, y| {
        let counter = |unit: usize| {
            [(unit / 4) as u32, row as u32, op.step as u32, (op.step >> 32) as u32]
        };
        let mut words = philox(key, counter(op.first_unit));
        for (i, y) in y.iter_mut().enumerate() {
            let unit = op.first_unit + i;
            if unit.is_multiple_of(4) {
                words = philox(key, counter(unit));
            }
            if u64::from(words[unit % 4]) < threshold {
                *y = 0.0;
            }
        }
    });
}

/// `y *= factor`.
pub(crate) fn scale(pool: &Pool, factor: f32, len: usize, y: &mut [f32]) {
    pool.chunks(&mut y[..len], PIECE, |_, y| y.iter_mut().for_each(|y| *y *= factor));
}
