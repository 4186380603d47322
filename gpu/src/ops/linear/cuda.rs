//! On a CUDA device: a product of matrices each, whose terms are split where there are few tiles.

use super::Linear;
use crate::{
    cuda::{
        launch::{Args, Launch, Ptr, Sink},
        tile::{self, Epilogue},
    },
    ops::sgd::Sgd,
};
use bytemuck::{Pod, Zeroable};

/// Sides of a tile; of the update's, the columns.
const TILE: usize = 64;
/// Rows of an update's tile.
const UPDATE_ROWS: usize = 128;
/// Columns and rows that a block of `column_sums_f32` adds up at a time.
const BIAS_BLOCK: [u32; 3] = [32, 8, 1];
/// Rows that are worth a part of their own.
const BIAS_ROWS_MIN: usize = 256;
/// Parts at most.
const BIAS_PARTS_MAX: usize = 128;

/// The twin of `LinearShape` in `linear.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    images: i32,
    inputs: i32,
    outputs: i32,
    weight_inputs: i32,
    offset: i32,
    unused: i32,
}

impl Shape {
    fn new(op: &Linear, n: usize) -> Self {
        Self {
            images: n as i32,
            inputs: op.inputs as i32,
            outputs: op.outputs as i32,
            weight_inputs: op.weight_inputs as i32,
            offset: op.weight_offset as i32,
            unused: 0,
        }
    }
}

/// Parts of a product of `n` by `columns` sums of `terms` terms.
fn parts(n: usize, columns: usize, terms: usize) -> usize {
    tile::parts(n.div_ceil(TILE) * columns.div_ceil(TILE), terms)
}

/// Bytes of the workspace that forward and backward data need, one after the other.
pub fn workspace_bytes(op: &Linear, n: usize) -> usize {
    let bytes = |columns, terms| tile::room_bytes(n, columns, 1, parts(n, columns, terms));
    bytes(op.outputs, op.inputs).max(bytes(op.inputs, op.outputs))
}

/// `y[n, k] (+)= x[n, c] w[k, offset + c]^T (+ b)`, as `to` says.
pub fn forward(
    op: &Linear, n: usize, x: Ptr, w: Ptr, to: Epilogue, workspace: Ptr, sink: Sink<'_>,
) {
    let size = (n, op.outputs, op.inputs);
    multiply("linear_forward_f32", size, [x, w], to, Shape::new(op, n), workspace, sink);
}

/// `dx[n, c] = dy[n, k] w[k, offset + c]`, overwritten.
pub fn backward_data(
    op: &Linear, n: usize, dy: Ptr, w: Ptr, dx: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    let (size, to) = ((n, op.inputs, op.outputs), Epilogue::plain(dx));
    multiply("linear_backward_data_f32", size, [dy, w], to, Shape::new(op, n), workspace, sink);
}

fn multiply(
    kernel: &'static str, (n, columns, terms): (usize, usize, usize), [left, w]: [Ptr; 2],
    to: Epilogue, shape: Shape, workspace: Ptr, sink: Sink<'_>,
) {
    let parts = parts(n, columns, terms);
    let rooms = if parts > 1 { workspace } else { Ptr::NULL };
    let finished = to.of(n, columns, 1, rooms);
    let grid = [columns.div_ceil(TILE), n.div_ceil(TILE), parts];
    let args = Args::new().with(left).with(w).with(finished).with(shape).with(parts as i32);
    sink(Launch::new(kernel, grid, tile::THREADS, args));
    if parts > 1 {
        tile::join(finished, 1, parts, sink);
    }
}

/// One step of the optimiser by the gradient `dy^T x` of this source's columns of `w`. The learning rate
/// is that of the [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `sgd`'s.
pub fn update(
    op: &Linear, n: usize, [x, dy]: [Ptr; 2], sgd: &Sgd, [v, w]: [Ptr; 2], params: Ptr,
    sink: Sink<'_>,
) {
    let args = Args::new().with(x).with(dy).with(v).with(w).with(Shape::new(op, n));
    let args = args.with(sgd.momentum).with(sgd.decay).with(params);
    let grid = [op.inputs.div_ceil(TILE), op.outputs.div_ceil(UPDATE_ROWS), 1];
    sink(Launch::new("linear_update_f32", grid, tile::THREADS, args));
}

fn bias_parts(rows: usize) -> usize {
    (rows / BIAS_ROWS_MIN).clamp(1, BIAS_PARTS_MAX)
}

/// Bytes of the workspace that [`bias_backward`] needs.
pub fn bias_workspace_bytes(n: usize, k: usize, area: usize) -> usize {
    bias_parts(n * area) * k * size_of::<f32>()
}

/// `db[k] = sum over n and area of dy[n, area, k]`, overwritten. Linear layers have area 1.
pub fn bias_backward(
    n: usize, k: usize, area: usize, dy: Ptr, db: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    let (rows, parts) = (n * area, bias_parts(n * area));
    let args = Args::new().with(dy).with(workspace).with(rows as u64).with(k as i32);
    let grid = [k.div_ceil(BIAS_BLOCK[0] as usize), parts, 1];
    sink(Launch::new("column_sums_f32", grid, BIAS_BLOCK, args));
    tile::join(Epilogue::plain(db).of(1, k, 1, workspace), 1, parts, sink);
}
