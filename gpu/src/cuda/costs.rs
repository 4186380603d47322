//! What the kernels' accesses to memory cost, counted by the emulation at shapes like those of 2012 but
//! smaller: sectors fetched per sector needed, and cycles of shared memory per cycle needed. No device has
//! measured either; a number that grows is a regression all the same.

use super::{
    launch::{Ptr, StepParams},
    numbers::{self, Numbers},
    testing::{Emulated, emulation},
    tile::{Epilogue, Tile, Tiled},
};
use crate::{
    device::Activation,
    ops::{
        Dtype, activation,
        conv::{self, Conv, cuda::Input},
        dropout::{self, Dropout},
        finish::{self, Finish},
        linear::{self, Linear},
        lrn::Lrn,
        pool::MaxPool,
        sgd::{self, Sgd},
        softmax::{self, cuda::RowScore},
    },
    testing::noise,
};
use hostemu::How;

/// Kernel, sectors per needed sector, and cycles of shared memory per needed cycle, at most.
const LIMITS: [(&str, f64, f64); 116] = [
    ("activation_bf16", 1.00, 0.00),
    ("activation_f16", 1.00, 0.00),
    ("activation_f32", 1.00, 0.00),
    ("add_bf16", 1.00, 0.00),
    ("add_f16", 1.00, 0.00),
    ("add_f32", 1.00, 0.00),
    ("column_sums_bf16", 1.00, 1.00),
    ("column_sums_f16", 1.00, 1.00),
    ("column_sums_f32", 1.00, 1.00),
    ("conv_backward_data_bf16_128x128", 1.00, 1.00),
    ("conv_backward_data_bf16_128x64", 1.00, 1.00),
    ("conv_backward_data_bf16_64x64", 1.00, 1.00),
    ("conv_backward_data_f16_128x128", 1.00, 1.00),
    ("conv_backward_data_f16_128x64", 1.00, 1.00),
    ("conv_backward_data_f16_64x64", 1.00, 1.00),
    ("conv_backward_data_f32_128x128", 1.00, 1.03),
    ("conv_backward_data_f32_128x64", 1.00, 1.04),
    ("conv_backward_data_f32_64x64", 1.00, 1.03),
    ("conv_backward_data_tf32_128x128", 1.00, 1.00),
    ("conv_backward_data_tf32_128x64", 1.00, 1.00),
    ("conv_backward_data_tf32_64x64", 1.00, 1.00),
    ("conv_backward_weight_bf16_128x128", 1.00, 1.00),
    ("conv_backward_weight_bf16_128x64", 1.00, 1.00),
    ("conv_backward_weight_bf16_64x64", 1.00, 1.00),
    ("conv_backward_weight_f16_128x128", 1.00, 1.00),
    ("conv_backward_weight_f16_128x64", 1.00, 1.00),
    ("conv_backward_weight_f16_64x64", 1.00, 1.00),
    ("conv_backward_weight_f32_128x128", 1.00, 1.00),
    ("conv_backward_weight_f32_128x64", 1.00, 1.00),
    ("conv_backward_weight_f32_64x64", 1.00, 1.00),
    ("conv_backward_weight_tf32_128x128", 1.00, 1.00),
    ("conv_backward_weight_tf32_128x64", 1.00, 1.00),
    ("conv_backward_weight_tf32_64x64", 1.00, 1.00),
    ("conv_forward_bf16_128x128", 1.00, 1.00),
    ("conv_forward_bf16_128x64", 1.00, 1.00),
    ("conv_forward_bf16_64x64", 1.00, 1.00),
    ("conv_forward_f16_128x128", 1.00, 1.00),
    ("conv_forward_f16_128x64", 1.00, 1.00),
    ("conv_forward_f16_64x64", 1.00, 1.00),
    ("conv_forward_f32_128x128", 1.00, 1.06),
    ("conv_forward_f32_128x64", 1.00, 1.06),
    ("conv_forward_f32_64x64", 1.00, 1.06),
    ("conv_forward_tf32_128x128", 1.00, 1.00),
    ("conv_forward_tf32_128x64", 1.00, 1.00),
    ("conv_forward_tf32_64x64", 1.00, 1.00),
    ("conv_join_weight", 1.00, 0.00),
    ("dropout_bf16", 1.01, 0.00),
    ("dropout_f16", 1.01, 0.00),
    ("dropout_f32", 1.35, 0.00),
    ("find_overflow_f16", 1.00, 0.00),
    ("find_overflow_f32", 1.00, 0.00),
    ("finish_backward_bf16", 1.44, 1.09),
    ("finish_backward_f16", 1.44, 1.09),
    ("finish_backward_f32", 1.37, 1.09),
    ("finish_forward_bf16", 1.45, 0.00),
    ("finish_forward_f16", 1.45, 0.00),
    ("finish_forward_f32", 1.40, 0.00),
    ("join_parts_bf16", 1.00, 0.00),
    ("join_parts_f16", 1.00, 0.00),
    ("join_parts_f32", 1.00, 0.00),
    ("linear_backward_data_bf16_128x128", 1.25, 1.00),
    ("linear_backward_data_bf16_128x64", 1.20, 1.00),
    ("linear_backward_data_bf16_64x64", 1.20, 1.00),
    ("linear_backward_data_f16_128x128", 1.25, 1.00),
    ("linear_backward_data_f16_128x64", 1.20, 1.00),
    ("linear_backward_data_f16_64x64", 1.20, 1.00),
    ("linear_backward_data_f32_128x128", 1.00, 1.03),
    ("linear_backward_data_f32_128x64", 1.00, 1.04),
    ("linear_backward_data_f32_64x64", 1.00, 1.03),
    ("linear_backward_data_tf32_128x128", 1.00, 1.00),
    ("linear_backward_data_tf32_128x64", 1.00, 1.00),
    ("linear_backward_data_tf32_64x64", 1.00, 1.00),
    ("linear_forward_bf16_128x128", 1.00, 1.00),
    ("linear_forward_bf16_128x64", 1.00, 1.00),
    ("linear_forward_bf16_64x64", 1.00, 1.00),
    ("linear_forward_f16_128x128", 1.00, 1.00),
    ("linear_forward_f16_128x64", 1.00, 1.00),
    ("linear_forward_f16_64x64", 1.00, 1.00),
    ("linear_forward_f32_128x128", 1.00, 1.06),
    ("linear_forward_f32_128x64", 1.00, 1.06),
    ("linear_forward_f32_64x64", 1.00, 1.06),
    ("linear_forward_tf32_128x128", 1.00, 1.00),
    ("linear_forward_tf32_128x64", 1.00, 1.00),
    ("linear_forward_tf32_64x64", 1.00, 1.00),
    ("linear_update_bf16_128x128", 1.10, 1.00),
    ("linear_update_bf16_128x64", 1.10, 1.00),
    ("linear_update_bf16_64x64", 1.10, 1.00),
    ("linear_update_f16_128x128", 1.10, 1.00),
    ("linear_update_f16_128x64", 1.10, 1.00),
    ("linear_update_f16_64x64", 1.10, 1.00),
    ("linear_update_f32_128x128", 1.00, 1.00),
    ("linear_update_f32_128x64", 1.00, 1.00),
    ("linear_update_f32_64x64", 1.00, 1.00),
    ("linear_update_tf32_128x128", 1.00, 1.00),
    ("linear_update_tf32_128x64", 1.00, 1.00),
    ("linear_update_tf32_64x64", 1.00, 1.00),
    ("narrow_bf16", 1.00, 0.00),
    ("narrow_f16", 1.00, 0.00),
    ("pack_weights_bf16", 1.67, 0.00),
    ("pack_weights_f16", 1.67, 0.00),
    ("pack_weights_f32", 1.77, 0.00),
    ("pool_taps_bf16", 1.46, 0.00),
    ("pool_taps_f16", 1.46, 0.00),
    ("pool_taps_f32", 1.40, 0.00),
    ("scale_bf16", 1.00, 0.00),
    ("scale_f16", 1.00, 0.00),
    ("scale_f32", 1.00, 0.00),
    ("sgd_bf16", 1.00, 0.00),
    ("sgd_f16", 1.00, 0.00),
    ("sgd_f32", 1.00, 0.00),
    ("softmax_backward_f32", 1.00, 0.00),
    ("softmax_f32", 1.00, 1.00),
    ("space_to_depth_bf16", 1.60, 0.00),
    ("space_to_depth_f16", 1.60, 0.00),
    ("space_to_depth_f32", 1.43, 0.00),
    ("unpack_weights", 1.89, 0.00),
];

fn convolutions(by: Tiled, device: &mut Emulated) {
    let numbers = by.numbers;
    let op = Conv {
        channels: 48,
        height: 8,
        width: 8,
        kernels: 64,
        window: 3,
        stride: 1,
        pad_before: 1,
        pad_after: 1,
        groups: 1,
        weight_channels: 48,
        weight_offset: 0,
        by: None,
    };
    let n = 2;
    let [x, w, dy] = [n * op.x_len(), op.w_len(), n * op.y_len()]
        .map(|len| device.put_as(numbers, &noise(1, len)));
    let [y, dx] = [n * op.y_len(), n * op.x_len()].map(|len| device.unwritten_as(numbers, len));
    let dw = device.unwritten(op.w_len());
    let workspace = device.workspace(conv::cuda::workspace_bytes(numbers, &op, n));
    let input = Input::Activations(x);
    device.run(|sink| {
        conv::cuda::forward(by, &op, n, input, w, Epilogue::plain(y), workspace, sink);
        conv::cuda::backward_data(by, &op, n, dy, w, dx, workspace, sink);
        conv::cuda::backward_weight(by, &op, n, input, dy, dw, workspace, sink);
    });
    let pictures = Conv {
        channels: 3,
        height: 24,
        width: 24,
        kernels: 48,
        window: 11,
        stride: 4,
        pad_before: 0,
        pad_after: 3,
        weight_channels: 3,
        ..op
    };
    let x = device.put(&noise(1, pictures.x_len()));
    let w = device.put_as(numbers, &noise(2, pictures.w_len()));
    let packed = device.unwritten_as(numbers, conv::cuda::packed_x_len(&pictures));
    let dw = device.unwritten(pictures.w_len());
    let [dy, y] = [pictures.y_len(); 2].map(|len| device.put_as(numbers, &noise(3, len)));
    let workspace = device.workspace(conv::cuda::workspace_bytes(numbers, &pictures, 1));
    let to = Epilogue::plain(y);
    device.run(|sink| {
        conv::cuda::space_to_depth(numbers, &pictures, 1, x, packed, sink);
        let input = Input::Packed(packed);
        conv::cuda::forward(by, &pictures, 1, input, w, to, workspace, sink);
        conv::cuda::backward_weight(by, &pictures, 1, input, dy, dw, workspace, sink);
    });
}

fn linear_layers(by: Tiled, device: &mut Emulated, params: Ptr) {
    let (numbers, n, dtype) = (by.numbers, 64, Dtype::F32);
    let op =
        Linear { inputs: 256, outputs: 128, weight_inputs: 512, weight_offset: 256, dtype };
    let [x, dy, copy] = [n * op.inputs, n * op.outputs, op.outputs * op.weight_inputs]
        .map(|len| device.put_as(numbers, &noise(1, len)));
    let [w, v] = [op.outputs * op.weight_inputs; 2].map(|len| device.put(&noise(2, len)));
    let [y, dx] = [n * op.outputs, n * op.inputs].map(|len| device.unwritten_as(numbers, len));
    let db = device.unwritten(op.outputs);
    let workspace = device.workspace(linear::cuda::workspace_bytes(numbers, &op, n));
    let rooms = device.workspace(linear::cuda::bias_workspace_bytes(n, op.outputs, 1));
    let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
    let (to, weights) = (Epilogue::plain(y), [v, w, copy]);
    device.run(|sink| {
        linear::cuda::forward(by, &op, n, x, copy, to, workspace, sink);
        linear::cuda::backward_data(by, &op, n, dy, copy, dx, workspace, sink);
        linear::cuda::update(by, &op, n, [x, dy], &sgd, weights, params, sink);
        linear::cuda::bias_backward(numbers, n, op.outputs, 1, dy, db, rooms, sink);
        sgd::cuda::step(numbers, &sgd, op.outputs * op.inputs, v, weights, params, sink);
        numbers::narrow(numbers, op.outputs * op.inputs, w, copy, sink);
        if numbers != Numbers::Bf16 {
            sgd::cuda::find_overflow(numbers, n * op.inputs, x, params, sink);
        }
    });
}

fn what_follows(numbers: Numbers, device: &mut Emulated, params: Ptr) {
    let (channels, side, n) = (96, 13, 1);
    let area = side * side;
    let lrn = Lrn { channels, groups: 2, area, size: 5, alpha: 2e-5, beta: 0.75, k: 2.0 };
    let pool = MaxPool { channels, height: side, width: side, window: 3, stride: 2 };
    let op = Finish {
        channels,
        area,
        activation: Activation::Relu,
        lrn: Some(lrn),
        pool: Some(pool),
    };
    let [y, d] = [op.y_len(), op.out_len()].map(|len| device.put_as(numbers, &noise(1, len)));
    let (out, db) = (device.unwritten_as(numbers, op.out_len()), device.unwritten(channels));
    let workspace = device.workspace(finish::cuda::workspace_bytes(&op, n));
    let mask = Dropout { rate: 0.5, units: 512, first_unit: 512, seed: 7, layer: 5, step: 0 };
    let (classes, labels) = (1000, device.put(&[3_u32, 999]));
    let (logits, scores) =
        (device.put(&noise(2, 2 * classes)), device.put(&[RowScore::default(); 2]));
    device.run(|sink| {
        finish::cuda::forward(numbers, &op, n, y, Some(out), sink);
        finish::cuda::backward(numbers, &op, n, d, y, db, workspace, sink);
        activation::cuda::forward(numbers, Activation::Relu, op.y_len(), y, sink);
        activation::cuda::add(numbers, op.out_len(), d, out, sink);
        dropout::cuda::apply(numbers, &mask, 2, y, params, sink);
        dropout::cuda::scale(numbers, 0.5, op.y_len(), y, sink);
        softmax::cuda::forward(2, classes, labels, logits, scores, sink);
        softmax::cuda::backward(2, classes, labels, logits, params, sink);
    });
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn no_kernel_fetches_or_collides_more_than_is_listed() {
    if !emulation() {
        return;
    }
    let device = &mut Emulated::new(How::CHECKED);
    let params = device.params(StepParams::new(0.1, 0, 2));
    for numbers in Numbers::ALL {
        for tile in Tile::ALL {
            let by = Tiled { numbers, tile: Some(tile) };
            convolutions(by, device);
            linear_layers(by, device, params);
        }
    }
    for numbers in Numbers::IN_MEMORY {
        what_follows(numbers, device, params);
    }
    let found: Vec<(&str, f64, f64)> = device
        .counts()
        .iter()
        .map(|(kernel, counts)| (kernel.as_str(), counts.sector_ratio(), counts.bank_ratio()))
        .collect();
    let names: Vec<&str> = found.iter().map(|row| row.0).collect();
    assert_eq!(names, hostemu::kernels(), "every kernel is counted");
    let over = |((kernel, sectors, cycles), limit): (&(&str, f64, f64), &(&str, f64, f64))| {
        let kept = *kernel == limit.0 && *sectors <= limit.1 && *cycles <= limit.2;
        (!kept).then(|| {
            format!("{kernel}: {sectors:.3} sectors, {cycles:.3} cycles, not {limit:?}")
        })
    };
    let over: Vec<String> = found.iter().zip(&LIMITS).filter_map(over).collect();
    assert!(over.is_empty(), "{}", over.join("\n"));
}
