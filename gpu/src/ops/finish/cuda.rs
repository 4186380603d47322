//! On a CUDA device: one kernel forward; backward, one for the maxima, one for the gradient, two for the bias.

use super::Finish;
use crate::{
    cuda::launch::{Args, Launch, Ptr, Sink},
    device::Activation,
    ops::{activation::cuda as activation, linear::cuda as linear},
};
use bytemuck::{Pod, Zeroable};

/// Threads of a pixel, and pixels of a block: `PIXELS` of `finish.cu`.
const BLOCK: [u32; 3] = [32, 8, 1];
/// What a launch may have without being asked for more, in bytes.
const SHARED_BYTES_MAX: usize = 48 << 10;
/// The workspace's parts begin at multiples of this.
const ALIGNMENT: usize = 256;

/// The twin of `FinishShape` in `finish.cu`.
#[derive(Debug, Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Shape {
    images: i32,
    height: i32,
    width: i32,
    channels: i32,
    activation: i32,
    lrn_size: i32,
    lrn_group: i32,
    alpha: f32,
    beta: f32,
    k: f32,
    factor: f32,
    window: i32,
    stride: i32,
    out_height: i32,
    out_width: i32,
    unused: i32,
}

impl Shape {
    fn new(op: &Finish, n: usize) -> Self {
        op.check();
        let mut shape = Self {
            images: n as i32,
            height: 1,
            width: op.area as i32,
            channels: op.channels as i32,
            activation: activation::code(op.activation),
            ..Self::default()
        };
        if let Some(lrn) = &op.lrn {
            shape.lrn_size = lrn.size as i32;
            shape.lrn_group = (lrn.channels / lrn.groups) as i32;
            (shape.alpha, shape.beta, shape.k) = (lrn.alpha, lrn.beta, lrn.k);
            shape.factor = 2.0 * lrn.alpha * lrn.beta;
        }
        if let Some(pool) = &op.pool {
            (shape.height, shape.width) = (pool.height as i32, pool.width as i32);
            (shape.window, shape.stride) = (pool.window as i32, pool.stride as i32);
            shape.out_height = pool.out_height() as i32;
            shape.out_width = pool.out_width() as i32;
        }
        shape
    }
}

/// `out = pool(lrn(f(y)))`; where there is neither, `y = f(y)` and no `out`. Products that were clipped
/// already ([`Epilogue::relu`](crate::cuda::tile::Epilogue)) need no call then.
pub fn forward(op: &Finish, n: usize, y: Ptr, out: Option<Ptr>, sink: Sink<'_>) {
    if op.in_place() || op.activation == Activation::Tanh {
        activation::forward(op.activation, n * op.y_len(), y, sink);
    }
    let Some(out) = out.filter(|_| !op.in_place()) else {
        return;
    };
    let args = Args::new().with(y).with(out).with(Shape::new(op, n));
    sink(Launch::each("finish_forward_f32", n * op.out_len(), 256, args));
}

/// Bytes of the maxima of the pooling, if any.
fn taps_bytes(op: &Finish, n: usize) -> usize {
    op.pool.map_or(0, |_| (n * op.out_len()).next_multiple_of(ALIGNMENT))
}

/// Bytes of the workspace that [`backward`] needs.
pub fn workspace_bytes(op: &Finish, n: usize) -> usize {
    taps_bytes(op, n) + linear::bias_workspace_bytes(n, op.channels, op.area)
}

/// `y` becomes the gradient of the product and `db`, overwritten, that of the bias, from `d`, the gradient of
/// what was handed on.
///
/// # Panics
/// If LRN goes over more channels than shared memory holds.
pub fn backward(
    op: &Finish, n: usize, d: Ptr, y: Ptr, db: Ptr, workspace: Ptr, sink: Sink<'_>,
) {
    let (shape, rooms) = (Shape::new(op, n), workspace.offset::<u8>(taps_bytes(op, n)));
    if op.pool.is_some() {
        let args = Args::new().with(y).with(workspace).with(shape);
        sink(Launch::each("pool_taps_f32", n * op.out_len(), 256, args));
    }
    let pixels = BLOCK[1] as usize;
    let floats = if op.lrn.is_some() { 2 * pixels * op.channels } else { 0 };
    let shared = floats * size_of::<f32>();
    assert!(shared <= SHARED_BYTES_MAX, "LRN over {} channels", op.channels);
    let args = Args::new().with(d).with(workspace).with(y).with(shape);
    let grid = [(n * op.area).div_ceil(pixels), 1, 1];
    sink(Launch::new("finish_backward_f32", grid, BLOCK, args).with_shared(shared as u32));
    linear::bias_backward(n, op.channels, op.area, y, db, rooms, sink);
}
