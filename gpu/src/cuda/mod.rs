//! What CUDA devices run: launches of the kernels that lie beside their ops.
//!
//! An op's `cuda.rs` is pure: it turns shapes and addresses into [`launch::Launch`] values and hands
//! each to a sink. A device puts them on a stream; the tests run them on the CPU.
//!
//! Layouts on a CUDA device: activations `[n, h, w, c]`, weights of convolutions `[k, r, s, c]`,
//! weights of linear layers `[k, c]`, with `c` in the order in which activations lie. Only pictures
//! are `[n, c, h, w]`, as the pipeline writes them.

pub mod probe;
pub mod launch;
pub mod layout;
pub mod numbers;
pub mod tile;
pub mod images;
pub mod libraries;
mod context;
mod memory;
mod module;
mod graph;
mod queues;
mod timeline;
mod parcel;
mod buffer;
mod batch;
mod setup;
mod board;
mod steps;
mod operands;
mod device;
mod measure;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod costs;
#[cfg(test)]
mod seeded;

pub use board::Cuda;
pub use buffer::Buffer;
pub use memory::{Pinned, pin_limit_bytes};
pub use numbers::Numbers;
pub use parcel::Parcel;
pub use setup::Setup;
