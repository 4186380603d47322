//! The kernels against the formula, at shapes that no tile divides and at those of 2012.

use super::{
    super::{
        Pass,
        tests::{conv, gradients, layers_of_2012, reference, shapes, sum},
    },
    *,
};
use crate::{
    cuda::testing::{
        Emulated, at_full_size, bound, channels_first, channels_last, followed_and_old,
        in_full, on_every_device, once, rounded, same_bits,
    },
    testing::{close, noise, wide},
};
use proptest::prelude::*;

/// As of the CPU's direct products: those of numbers up to 1 err by 6e-8 each. What is stored as halves is
/// rounded once more ([`bound`]).
const BOUND: f64 = 2e-6;

/// What the passes read, in the CPU's layouts, before products round it.
struct Operands {
    numbers: Numbers,
    op: Conv,
    n: usize,
    x: Vec<f32>,
    w: Vec<f32>,
    b: Vec<f32>,
    dy: Vec<f32>,
}

impl Operands {
    fn new(numbers: Numbers, op: &Conv, n: usize) -> Self {
        let (x, w) = (noise(1, n * op.x_len()), noise(2, op.w_len()));
        let dy = noise(4, n * op.y_len());
        Self { numbers, op: *op, n, x, w, b: noise(3, op.kernels), dy }
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

    /// `2 y + b` in `f32`, by a product with bias and one that is added; and `2 y` clipped, of which the
    /// first `y` was stored.
    fn forward(
        &self, tile: Option<Tile>, device: &mut Emulated, x: Input, w: Ptr, workspace: Ptr,
    ) -> [Vec<f32>; 2] {
        let (numbers, len) = (self.numbers, self.n * self.op.y_len());
        let (b, y) = (device.put(&self.b), device.unwritten(len));
        let clipped = device.unwritten_as(numbers, len);
        let with_bias = Epilogue { bias: Some(b), wide: true, ..Epilogue::plain(y) };
        let added = Epilogue { accumulate: true, wide: true, ..Epilogue::plain(y) };
        let stored = Epilogue::plain(clipped);
        let relu = Epilogue { accumulate: true, relu: true, ..stored };
        device.run(|sink| {
            for to in [with_bias, added, stored, relu] {
                forward(self.by(tile), &self.op, self.n, x, w, to, workspace, sink);
            }
        });
        [device.get(y), device.get_as(numbers, clipped)]
            .map(|y| channels_first(&y, self.op.kernels, self.area()))
    }

    /// `dw`, where other sources' blocks were zero.
    fn weight(
        &self, tile: Option<Tile>, device: &mut Emulated, x: Input, workspace: Ptr,
    ) -> Vec<f32> {
        let numbers = self.numbers;
        let dy = channels_last(&self.dy, self.op.kernels, self.area());
        let dy = device.put_as(numbers, &dy);
        let dw = device.put(&vec![0.0_f32; self.op.w_len()]);
        device.run(|sink| {
            backward_weight(self.by(tile), &self.op, self.n, x, dy, dw, workspace, sink);
        });
        channels_first(&device.get(dw), self.op.weight_channels, self.square())
    }

    /// `dx` of activations.
    fn data(
        &self, tile: Option<Tile>, device: &mut Emulated, w: Ptr, workspace: Ptr,
    ) -> Vec<f32> {
        let numbers = self.numbers;
        let dy = channels_last(&self.dy, self.op.kernels, self.area());
        let dy = device.put_as(numbers, &dy);
        let dx = device.unwritten_as(numbers, self.x.len());
        device.run(|sink| {
            backward_data(self.by(tile), &self.op, self.n, dy, w, dx, workspace, sink);
        });
        channels_first(
            &device.get_as(numbers, dx),
            self.op.channels,
            self.op.height * self.op.width,
        )
    }

    /// All passes by a tile: both results forward, of activations the gradient, of the weights theirs.
    fn passes(
        &self, tile: Option<Tile>, device: &mut Emulated, x: Input, w: Ptr, workspace: Ptr,
    ) -> [Vec<f32>; 4] {
        let [twice, clipped] = self.forward(tile, device, x, w, workspace);
        let dx = self.data(tile, device, w, workspace);
        [twice, clipped, dx, self.weight(tile, device, x, workspace)]
    }

    fn by(&self, tile: Option<Tile>) -> Tiled {
        Tiled { numbers: self.numbers, tile }
    }

    /// Activations, weights and a workspace on the device.
    fn put(&self, device: &mut Emulated) -> (Input, Ptr, Ptr) {
        let x = channels_last(&self.x, self.op.channels, self.op.height * self.op.width);
        let workspace = device.workspace(workspace_bytes(self.numbers, &self.op, self.n));
        let x = Input::Activations(device.put_as(self.numbers, &x));
        (x, device.put_as(self.numbers, &self.on_device(&self.w)), workspace)
    }

    /// The same, but pictures, packed.
    fn put_pictures(&self, device: &mut Emulated) -> (Input, Ptr, Ptr) {
        let (_, w, workspace) = self.put(device);
        let packed = device.unwritten_as(self.numbers, self.n * packed_x_len(&self.op));
        let x = device.put(&self.x);
        device.run(|sink| space_to_depth(self.numbers, &self.op, self.n, x, packed, sink));
        (Input::Packed(packed), w, workspace)
    }

    /// `x`, `w` and `dy` as products round them, which are then exact.
    fn factors(&self) -> [Vec<f32>; 3] {
        [&self.x, &self.w, &self.dy].map(|values| rounded(self.numbers, values))
    }

    /// `[2 y + b, max(0, 2 y)]`, `dx` and `dw` by the formula.
    fn wanted(&self) -> ([Vec<f64>; 2], [Vec<f64>; 2]) {
        let [x, w, dy] = self.factors().map(|values| wide(&values));
        let y = reference(&self.op, self.n, &x, &w);
        let bias = |at: usize| f64::from(self.b[at / self.area() % self.op.kernels]);
        let twice = y.iter().enumerate().map(|(at, y)| 2.0 * y + bias(at)).collect();
        let clipped = y.iter().map(|y| 2.0 * y.max(0.0)).collect();
        ([twice, clipped], gradients(&self.op, &x, &w, &dy))
    }
}

/// Of the product's own tile, and by these the same bits.
fn all_passes_agree(op: &Conv, n: usize, tiles: &[Tile]) {
    for numbers in Numbers::ALL {
        let operands = Operands::new(numbers, op, n);
        let ([twice, clipped], [dx, dw]) = operands.wanted();
        on_every_device(numbers, |device| {
            let (x, w, workspace) = operands.put(device);
            let found = operands.passes(None, device, x, w, workspace);
            close(&found[0], &twice, BOUND);
            close(&found[1], &clipped, 1.5 * bound(numbers, BOUND));
            close(&found[2], &dx, bound(numbers, BOUND));
            close(&found[3], &dw, BOUND);
            let others = device.other_tiles(numbers);
            for tile in others.into_iter().filter(|tile| tiles.contains(tile)) {
                let by_tile = operands.passes(Some(tile), device, x, w, workspace);
                assert!(same_bits(&by_tile, &found), "{numbers:?} by {tile:?} of {op:?}");
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn small_convolutions_agree_with_the_formula(
        (n, op) in shapes(), tile in prop::sample::select(&Tile::ALL[..]),
    ) {
        all_passes_agree(&op, n, &[tile]);
    }
}

/// More than a tile of places and of kernels; quads and eights of channels, and none; terms for several parts;
/// groups; a source that is not the first.
fn edges() -> [(Conv, usize); 6] {
    let padded = |conv: Conv, pad: usize| Conv { pad_before: pad, pad_after: pad, ..conv };
    let second = Conv { weight_channels: 24, weight_offset: 12, ..conv(12, 7, 10, 3) };
    [
        (padded(conv(8, 9, 68, 3), 1), 1),
        (padded(conv(40, 12, 72, 3), 1), 1),
        (padded(conv(7, 6, 65, 5), 2), 2),
        (padded(conv(34, 5, 12, 3), 1), 3),
        (Conv { groups: 2, weight_channels: 36, ..conv(72, 5, 20, 3) }, 2),
        (padded(second, 1), 2),
    ]
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn edges_of_tiles_and_split_terms_agree_with_the_formula() {
    edges().iter().for_each(|(op, n)| all_passes_agree(op, *n, &[]));
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn every_tile_gives_the_same_bits() {
    // The others are the same code at more places.
    for (op, n) in [edges()[0], edges()[3]] {
        for numbers in Numbers::ALL {
            let operands = Operands::new(numbers, &op, n);
            let mut same = |device: &mut Emulated| {
                let (x, w, workspace) = operands.put(device);
                let found = operands.passes(None, device, x, w, workspace);
                for tile in device.other_tiles(numbers) {
                    let by_tile = operands.passes(Some(tile), device, x, w, workspace);
                    assert!(same_bits(&by_tile, &found), "{numbers:?} by {tile:?} of {op:?}");
                }
            };
            followed_and_old(numbers, &mut same);
        }
    }
}

#[test]
fn tall_tiles_are_taken_where_there_are_many_and_agree_with_the_formula() {
    // 17 * 32 * 32 places make 136 tiles of 128 rows, times two of kernels.
    let operands = Operands::new(Numbers::F32, &conv(4, 32, 66, 1), 17);
    let tile_of =
        |operands: &Operands, pass| tile(operands.numbers, &operands.op, operands.n, pass);
    assert_eq!(tile_of(&operands, Pass::Forward), Tile::Tall);
    let ([twice, _], _) = operands.wanted();
    once(|device| {
        let (x, w, workspace) = operands.put(device);
        close(&operands.forward(None, device, x, w, workspace)[0], &twice, BOUND);
    });
    let turned = Operands::new(Numbers::F32, &conv(66, 32, 4, 1), 17);
    assert_eq!(tile_of(&turned, Pass::BackwardData), Tile::Tall);
    let (_, [dx, _]) = turned.wanted();
    once(|device| {
        let (_, w, workspace) = turned.put(device);
        close(&turned.data(None, device, w, workspace), &dx, BOUND);
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
        for numbers in Numbers::ALL {
            let operands = Operands::new(numbers, &op, 2);
            let ([twice, clipped], [_, dw]) = operands.wanted();
            on_every_device(numbers, |device| {
                let (x, w, workspace) = operands.put_pictures(device);
                let found = operands.forward(None, device, x, w, workspace);
                close(&found[0], &twice, BOUND);
                close(&found[1], &clipped, 1.5 * bound(numbers, BOUND));
                close(&operands.weight(None, device, x, workspace), &dw, BOUND);
            });
        }
    }
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn the_layers_of_2012_agree_with_the_formula() {
    const SUMS: usize = 100;
    let layers = layers_of_2012();
    let in_f32 = layers.iter().map(|op| Operands::new(Numbers::F32, op, 1));
    // Slower. Numbers of all kinds are multiplied alike: one layer of each, or all of all.
    let on_cores = [(0, Numbers::Bf16), (1, Numbers::F16), (4, Numbers::Tf32)];
    let on_cores = on_cores.into_iter().flat_map(|one| {
        let all = (0..layers.len()).map(move |i| (i, one.1));
        if in_full() { all.collect() } else { vec![one] }
    });
    let on_cores = on_cores.map(|(i, numbers)| Operands::new(numbers, &layers[i], 1));
    for operands in in_f32.chain(on_cores) {
        let (op, numbers, factors) = (operands.op, operands.numbers, operands.factors());
        let sums = |pass: Pass, len: usize| -> (usize, Vec<f64>) {
            let step = len.div_ceil(SUMS) | 1;
            let given = factors.each_ref().map(Vec::as_slice);
            (step, (0..len).step_by(step).map(|at| sum(&op, 1, pass, at, given)).collect())
        };
        let check = |found: &[f32], (step, wanted): &(usize, Vec<f64>), bound: f64| {
            // Memory that nobody wrote is no number.
            assert!(
                found.iter().all(|sum| sum.is_finite()),
                "{numbers:?} {op:?}: a sum is missing"
            );
            let found: Vec<f32> = found.iter().copied().step_by(*step).collect();
            close(&found, wanted, bound);
        };
        let mut y = sums(Pass::Forward, op.y_len());
        for (i, y_i) in y.1.iter_mut().enumerate() {
            *y_i = 2.0 * *y_i + f64::from(operands.b[i * y.0 / operands.area() % op.kernels]);
        }
        let dw = sums(Pass::BackwardWeight, op.w_len());
        at_full_size(|device| {
            let pictures = op.stride > 1;
            let (x, w, workspace) =
                if pictures { operands.put_pictures(device) } else { operands.put(device) };
            check(&operands.forward(None, device, x, w, workspace)[0], &y, BOUND);
            check(&operands.weight(None, device, x, workspace), &dw, BOUND);
            if !pictures {
                let dx = sums(Pass::BackwardData, op.x_len());
                check(&operands.data(None, device, w, workspace), &dx, bound(numbers, BOUND));
            }
        });
    }
}

#[test]
fn what_is_not_a_number_stays_so_in_the_epilogue() {
    let op = conv(1, 1, 1, 1);
    once(|device| {
        for numbers in Numbers::ALL {
            let (x, w) = (device.put_as(numbers, &[f32::NAN]), device.put_as(numbers, &[1.0]));
            let y = device.unwritten_as(numbers, 1);
            let to = Epilogue { relu: true, ..Epilogue::plain(y) };
            device.run(|sink| {
                let x = Input::Activations(x);
                forward(numbers.into(), &op, 1, x, w, to, Ptr::NULL, sink);
            });
            assert!(device.get_as(numbers, y)[0].is_nan());
        }
    });
}
