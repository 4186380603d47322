//! The ops of the network, one room each: formula, shapes, configuration, f64 reference, CPU version.
//!
//! Letters: `n` batch, `c` input channels, `h`, `w` height and width, `k` kernels (output channels or
//! units), `r` the side of a window, `oh`, `ow` output height and width. Layout `[n, c, h, w]`,
//! row major, `f32`; weights as PyTorch's: `[k, c / groups, r, r]` and `[k, c]`.

mod dtype;
pub mod conv;
pub mod activation;
pub mod lrn;
pub mod pool;
pub mod finish;
pub mod linear;
pub mod dropout;
pub mod softmax;
pub mod sgd;

pub use dtype::Dtype;
