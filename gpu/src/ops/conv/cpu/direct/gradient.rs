//! The gradient of the weights: `dw[k, c, u, v] = sum_{i, j} dy[k, i, j] x[c, s i + u, s j + v]`, two columns of
//! the output a step.
//!
//! With a step `s`, columns that are `s` apart must be neighbours: a row is kept as its `s` phases, one
//! after another.

use super::{
    LINE, Task, VECTORS,
    image::{narrow, pad_row},
};
use crate::{
    cpu::{
        Level,
        pairs::{Product, Repeat},
        tile::Strides,
        vector::{Kernel, Simd, neighbours},
    },
    ops::conv::cpu::winograd::Kernels,
};

/// Floats of the images that are summed over at once: half of the second-level cache.
const BLOCK: usize = (512 << 10) / size_of::<f32>();
/// Fewer channels than this, and a tile takes the rows of the window instead.
const CHANNELS_MIN: usize = 8;

/// How a worker's images lie in memory.
#[derive(Debug, Clone, Copy)]
struct Layout {
    /// bf16s of a phase of a row.
    phase: usize,
    /// Pairs in a row of the output.
    row_pairs: usize,
    /// Rows of the output in a run of pairs, what lies between them multiplied by zeros.
    run_rows: usize,
    /// Runs of an image.
    runs: usize,
    /// Pairs of a run.
    pairs: usize,
    /// Rows of an image, padding and those of the last run counted.
    height: usize,
    /// Floats, that is pairs, of an image.
    image: usize,
    /// Floats, that is pairs, of a vector of kernels of an image.
    vector: usize,
    /// Vectors of kernels.
    vectors: usize,
    /// Images at once.
    images: usize,
}

impl Layout {
    fn of(task: &Task, level: Level) -> Self {
        let lanes = level.lanes();
        let row_pairs = task.width.div_ceil(2);
        let phase = (2 * row_pairs + (task.window - 1) / task.stride).next_multiple_of(2);
        // A matrix unit is filled by more than a short row.
        let run_rows = if level.has_matrix_unit() && task.stride == 1 {
            (1 + lanes.saturating_sub(row_pairs) / (phase / 2)).min(task.height)
        } else {
            1
        };
        let runs = task.height.div_ceil(run_rows);
        let pairs = (run_rows - 1) * phase / 2 + row_pairs;
        let height = task.input.padded[0] + runs * run_rows - task.height;
        let image = task.input.channels * height * task.stride * phase / 2;
        let image = image.next_multiple_of(LINE);
        let (vector, vectors) = (runs * pairs * lanes, task.outputs.div_ceil(lanes));
        let images = (BLOCK / (image + vectors * vector)).max(1);
        Self { phase, row_pairs, run_rows, runs, pairs, height, image, vector, vectors, images }
    }

    /// Floats of the images, of their gradients, and of a row before and after it is taken apart.
    fn lens(&self, task: &Task) -> [usize; 3] {
        let row = (task.stride * self.phase).next_multiple_of(LINE);
        [self.images * self.image, self.images * self.vectors * self.vector, 2 * row]
    }

    /// bf16s from a row of the image to the next.
    fn row(&self, task: &Task) -> usize {
        task.stride * self.phase
    }

    /// Pairs that row `row` of the output has in its run, and the place of the first in an image.
    fn pairs_of(&self, row: usize) -> (usize, usize) {
        let (run, row) = (row / self.run_rows, row % self.run_rows);
        let last = row + 1 == self.run_rows;
        let pairs = if last { self.row_pairs } else { self.phase / 2 };
        (pairs, run * self.pairs + row * self.phase / 2)
    }
}

/// Sums over a worker's images, `[panel, channel, row, column, vector, lane]`.
pub(super) struct Gradient<'a> {
    pub(super) task: &'a Task,
    pub(super) level: Level,
    pub(super) group: usize,
    /// Images of the worker.
    pub(super) n: usize,
    pub(super) x: &'a [f32],
    pub(super) dy: &'a [f32],
    pub(super) sums: &'a mut [f32],
    pub(super) room: &'a mut [f32],
}

impl Gradient<'_> {
    /// Floats of the sums, and of the rest of a worker's scratch memory.
    pub(super) fn lens(task: &Task, level: Level) -> [usize; 2] {
        let layout = Layout::of(task, level);
        let panels = layout.vectors.div_ceil(VECTORS);
        [panels * panel_len(task, level.lanes()), layout.lens(task).iter().sum()]
    }
}

/// Floats of the sums of a panel.
fn panel_len(task: &Task, lanes: usize) -> usize {
    task.input.channels * task.window * task.window * VECTORS * lanes
}

impl Kernel for Gradient<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { task, level, group, n, x, dy, sums, room } = self;
        let layout = Layout::of(task, level);
        let [x_len, dy_len, _] = layout.lens(task);
        let (x_room, room) = room.split_at_mut(x_len);
        let (dy_room, row) = room.split_at_mut(dy_len);
        for first in (0..n).step_by(layout.images) {
            let images = layout.images.min(n - first);
            let vector_len = images * layout.vector;
            for image in 0..images {
                let x = &x[(first + image) * task.input.len..];
                let to = &mut x_room[image * layout.image..][..layout.image];
                read_image(s, task, &layout, x, group, row, to);
                let dy = &dy[(first + image) * task.y_len..];
                let dy = &dy[group * task.outputs * task.area()..];
                read_gradients(s, task, &layout, dy, (image, images), dy_room);
            }
            for (panel, sums) in sums.chunks_exact_mut(panel_len(task, L)).enumerate() {
                let vectors = VECTORS.min(layout.vectors - panel * VECTORS);
                let b = &dy_room[panel * VECTORS * vector_len..][..vectors * vector_len];
                let x = bytemuck::cast_slice(x_room);
                multiply::<S, L>(s, task, &layout, images, x, (b, vectors), first > 0, sums);
            }
        }
    }
}

/// Rounds an image, rows taken apart into phases.
#[inline(always)]
fn read_image<S: Simd<L>, const L: usize>(
    s: S, task: &Task, layout: &Layout, x: &[f32], group: usize, room: &mut [f32],
    to: &mut [f32],
) {
    let len = layout.row(task);
    let (row, apart) = room.split_at_mut(room.len() / 2);
    let (row, apart) = (&mut row[..len], &mut apart[..len]);
    let height = layout.height;
    let rows = to.chunks_exact_mut(len / 2).take(task.input.channels * height);
    for (i, to) in rows.enumerate() {
        pad_row(&task.input, x, group, [i / height, i % height], row);
        match task.stride {
            1 => narrow(s, row, to),
            4 => {
                phases_of_4(s, row, apart);
                narrow(s, apart, to);
            }
            stride => {
                for (phase, apart) in apart.chunks_exact_mut(layout.phase).enumerate() {
                    let from = row[phase..].iter().step_by(stride);
                    apart.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
                narrow(s, apart, to);
            }
        }
    }
}

/// conv1's phases: every fourth column.
#[inline(always)]
fn phases_of_4<S: Simd<L>, const L: usize>(s: S, row: &[f32], apart: &mut [f32]) {
    let phase = row.len() / 4;
    for at in (0..phase).step_by(L) {
        let load = |i: usize| s.load_next(&row[(4 * at + i * L).min(row.len())..]);
        let [[even, odd], [more_even, more_odd]] =
            [s.split(load(0), load(1)), s.split(load(2), load(3))];
        let ([zero, two], [one, three]) = (s.split(even, more_even), s.split(odd, more_odd));
        for (i, v) in [zero, one, two, three].into_iter().enumerate() {
            s.store_next(v, &mut apart[i * phase..(i + 1) * phase][at..]);
        }
    }
}

/// Rounds one image's gradients: `[vector of two kernels' lanes, image, row, pair, lane]`, vectors of a panel
/// side by side.
#[inline(always)]
fn read_gradients<S: Simd<L>, const L: usize>(
    s: S, task: &Task, layout: &Layout, dy: &[f32], (image, images): (usize, usize),
    to: &mut [f32],
) {
    let to = to.as_chunks_mut::<L>().0;
    for vector in 0..layout.vectors {
        let panel = vector / VECTORS;
        let side_by_side = VECTORS.min(layout.vectors - panel * VECTORS);
        let panel = panel * VECTORS * images * layout.vector / L;
        let valid = (task.outputs - vector * L).min(L);
        for row in 0..layout.runs * layout.run_rows {
            let (count, first) = layout.pairs_of(row);
            let first = image * layout.vector / L + first;
            for from in (0..count).step_by(L) {
                let mut lanes = [s.zero(); L];
                if row < task.height {
                    for (lane, v) in lanes.iter_mut().take(valid).enumerate() {
                        let plane = &dy[(vector * L + lane) * task.area()..];
                        let row = &plane[row * task.width..][..task.width];
                        let left = &row[row.len().min(2 * from)..];
                        *v = neighbours(s, &left[..left.len().min(2 * L)]);
                    }
                }
                let pairs = s.transpose(lanes);
                for i in 0..L {
                    if from + i < count {
                        let at = panel + (first + from + i) * side_by_side + vector % VECTORS;
                        s.store(pairs[i], &mut to[at]);
                    }
                }
            }
        }
    }
}

/// `sums[channel, row, column, vector] (+)=` the products of `images` images.
#[inline(always)]
fn multiply<S: Simd<L>, const L: usize>(
    s: S, task: &Task, layout: &Layout, images: usize, x: &[u16],
    (b, vectors): (&[f32], usize), add: bool, sums: &mut [f32],
) {
    let (window, line) = (task.window, layout.row(task));
    let channel = layout.height * line;
    let width = VECTORS * L;
    let by_channel = task.input.channels >= CHANNELS_MIN;
    let (rows, others) = if by_channel {
        (Repeat { count: task.input.channels, stride: channel }, window)
    } else {
        (Repeat { count: window, stride: line }, task.input.channels)
    };
    for other in 0..others {
        for v in 0..window {
            // The first of these rows of the sums, and the floats to the next.
            let (start, first, next) = if by_channel {
                (other * line, other * window + v, window * window)
            } else {
                (other * channel, other * window * window + v, window)
            };
            Product {
                rows: [Repeat::ONCE, rows],
                runs: [
                    Repeat { count: images, stride: 2 * layout.image },
                    Repeat { count: layout.runs, stride: layout.run_rows * task.stride * line },
                ],
                pairs: Repeat { count: layout.pairs, stride: 2 },
                a: &x[start + v % task.stride * layout.phase + v / task.stride..],
                vectors,
                b,
                c: &mut sums[first * width..],
                c_at: Strides { row: next * width, col: L },
                add,
                next: [&[]; 2],
            }
            .run(s);
        }
    }
}

/// Adds the workers' sums up and writes the panel's kernels to `dw`, which begins with the first of them.
pub(super) struct Scatter<'a> {
    pub(super) block: Kernels,
    pub(super) panel: usize,
    pub(super) sums: &'a [f32],
    pub(super) sums_len: usize,
    pub(super) dw: &'a mut [f32],
}

impl Kernel for Scatter<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd<L>, const L: usize>(self, s: S) {
        let Self { block, panel, sums, sums_len, dw } = self;
        let (width, taps) = (VECTORS * L, block.inputs * block.window * block.window);
        for tap in 0..taps {
            for vector in 0..VECTORS {
                let first = (panel * VECTORS + vector) * L;
                let at = (panel * taps + tap) * width + vector * L;
                let mut sum = s.zero();
                for (worker, sums) in sums.chunks_exact(sums_len).enumerate() {
                    let v = s.load(sums[at..].first_chunk().expect("a vector of sums"));
                    sum = if worker == 0 { v } else { s.add(sum, v) };
                }
                let mut lanes = [0.0; L];
                s.store(sum, &mut lanes);
                let valid = block.outputs.saturating_sub(first).min(L);
                for (lane, value) in lanes[..valid].iter().enumerate() {
                    dw[block.start + (vector * L + lane) * block.output + tap] = *value;
                }
            }
        }
    }
}
