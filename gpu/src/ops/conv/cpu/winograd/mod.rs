//! Winograd's minimal filtering with eight points a side: F(4x4, 5x5) and F(6x6, 3x3) forward and for
//! the gradient of the input, F(5x5, 4x4) and F(3x3, 6x6) for the gradient of the weights.
//!
//! A tile of `m` by `m` outputs takes 64 multiplications instead of `m^2 r^2`: 6.25 times fewer for
//! 5x5 windows, 5.06 times for 3x3. At each of the 64 points, tiles times channels times kernels is a
//! matrix product. A step of 2 or 4 is taken apart into phases, see [`planes::Planes`]: conv1's 11x11
//! windows with step 4 over 3 channels are 3x3 windows over 48.

mod transform;
mod sheet;
mod planes;
mod points;
mod weights;
mod rooms;
mod forward;
mod gradient;

use super::Conv;
use crate::cpu::{Level, Pool, Scratch};
use planes::Planes;
use points::SQUARE;
use rooms::Rooms;
use sheet::Sheets;
use transform::POINTS;
pub(super) use weights::Kernels;
use weights::{Evaluate, Interpolate};

/// Whether so many floats, and what is read and written beside them, mostly stay in the second-level cache of a CPU with a
/// matrix unit.
fn stay_near(level: Level, floats: usize) -> bool {
    level.has_matrix_unit() && floats * size_of::<f32>() <= Level::NEAR_BYTES
}

/// Tiles at once: few enough for the second- and third-level cache, many enough that reading the
/// `weights_len` weights at the points is worth it. The best of those that were measured, here and below.
fn tiles(level: Level, weights_len: usize) -> usize {
    if stay_near(level, weights_len) { 32 } else { 49 }
}

/// The same for the gradient of the weights, whose `sums_len` sums are read and written once in as many, at little cost
/// where they stay near. It decides how they are rounded.
fn gradient_tiles(level: Level, sums_len: usize) -> usize {
    if stay_near(level, sums_len) {
        36
    } else if level.has_matrix_unit() {
        64
    } else {
        98
    }
}

/// Side of the window in steps, rounded up.
fn window(op: &Conv) -> usize {
    op.window.div_ceil(op.stride)
}

/// Whether [`forward()`] and [`backward_weight`] can do `op`.
pub(super) fn fits(op: &Conv) -> bool {
    matches!(window(op), 3 | 5) && matches!(op.stride, 1 | 2 | 4)
}

/// Whether [`backward_data`] can do `op`, too.
pub(super) fn fits_backward(op: &Conv) -> bool {
    fits(op) && op.stride == 1 && op.pad_before.max(op.pad_after) < op.window
}

/// A convolution as its groups see it.
struct Task {
    sheets: Sheets,
    input: Planes,
    output: Planes,
    block: Kernels,
    groups: usize,
    /// From a group's weights to the next's.
    group: usize,
    n: usize,
}

impl Task {
    /// `y` from `x`, for shares of `share` of `n` images.
    fn forward(op: &Conv, n: usize, share: usize) -> Self {
        let (step, r, square) = (op.stride, window(op), op.window * op.window);
        let (channels, kernels) = (op.channels / op.groups, op.kernels / op.groups);
        let output = [op.out_height(), op.out_width()];
        let sides = [op.height, op.width];
        // With phases, padding is part of the image; what no window reaches is not.
        let (pads, input) = match step {
            1 => ([op.pad_before, op.pad_after], sides),
            _ => ([0, 0], output.map(|side| side + r - 1)),
        };
        let planes = |image, count, sides, step| Planes {
            image,
            first: 0,
            count,
            sides,
            step,
            pad: op.pad_before,
        };
        let row = op.weight_channels * square;
        Self {
            sheets: Sheets::new(share, POINTS + 1 - r, pads, input, output),
            input: planes(op.x_len(), channels, sides, step),
            output: planes(op.y_len(), kernels, output, 1),
            block: Kernels {
                start: op.weight_offset * square,
                output: row,
                input: square,
                outputs: kernels,
                inputs: channels * step * step,
                window: op.window,
                step,
                turned: false,
            },
            groups: op.groups,
            group: kernels * row,
            n,
        }
    }

    /// `dx` from `dy`.
    fn backward_data(op: &Conv, n: usize, share: usize) -> Self {
        let there = Self::forward(op, n, share);
        let pads = [op.pad_before, op.pad_after].map(|pad| op.window - 1 - pad);
        let (input, output) = (there.output, there.input);
        Self {
            sheets: Sheets::new(share, there.sheets.tile, pads, input.sides, output.sides),
            input,
            output,
            block: Kernels {
                output: there.block.input,
                input: there.block.output,
                outputs: there.block.inputs,
                inputs: there.block.outputs,
                turned: true,
                ..there.block
            },
            ..there
        }
    }

    /// The planes and weights of group `group`.
    fn of_group(&self, group: usize) -> (Planes, Planes, Kernels) {
        let planes = |planes: Planes| Planes { first: group * planes.count, ..planes };
        let block = Kernels { start: self.block.start + group * self.group, ..self.block };
        (planes(self.input), planes(self.output), block)
    }
}

pub(super) fn forward(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], w: &[f32],
    b: Option<&[f32]>, accumulate: bool, y: &mut [f32],
) {
    let task = Task::forward(op, n, pool.share(n));
    match window(op) {
        3 => convolve::<6, 3>(pool, scratch, &task, x, w, (b, accumulate), y),
        _ => convolve::<4, 5>(pool, scratch, &task, x, w, (b, accumulate), y),
    }
}

pub(super) fn backward_data(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, dy: &[f32], w: &[f32],
    dx: &mut [f32],
) {
    let task = Task::backward_data(op, n, pool.share(n));
    match window(op) {
        3 => convolve::<6, 3>(pool, scratch, &task, dy, w, (None, false), dx),
        _ => convolve::<4, 5>(pool, scratch, &task, dy, w, (None, false), dx),
    }
}

pub(super) fn backward_weight(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], dy: &[f32],
    dw: &mut [f32],
) {
    let task = Task::forward(op, n, pool.share(n));
    match window(op) {
        3 => correlate::<6, 3>(pool, scratch, &task, x, dy, dw),
        _ => correlate::<4, 5>(pool, scratch, &task, x, dy, dw),
    }
}

/// Images of worker `part`.
fn images(pool: &Pool, n: usize, part: usize) -> usize {
    pool.share(n).min(n.saturating_sub(part * pool.share(n)))
}

fn convolve<const M: usize, const R: usize>(
    pool: &Pool, scratch: &mut Scratch, task: &Task, x: &[f32], w: &[f32],
    (bias, add): (Option<&[f32]>, bool), y: &mut [f32],
) {
    let (level, lanes, share) = (pool.level(), pool.level().lanes(), pool.share(task.n));
    let channels = [task.block.inputs, task.block.outputs];
    let vector_len = SQUARE * task.block.inputs * lanes;
    let weights_len = task.block.outputs.div_ceil(lanes) * vector_len;
    let rooms = Rooms::new(&task.sheets, lanes, channels, tiles(level, weights_len));
    let u_len = weights_len.next_multiple_of(16);
    let scratch = scratch.take(u_len + pool.threads() * rooms.forward_len());
    let (u, scratch) = scratch.split_at_mut(u_len);
    for group in 0..task.groups {
        let (input, output, block) = task.of_group(group);
        pool.chunks(&mut u[..weights_len], vector_len, |vector, u| {
            level.run(Evaluate::<R> { block, vector, w, u });
        });
        let y = (&mut y[..task.n * output.image], share * output.image);
        pool.zip_chunks(y, (&mut *scratch, rooms.forward_len()), |part, y, scratch| {
            let sheets = task.sheets.with(images(pool, task.n, part));
            let x = &x[part * share * input.image..];
            level.run(forward::Forward::<M> {
                sheets,
                input,
                output,
                x,
                u,
                bias,
                add,
                y,
                rooms,
                scratch,
            });
        });
    }
}

fn correlate<const M: usize, const R: usize>(
    pool: &Pool, scratch: &mut Scratch, task: &Task, x: &[f32], dy: &[f32], dw: &mut [f32],
) {
    let (level, lanes, share) = (pool.level(), pool.level().lanes(), pool.share(task.n));
    let channels = [task.block.inputs, task.block.outputs];
    let width = task.block.outputs.next_multiple_of(lanes);
    let point_len = task.block.inputs * width;
    let sums_len = SQUARE * point_len;
    let rooms = Rooms::new(&task.sheets, lanes, channels, gradient_tiles(level, sums_len));
    let room_len = rooms.gradient_len();
    let scratch = scratch.take(sums_len + pool.threads() * room_len);
    let (sums, scratch) = scratch.split_at_mut(sums_len);
    let parts = task.n.div_ceil(share);
    let scratch = &mut scratch[..parts * room_len];
    let sheets = |part| task.sheets.with(images(pool, task.n, part));
    for group in 0..task.groups {
        let (input, output, block) = task.of_group(group);
        // The first worker's share is the longest.
        let rounds = (0..).take_while(|round| sheets(0).block(*round, rooms.tiles).is_some());
        for round in rounds {
            let block = |part| sheets(part).block(round, rooms.tiles);
            pool.chunks(scratch, room_len, |part, scratch| {
                if let Some(block) = block(part) {
                    let (x, dy) =
                        (&x[part * share * input.image..], &dy[part * share * output.image..]);
                    let sheets = sheets(part);
                    level.run(gradient::Gather::<M> {
                        sheets,
                        input,
                        output,
                        x,
                        dy,
                        block,
                        rooms,
                        scratch,
                    });
                }
            });
            let gathered = &*scratch;
            pool.chunks(sums, point_len, |point, sums| {
                for (part, gathered) in gathered.chunks_exact(room_len).enumerate() {
                    if let Some(block) = block(part) {
                        let [input, gradient] = rooms.at_point(gathered, point);
                        level.run(gradient::Sum {
                            channels: task.block.inputs,
                            tiles: block.tiles,
                            rooms,
                            input,
                            gradient,
                            add: round + part > 0,
                            sums: &mut *sums,
                        });
                    }
                }
            });
        }
        let first = group * task.group;
        let dw = &mut dw[first..first + task.group];
        pool.chunks(dw, lanes * block.output, |vector, dw| {
            let block = Kernels { start: task.block.start, ..block };
            level.run(Interpolate::<R> { block, vector, sums, width, dw });
        });
    }
}
