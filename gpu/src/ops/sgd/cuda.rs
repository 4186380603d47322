//! On a CUDA device: a thread per weight.

use super::Sgd;
use crate::cuda::launch::{Args, Launch, Ptr, Sink};

/// One step on `len` weights by the gradients `g`. The learning rate is that of the
/// [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `op`'s.
pub fn step(op: &Sgd, len: usize, g: Ptr, v: Ptr, w: Ptr, params: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(g).with(v).with(w).with(len as u64);
    let args = args.with(op.momentum).with(op.decay).with(params);
    sink(Launch::each("sgd_f32", len, 256, args));
}
