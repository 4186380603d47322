//! Direct convolution of bf16 numbers, summed in `f32`: windows are read where they lie.
//!
//! Two terms of a sum are one step. Forward they are two channels, in an image of pixels with all their
//! channels side by side; where there are few channels, as in conv1, two columns of the window, in an image of squares as
//! large as the stride, which lie as pixels of many channels do. For the gradient of the weights they are two columns of
//! the output. Each worker takes a share of the images.

mod image;
mod forward;
mod gradient;

use super::{super::Conv, winograd::Kernels};
use crate::cpu::{LINE, Pool, Scratch};
use forward::{Forward, PackWeights};
use gradient::{Gradient, Scatter};
use image::{Image, Pairs};

/// Vectors of kernels that a tile makes at once.
const VECTORS: usize = 2;

/// Whether [`forward()`] and [`backward_weight`] can do `op`: no window is all padding.
pub(super) fn fits(op: &Conv) -> bool {
    op.pad_before.max(op.pad_after) < op.window
}

/// Whether [`backward_data`] can do `op`, too.
pub(super) fn fits_backward(op: &Conv) -> bool {
    fits(op) && op.stride == 1
}

/// A convolution as one group sees it.
#[derive(Debug, Clone, Copy)]
struct Task {
    input: Image,
    /// Kernels, and their planes' sides.
    outputs: usize,
    height: usize,
    width: usize,
    /// Floats of an output image, all groups.
    y_len: usize,
    stride: usize,
    window: usize,
    block: Kernels,
    groups: usize,
    /// From a group's weights to the next's.
    group: usize,
}

impl Task {
    fn forward(op: &Conv) -> Self {
        let square = op.window * op.window;
        let row = op.weight_channels * square;
        let (channels, kernels) = (op.channels / op.groups, op.kernels / op.groups);
        let reach = |out: usize| op.stride * (out - 1) + op.window;
        Self {
            input: Image {
                channels,
                sides: [op.height, op.width],
                pad: op.pad_before,
                padded: [op.out_height(), op.out_width()].map(reach),
                len: op.x_len(),
            },
            outputs: kernels,
            height: op.out_height(),
            width: op.out_width(),
            y_len: op.y_len(),
            stride: op.stride,
            window: op.window,
            block: Kernels {
                start: op.weight_offset * square,
                output: row,
                input: square,
                outputs: kernels,
                inputs: channels,
                window: op.window,
                step: 1,
                turned: false,
            },
            groups: op.groups,
            group: kernels * row,
        }
    }

    /// `dx` from `dy`.
    fn backward_data(op: &Conv) -> Self {
        let there = Self::forward(op);
        Self {
            input: Image {
                channels: there.outputs,
                sides: [there.height, there.width],
                pad: op.window - 1 - op.pad_before,
                padded: [op.height, op.width].map(|side| side + op.window - 1),
                len: op.y_len(),
            },
            outputs: there.input.channels,
            height: op.height,
            width: op.width,
            y_len: op.x_len(),
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

    /// The weights of group `group`.
    fn block(&self, group: usize) -> Kernels {
        Kernels { start: self.block.start + group * self.group, ..self.block }
    }

    fn area(&self) -> usize {
        self.height * self.width
    }
}

pub(super) fn forward(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], w: &[f32],
    b: Option<&[f32]>, accumulate: bool, y: &mut [f32],
) {
    convolve(pool, scratch, &Task::forward(op), n, x, w, (b, accumulate), y);
}

pub(super) fn backward_data(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, dy: &[f32], w: &[f32],
    dx: &mut [f32],
) {
    convolve(pool, scratch, &Task::backward_data(op), n, dy, w, (None, false), dx);
}

fn convolve(
    pool: &Pool, scratch: &mut Scratch, task: &Task, n: usize, x: &[f32], w: &[f32],
    (bias, add): (Option<&[f32]>, bool), y: &mut [f32],
) {
    let (level, lanes, share) = (pool.level(), pool.level().lanes(), pool.share(n));
    let pairs = Pairs::of(&task.input, task.window, task.stride, level);
    let panel_len = pairs.steps() * VECTORS * lanes;
    let panels = task.outputs.div_ceil(VECTORS * lanes);
    let room_len = Forward::room_len(task, &pairs, lanes);
    let scratch = scratch.take(panels * panel_len + pool.threads() * room_len);
    let (packed, rooms) = scratch.split_at_mut(panels * panel_len);
    for group in 0..task.groups {
        let block = task.block(group);
        pool.chunks(packed, panel_len, |panel, packed| {
            level.run_pairs(PackWeights { block, pairs, panel, w, packed });
        });
        let y = (&mut y[..n * task.y_len], share * task.y_len);
        pool.zip_chunks(y, (&mut *rooms, room_len), |part, y, room| {
            let x = &x[part * share * task.input.len..];
            level.run_pairs(Forward { task, pairs, group, x, packed, bias, add, y, room });
        });
    }
}

pub(super) fn backward_weight(
    pool: &Pool, scratch: &mut Scratch, op: &Conv, n: usize, x: &[f32], dy: &[f32],
    dw: &mut [f32],
) {
    let (level, lanes, share) = (pool.level(), pool.level().lanes(), pool.share(n));
    let task = &Task::forward(op);
    let [sums_len, room_len] = Gradient::lens(task, level);
    // Each worker sums over its own images; the sums are added in the workers' order.
    let scratch = scratch.take(pool.threads() * (sums_len + room_len));
    let (sums, rooms) = scratch.split_at_mut(pool.threads() * sums_len);
    let sums = &mut sums[..n.div_ceil(share) * sums_len];
    for group in 0..task.groups {
        pool.zip_chunks((&mut *sums, sums_len), (&mut *rooms, room_len), |part, sums, room| {
            let n = share.min(n - part * share);
            let x = &x[part * share * task.input.len..];
            let dy = &dy[part * share * task.y_len..];
            level.run_pairs(Gradient { task, level, group, n, x, dy, sums, room });
        });
        let first = group * task.group;
        let sums = &*sums;
        let (dw, width) = (&mut dw[first..first + task.group], VECTORS * lanes);
        pool.chunks(dw, width * task.block.output, |panel, dw| {
            level.run_pairs(Scatter { block: task.block, panel, sums, sums_len, dw });
        });
    }
}
