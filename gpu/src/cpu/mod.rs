//! The CPU device: its own workers and memory, and the `cpu` version of every op.

#[cfg(target_arch = "x86_64")]
mod amx;
mod cores;
mod device;
pub mod peak;
pub(crate) mod gemm;
pub(crate) mod gemm_pairs;
mod memory;
pub(crate) mod pairs;
mod pool;
mod scratch;
pub(crate) mod simd;
pub(crate) mod tile;
pub(crate) mod vector;

pub use cores::Cores;
pub use device::{Buffer, Cpu, Slot};
pub use pool::Pool;
pub(crate) use scratch::Scratch;
pub use simd::{Level, NoSuchLevel};

/// Floats of a cache line: what vectors should not straddle, and what keeps rows of a block out of the same sets of the cache.
pub(crate) const LINE: usize = 64 / size_of::<f32>();
