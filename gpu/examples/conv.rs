//! A 2D convolution, forward and backward, on the first GPU or, where there is none, on the CPU:
//! `cargo run --release -p gpu --example conv`. Activations are `[n, channels, h * w]`, weights
//! `[kernels, channels, window^2]`; a device keeps them as it likes.

#![expect(clippy::print_stdout, reason = "it is an example")]

use gpu::cuda::{Cuda, probe::probe};
use gpu::device::{Demand, Device, DeviceError, Input, RowLayout, Sums};
use gpu::{cpu::Cpu, ops::conv::Conv};

#[rustfmt::skip]
const OP: Conv = Conv {
    channels: 48, height: 27, width: 27, kernels: 128, window: 5, stride: 1, pad_before: 2,
    pad_after: 2, groups: 1, weight_channels: 48, weight_offset: 0, by: None,
};

fn convolve(mut device: impl Device, n: usize) -> Result<(), DeviceError> {
    let layout = RowLayout { blocks: 1, channels: OP.channels, pixels: OP.window * OP.window };
    let area = OP.height * OP.width;
    device.reserve(&Demand { batch: n, convs: vec![OP], ..Demand::default() })?;
    let mut x = device.activations(n * OP.x_len())?;
    let mut y = device.activations(n * OP.y_len())?;
    let (mut w, mut dw) = (device.factors(OP.w_len())?, device.zeros(OP.w_len())?);
    device.upload_channels(OP.channels, area, &mut x, &vec![1.0; n * OP.x_len()]);
    device.upload_rows(layout, &mut w, &vec![0.01; OP.w_len()]);
    let b = device.zeros(OP.kernels)?;
    device.conv_forward(&OP, n, Input::Buffer(&x), &w, Sums::with(&b), &mut y);
    let mut out = vec![0.0; n * OP.y_len()];
    device.download_channels(OP.kernels, area, &y, &mut out);
    // The loss is the sum of y / 1000, say: then dy is this everywhere.
    device.upload_channels(OP.kernels, area, &mut y, &vec![0.001; n * OP.y_len()]);
    device.conv_backward_weight(&OP, n, Input::Buffer(&x), &y, &mut dw);
    device.conv_backward_data(&OP, n, &y, &w, &mut x); // x becomes dx
    let (mut gradient, mut dx) = (vec![0.0; OP.w_len()], vec![0.0; n * OP.x_len()]);
    device.download_rows(layout, &dw, &mut gradient);
    device.download_channels(OP.channels, area, &x, &mut dx);
    device.progress()?; // whatever went wrong before is told here
    let at = OP.x_len() / 2;
    println!("{}: y = {}, dw = {}, dx = {}", device.describe(), out[at], gradient[12], dx[at]);
    Ok(())
}

fn main() -> Result<(), DeviceError> {
    match probe() {
        Ok(found) => convolve(Cuda::open(&found, 0)?, 8),
        Err(_) => convolve(Cpu::new("cpu", 2)?, 8),
    }
}
