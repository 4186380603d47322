//! Devices and the ops of the network on them: each op has its formula, its slow f64 reference and
//! its fast versions in one room under [`ops`]. Nothing here knows the network, threads of the
//! trainer or the pipeline.
//!
//! A device is a [`cpu::Cpu`] or a [`cuda::Cuda`], and what both can do is the trait [`device::Device`]: make
//! buffers, bring numbers there and back, compute ops. A convolution, forward and backward, of 8 images of 3 channels:
//!
//! ```
//! use gpu::{cpu::Cpu, device::{Demand, Device, Input, RowLayout, Sums}, ops::conv::Conv};
//!
//! let op = Conv { channels: 3, height: 32, width: 32, kernels: 64, window: 5, stride: 1, pad_before: 2, pad_after: 2,
//!     groups: 1, weight_channels: 3, weight_offset: 0, by: None };
//! let mut device = Cpu::new("example", 2)?; // on a GPU: `Cuda::open(&probe()?, 0)?`
//! device.reserve(&Demand { batch: 8, convs: vec![op], ..Demand::default() })?;
//! let (mut x, mut y) = (device.activations(8 * op.x_len())?, device.activations(8 * op.y_len())?);
//! let (mut w, mut dw) = (device.factors(op.w_len())?, device.zeros(op.w_len())?);
//! let (b, layout) = (device.zeros(op.kernels)?, RowLayout { blocks: 1, channels: 3, pixels: 25 });
//! device.upload_channels(3, 32 * 32, &mut x, &vec![1.0; 8 * op.x_len()]);
//! device.upload_rows(layout, &mut w, &vec![0.01; op.w_len()]);
//! device.conv_forward(&op, 8, Input::Buffer(&x), &w, Sums::with(&b), &mut y);
//! device.conv_backward_weight(&op, 8, Input::Buffer(&x), &y, &mut dw); // of half the sum of squares: dy is y
//! device.conv_backward_data(&op, 8, &y, &w, &mut x); // and x is dx
//! let mut dx = vec![0.0; 8 * op.x_len()];
//! device.download_channels(3, 32 * 32, &x, &mut dx);
//! device.progress()?; // whatever went wrong before is told here
//! assert!((dx[16 * 32 + 16] - 0.75 * 0.01 * 64.0 * 25.0).abs() < 1e-3);
//! # Ok::<(), gpu::device::DeviceError>(())
//! ```
//!
//! `examples/conv.rs` is another one, on the first GPU or else on the CPU.

pub mod ops;
pub mod device;
pub mod cpu;
pub mod cuda;
pub mod random;
#[cfg(test)]
mod testing;
