//! On a CUDA device: a thread per number.

use crate::{
    cuda::launch::{Args, Launch, Ptr, Sink},
    device::Activation,
};

/// `Activation` of `activation.cuh`.
pub(crate) const fn code(activation: Activation) -> i32 {
    match activation {
        Activation::Relu => 0,
        Activation::Tanh => 1,
        Activation::None => 2,
    }
}

/// `y = f(y)` over `len` floats.
pub fn forward(activation: Activation, len: usize, y: Ptr, sink: Sink<'_>) {
    if activation != Activation::None {
        let args = Args::new().with(y).with(len as u64).with(code(activation));
        sink(Launch::each("activation_f32", len, 256, args));
    }
}

/// `y += x` over `len` floats.
pub fn add(len: usize, x: Ptr, y: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(x).with(y).with(len as u64);
    sink(Launch::each("add_f32", len, 256, args));
}
