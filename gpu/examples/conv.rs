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
const N: usize = 8;

/// y, dw and dx of ones and weights of 0.01, where the loss is the sum of y / 1000.
fn convolve(device: &mut impl Device) -> Result<[Vec<f32>; 3], DeviceError> {
    let (area, x_len, y_len) = (OP.height * OP.width, N * OP.x_len(), N * OP.y_len());
    let layout = RowLayout { blocks: 1, channels: OP.channels, pixels: OP.window * OP.window };
    device.reserve(&Demand { batch: N, convs: vec![OP], ..Demand::default() })?;
    let (mut x, mut y) = (device.activations(x_len)?, device.activations(y_len)?);
    let (mut w, mut dw) = (device.factors(OP.w_len())?, device.zeros(OP.w_len())?);
    let b = device.zeros(OP.kernels)?;
    let mut of_host = [vec![0.0; y_len], vec![0.0; OP.w_len()], vec![0.0; x_len]];
    device.upload_channels(OP.channels, area, &mut x, &vec![1.0; x_len]);
    device.upload_rows(layout, &mut w, &vec![0.01; OP.w_len()]);
    device.conv_forward(&OP, N, Input::Buffer(&x), &w, Sums::with(&b), &mut y);
    device.download_channels(OP.kernels, area, &y, &mut of_host[0]);
    device.upload_channels(OP.kernels, area, &mut y, &vec![0.001; y_len]); // it is dy now
    device.conv_backward_weight(&OP, N, Input::Buffer(&x), &y, &mut dw);
    device.conv_backward_data(&OP, N, &y, &w, &mut x); // and x is dx
    device.download_rows(layout, &dw, &mut of_host[1]);
    device.download_channels(OP.channels, area, &x, &mut of_host[2]);
    device.progress()?; // whatever went wrong before is told here
    Ok(of_host)
}

/// Runs it, and holds the middle of a picture and a kernel's first weight to what they must be.
fn show(mut device: impl Device) -> Result<(), DeviceError> {
    let [y, dw, dx] = convolve(&mut device)?;
    let middle = OP.height / 2 * OP.width + OP.width / 2;
    let [y, dw, dx] = [y[middle], dw[0], dx[middle]];
    println!("{}: y = {y}, dw = {dw}, dx = {dx}", device.describe());
    let terms = |count: usize| count as f32;
    let taps = OP.window * OP.window;
    let first_tap = N * (OP.height - OP.pad_before) * (OP.width - OP.pad_before);
    let wanted = [
        0.01 * terms(OP.channels * taps),
        0.001 * terms(first_tap),
        0.01 * 0.001 * terms(OP.kernels * taps),
    ];
    for (found, wanted) in [y, dw, dx].into_iter().zip(wanted) {
        assert!((found / wanted - 1.0).abs() < 1e-4, "{found} for {wanted}");
    }
    Ok(())
}

fn main() -> Result<(), DeviceError> {
    match probe() {
        Ok(found) => show(Cuda::open(&found, 0)?),
        Err(_) => show(Cpu::new("cpu", 2)?),
    }
}

#[test]
fn y_dw_and_dx_are_as_they_must_be() {
    main().expect("a device");
}
