//! The CPU device.

mod pool;
mod gemm;

pub use pool::Pool;
