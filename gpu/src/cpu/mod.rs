//! The CPU device.

mod pool;

pub use pool::Pool;
