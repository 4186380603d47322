//! On the CPU: one Philox call per four units, a vector of calls at a time.

use super::Dropout;
use crate::{
    cpu::{
        Pool,
        vector::{Kernel, Simd},
    },
    random::philox_lanes,
};

/// Floats of one piece of [`scale`].
const PIECE: usize = 1 << 14;
/// Units that share a call.
const WORDS: usize = 4;

/// Zeroes the dropped units of `y[n, units]`.
pub(crate) fn apply(pool: &Pool, op: &Dropout, n: usize, y: &mut [f32]) {
    let level = pool.level();
    pool.chunks(&mut y[..n * op.units], op.units, |image, y| level.run(Row { op, image, y }));
}

/// The units of one row.
struct Row<'a> {
    op: &'a Dropout,
    image: usize,
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, _: S) {
        let Self { op, image, y } = self;
        let threshold = op.threshold();
        let key = [op.seed as u32, (op.seed >> 32) as u32 ^ op.layer];
        let rest = [image as u32, op.step as u32, (op.step >> 32) as u32];
        let (first, end) = (op.first_unit, op.first_unit + y.len());
        for call in (first / WORDS..end.div_ceil(WORDS)).step_by(L) {
            let words = philox_lanes::<L>(key, call as u32, rest);
            let kept = |unit: usize| u64::from(words[unit % WORDS][unit / WORDS]) >= threshold;
            let units = (call * WORDS).max(first)..((call + L) * WORDS).min(end);
            let y = &mut y[units.start - first..units.end - first];
            let skipped = units.start - call * WORDS;
            if y.len() == L * WORDS {
                for (lane, y) in y.as_chunks_mut::<WORDS>().0.iter_mut().enumerate() {
                    for (word, y) in y.iter_mut().enumerate() {
                        *y = if kept(lane * WORDS + word) { *y } else { 0.0 };
                    }
                }
                continue;
            }
            for (i, y) in y.iter_mut().enumerate() {
                *y = if kept(skipped + i) { *y } else { 0.0 };
            }
        }
    }
}

/// `y *= factor`.
pub(crate) fn scale(pool: &Pool, factor: f32, len: usize, y: &mut [f32]) {
    pool.chunks(&mut y[..len], PIECE, |_, y| y.iter_mut().for_each(|y| *y *= factor));
}
