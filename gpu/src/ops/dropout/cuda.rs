//! On a CUDA device: a thread per Philox call, which makes four units' words.

use super::Dropout;
use crate::cuda::launch::{Args, Launch, Ptr, Sink};
use bytemuck::{Pod, Zeroable};

/// The twin of `Mask` in `dropout.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Mask {
    threshold: u64,
    key: [u32; 2],
    rows: i32,
    units: i32,
    first_unit: i32,
    unused: i32,
}

/// Zeroes the dropped units of `y[n, units]`. The step is that of the
/// [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `op`'s.
pub fn apply(op: &Dropout, n: usize, y: Ptr, params: Ptr, sink: Sink<'_>) {
    let mask = Mask {
        threshold: op.threshold(),
        key: [op.seed as u32, (op.seed >> 32) as u32 ^ op.layer],
        rows: n as i32,
        units: op.units as i32,
        first_unit: op.first_unit as i32,
        unused: 0,
    };
    let groups = (op.first_unit + op.units).div_ceil(4) - op.first_unit / 4;
    let args = Args::new().with(y).with(mask).with(params);
    sink(Launch::each("dropout_f32", n * groups, 256, args));
}

/// `y *= factor` over `len` floats: dropout at test time.
pub fn scale(factor: f32, len: usize, y: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(y).with(len as u64).with(factor);
    sink(Launch::each("scale_f32", len, 256, args));
}
