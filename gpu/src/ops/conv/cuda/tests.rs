//! The kernels against the formula, at shapes that no tile divides and at those of 2012.

use super::{
    super::{
        Pass,
        tests::{conv, gradients, layers_of_2012, reference, shapes, sum},
    },
    *,
};
use crate::{
    cuda::testing::{Emulated, bf16s, channels_first, channels_last, on_every_schedule, once},
    testing::{close, noise, wide},
};
use proptest::prelude::*;

/// As of the CPU's direct products: those of numbers up to 1 err by 6e-8 each.
const BOUND: f64 = 2e-6;

/// What the passes read, in the CPU's layouts.
struct Numbers {
    op: Conv,
    n: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    dy: Vec<f32>,
}

impl Numbers {
    fn new(op: &Conv, n: usize) -> Self {
        let (x, w) = (noise(1, n * op.x_len()), noise(2, op.w_len()));
        Self { op: *op, n, x, w, b: noise(3, op.kernels), dy: noise(4, n * op.y_len()) }
    }

    /// Factors that are bf16s already, whose products are then exact.
    fn of_bf16s(op: &Conv, n: usize) -> Self {
        let op = Conv { by: Some([Algorithm::Bf16; 3]), ..*op };
        let (x, w) = (bf16s(1, n * op.x_len()), bf16s(2, op.w_len()));
        Self { x, w, dy: bf16s(4, n * op.y_len()), ..Self::new(&op, n) }
    }

    fn area(&self) -> usize {
        self.op.out_height() * self.op.out_width()
    }

    fn square(&self) -> usize {
        self.op.window * self.op.window
    }

    /// Of weights or their gradient, `[k][r][s][c]`.
    fn on_device(&self, w: &[f32]) -> Vec<f32> {
        channels_last(w, self.op.weight_channels, self.square())
    }

    /// `2 y + b`, by a product with bias and one that is added; and `y` clipped.
    fn forward(
        &self, device: &mut Emulated, x: Input, w: Ptr, workspace: Ptr,
    ) -> [Vec<f32>; 2] {
        let len = self.n * self.op.y_len();
        let (b, y, clipped) =
            (device.put(&self.b), device.unwritten(len), device.unwritten(len));
        let with_bias = Epilogue { bias: Some(b), ..Epilogue::plain(y) };
        let added = Epilogue { accumulate: true, ..Epilogue::plain(y) };
        let relu = Epilogue { relu: true, ..Epilogue::plain(clipped) };
        device.run(|sink| {
            for to in [with_bias, added, relu] {
                forward(&self.op, self.n, x, w, to, workspace, sink);
            }
        });
        [y, clipped].map(|y| channels_first(&device.get(y), self.op.kernels, self.area()))
    }

    /// `dw`, where other sources' blocks were zero.
    fn weight(&self, device: &mut Emulated, x: Input, workspace: Ptr) -> Vec<f32> {
        let dy = device.put(&channels_last(&self.dy, self.op.kernels, self.area()));
        let dw = device.put(&vec![0.0_f32; self.op.w_len()]);
        device.run(|sink| backward_weight(&self.op, self.n, x, dy, dw, workspace, sink));
        channels_first(&device.get(dw), self.op.weight_channels, self.square())
    }

    /// `dx` of activations.
    fn data(&self, device: &mut Emulated, w: Ptr, workspace: Ptr) -> Vec<f32> {
        let dy = device.put(&channels_last(&self.dy, self.op.kernels, self.area()));
        let dx = device.unwritten(self.x.len());
        device.run(|sink| backward_data(&self.op, self.n, dy, w, dx, workspace, sink));
        channels_first(&device.get(dx), self.op.channels, self.op.height * self.op.width)
    }

    /// Activations, weights and a workspace on the device.
    fn put(&self, device: &mut Emulated) -> (Input, Ptr, Ptr) {
        let x = channels_last(&self.x, self.op.channels, self.op.height * self.op.width);
        let workspace = device.workspace(workspace_bytes(&self.op, self.n));
        (Input::Activations(device.put(&x)), device.put(&self.on_device(&self.w)), workspace)
    }

    /// The same, but pictures, packed.
    fn put_pictures(&self, device: &mut Emulated) -> (Input, Ptr, Ptr) {
        let (_, w, workspace) = self.put(device);
        let (x, packed) =
            (device.put(&self.x), device.unwritten(self.n * packed_x_len(&self.op)));
        device.run(|sink| space_to_depth(&self.op, self.n, x, packed, sink));
        (Input::Packed(packed), w, workspace)
    }

    /// `[2 y + b, max(0, y)]`, `dx` and `dw` by the formula.
    fn wanted(&self) -> ([Vec<f64>; 2], [Vec<f64>; 2]) {
        let y = reference(&self.op, self.n, &wide(&self.x), &wide(&self.w));
        let bias = |at: usize| f64::from(self.b[at / self.area() % self.op.kernels]);
        let twice = y.iter().enumerate().map(|(at, y)| 2.0 * y + bias(at)).collect();
        let clipped = y.iter().map(|y| y.max(0.0)).collect();
        let [x, w, dy] = [&self.x, &self.w, &self.dy].map(|values| wide(values));
        ([twice, clipped], gradients(&self.op, &x, &w, &dy))
    }
}

/// In `f32`, and by bf16 of factors that are bf16s already.
fn all_passes_agree(op: &Conv, n: usize) {
    for numbers in [Numbers::new(op, n), Numbers::of_bf16s(op, n)] {
        let ([twice, clipped], [dx, dw]) = numbers.wanted();
        on_every_schedule(|device| {
            let (x, w, workspace) = numbers.put(device);
            let found = numbers.forward(device, x, w, workspace);
            close(&found[0], &twice, BOUND);
            close(&found[1], &clipped, BOUND);
            close(&numbers.data(device, w, workspace), &dx, BOUND);
            close(&numbers.weight(device, x, workspace), &dw, BOUND);
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn small_convolutions_agree_with_the_formula((n, op) in shapes()) {
        all_passes_agree(&op, n);
    }
}

#[test]
fn edges_of_tiles_and_split_terms_agree_with_the_formula() {
    let padded = |conv: Conv, pad: usize| Conv { pad_before: pad, pad_after: pad, ..conv };
    // More than a tile of places and of kernels; quads of channels, and none; terms for several parts.
    all_passes_agree(&padded(conv(8, 9, 68, 3), 1), 1);
    all_passes_agree(&padded(conv(7, 6, 65, 5), 2), 2);
    all_passes_agree(&padded(conv(34, 5, 12, 3), 1), 3);
    all_passes_agree(&Conv { groups: 2, weight_channels: 36, ..conv(72, 5, 20, 3) }, 2);
    let second = Conv { weight_channels: 24, weight_offset: 12, ..conv(12, 7, 10, 3) };
    all_passes_agree(&padded(second, 1), 2);
}

#[test]
fn large_tiles_agree_with_the_formula() {
    // 17 * 32 * 32 places make 136 tiles of 128 rows, times two of kernels.
    let numbers = Numbers::new(&conv(4, 32, 66, 1), 17);
    assert_eq!(Plan::forward(&numbers.op, numbers.n).tile, Tile::Large);
    let ([twice, _], _) = numbers.wanted();
    once(|device| {
        let (x, w, workspace) = numbers.put(device);
        close(&numbers.forward(device, x, w, workspace)[0], &twice, BOUND);
    });
    let turned = Numbers::new(&conv(66, 32, 4, 1), 17);
    assert_eq!(Plan::backward_data(&turned.op, turned.n).tile, Tile::Large);
    let (_, [dx, _]) = turned.wanted();
    once(|device| {
        let (_, w, workspace) = turned.put(device);
        close(&turned.data(device, w, workspace), &dx, BOUND);
    });
}

#[test]
fn pictures_by_squares_agree_with_the_formula() {
    // The first layers of both presets, smaller; a pad before; squares that windows do not fill.
    let of_2012 = Conv { stride: 4, pad_after: 3, ..conv(3, 24, 10, 11) };
    let of_the_demo = Conv { stride: 2, ..conv(3, 21, 12, 11) };
    let padded =
        Conv { stride: 3, pad_before: 2, pad_after: 1, height: 9, ..conv(2, 13, 5, 4) };
    for op in [of_2012, of_the_demo, padded] {
        for numbers in [Numbers::new(&op, 2), Numbers::of_bf16s(&op, 2)] {
            let ([twice, clipped], [_, dw]) = numbers.wanted();
            on_every_schedule(|device| {
                let (x, w, workspace) = numbers.put_pictures(device);
                let found = numbers.forward(device, x, w, workspace);
                close(&found[0], &twice, BOUND);
                close(&found[1], &clipped, BOUND);
                close(&numbers.weight(device, x, workspace), &dw, BOUND);
            });
        }
    }
}

#[test]
fn the_layers_of_2012_agree_with_the_formula() {
    const SUMS: usize = 100;
    let layers = layers_of_2012();
    let in_f32 = layers.iter().map(|op| Numbers::new(op, 1));
    // Slower: conv1, conv2 and conv4.
    let by_bf16 = [0, 1, 4].map(|i| Numbers::of_bf16s(&layers[i], 1));
    for numbers in in_f32.chain(by_bf16) {
        let op = numbers.op;
        let sums = |pass: Pass, len: usize| -> (usize, Vec<f64>) {
            let step = len.div_ceil(SUMS) | 1;
            let given = [&numbers.x[..], &numbers.w, &numbers.dy];
            (step, (0..len).step_by(step).map(|at| sum(&op, 1, pass, at, given)).collect())
        };
        let check = |found: &[f32], (step, wanted): &(usize, Vec<f64>)| {
            let found: Vec<f32> = found.iter().copied().step_by(*step).collect();
            close(&found, wanted, BOUND);
        };
        let mut y = sums(Pass::Forward, op.y_len());
        for (i, y_i) in y.1.iter_mut().enumerate() {
            *y_i = 2.0 * *y_i + f64::from(numbers.b[i * y.0 / numbers.area() % op.kernels]);
        }
        let dw = sums(Pass::BackwardWeight, op.w_len());
        once(|device| {
            let pictures = op.stride > 1;
            let (x, w, workspace) =
                if pictures { numbers.put_pictures(device) } else { numbers.put(device) };
            check(&numbers.forward(device, x, w, workspace)[0], &y);
            check(&numbers.weight(device, x, workspace), &dw);
            if !pictures {
                let dx = sums(Pass::BackwardData, op.x_len());
                check(&numbers.data(device, w, workspace), &dx);
            }
        });
    }
}

#[test]
fn what_is_not_a_number_stays_so_in_the_epilogue() {
    let op = conv(1, 1, 1, 1);
    once(|device| {
        let (x, w, y) = (device.put(&[f32::NAN]), device.put(&[1.0_f32]), device.unwritten(1));
        let to = Epilogue { relu: true, ..Epilogue::plain(y) };
        device.run(|sink| forward(&op, 1, Input::Activations(x), w, to, Ptr::NULL, sink));
        assert!(device.get::<f32>(y)[0].is_nan());
    });
}
