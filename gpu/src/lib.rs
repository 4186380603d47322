//! Devices and the ops of the network on them: each op has its formula, its slow f64 reference and
//! its fast versions in one room under [`ops`]. Nothing here knows the network, threads of the
//! trainer or the pipeline.
//!
//! A device is a [`cpu::Cpu`] or a [`cuda::Cuda`], and what both can do is the trait [`device::Device`]: make
//! buffers, bring numbers there and back, compute ops. `examples/conv.rs` is a convolution, forward and backward, on either.

pub mod ops;
pub mod device;
pub mod cpu;
pub mod cuda;
pub mod random;
#[cfg(test)]
mod testing;
