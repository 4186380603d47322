use super::*;
use crate::{
    cpu::{Level, Pool, Scratch},
    device::{Activation, Device as _, Input, Sums},
    testing::{self, close, close_sums, noise, wide},
};
use proptest::prelude::*;

/// What a sum may err by, relative to the largest of its kind. Products of numbers up to 1 err by 6e-8
/// each. Winograd's transforms add and take away more than is left in the end, which costs a digit: at
/// the layers of 2012 the errors' root mean square is 2e-6 to 5e-6 of the sums', and 1.1e-5 the
/// most; at odd shapes, 2e-5. Twice that is allowed.
fn bound(algorithm: Algorithm) -> f64 {
    match algorithm {
        Algorithm::Im2col => 2e-6,
        Algorithm::Winograd => 4e-5,
        // Each factor is off by 2^-9 at most, and so a sum by 2^-8 of what it would be without signs.
        Algorithm::Bf16 => 8e-3,
    }
}

/// As [`bound`], where all factors are bf16s already.
fn bound_of_bf16s(algorithm: Algorithm) -> f64 {
    if algorithm == Algorithm::Bf16 { bound(Algorithm::Im2col) } else { bound(algorithm) }
}

type Bound = fn(Algorithm) -> f64;

/// Numbers, and how far sums of them may be off. If `rounded`, they are bf16s already.
fn factors(rounded: bool, lens: [usize; 4]) -> ([Vec<f32>; 4], Bound) {
    let round = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
    let all = [0, 1, 2, 3].map(|i| {
        let plain = noise(1 + i as u32, lens[i]);
        if rounded { plain.into_iter().map(round).collect() } else { plain }
    });
    (all, if rounded { bound_of_bf16s } else { bound })
}

/// Where output `y` reads, as indices of pixels and weights.
pub(super) fn terms_of(op: &Conv, y: usize) -> impl Iterator<Item = (usize, usize)> {
    let op = *op;
    let (width, area) = (op.out_width(), op.out_height() * op.out_width());
    let (image, k, i, j) = (y / op.y_len(), y / area % op.kernels, y / width, y % width);
    let (channels, square) = (op.channels / op.groups, op.window * op.window);
    let group = k / (op.kernels / op.groups);
    (0..channels * square).filter_map(move |tap| {
        let (c, u, v) = (tap / square, tap / op.window % op.window, tap % op.window);
        let row = (op.stride * (i % op.out_height()) + u).checked_sub(op.pad_before)?;
        let col = (op.stride * j + v).checked_sub(op.pad_before)?;
        let plane = image * op.channels + group * channels + c;
        let weight = (k * op.weight_channels + op.weight_offset) * square + tap;
        let inside = row < op.height && col < op.width;
        inside.then_some(((plane * op.height + row) * op.width + col, weight))
    })
}

/// One source's share of `y`, without bias.
pub(super) fn reference(op: &Conv, n: usize, x: &[f64], w: &[f64]) -> Vec<f64> {
    let sum = |y| terms_of(op, y).map(|(pixel, weight)| x[pixel] * w[weight]).sum();
    (0..n * op.y_len()).map(sum).collect()
}

/// `dx` and `dw` from `dy`: every term's other factor.
pub(super) fn gradients(op: &Conv, x: &[f64], w: &[f64], dy: &[f64]) -> [Vec<f64>; 2] {
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    for (y, dy) in dy.iter().enumerate() {
        for (pixel, weight) in terms_of(op, y) {
            dx[pixel] += w[weight] * dy;
            dw[weight] += x[pixel] * dy;
        }
    }
    [dx, dw]
}

/// What every algorithm that fits finds, with every instruction set: `y` with bias and once more without,
/// `dx` and `dw`.
fn by_every_algorithm(
    threads: usize, op: &Conv, n: usize, [x, w, b, dy]: [&[f32]; 4],
    check: impl Fn(Pass, Algorithm, &[f32]),
) {
    for level in Level::all_for_bf16() {
        let pool = Pool::new("test", threads, level).expect("threads");
        let scratch = &mut Scratch::default();
        for algorithm in Algorithm::ALL {
            if algorithm.fits(op, Pass::Forward) {
                let mut y = noise(5, n * op.y_len());
                cpu::forward(algorithm, &pool, scratch, op, n, x, w, Some(b), false, &mut y);
                cpu::forward(algorithm, &pool, scratch, op, n, x, w, None, true, &mut y);
                check(Pass::Forward, algorithm, &y);
            }
            if algorithm.fits(op, Pass::BackwardData) {
                let mut dx = noise(6, n * op.x_len());
                cpu::backward_data(algorithm, &pool, scratch, op, n, dy, w, &mut dx);
                check(Pass::BackwardData, algorithm, &dx);
            }
            if algorithm.fits(op, Pass::BackwardWeight) {
                // Other sources' blocks of the weights stay as they were.
                let mut dw = vec![0.0; op.w_len()];
                cpu::backward_weight(algorithm, &pool, scratch, op, n, x, dy, &mut dw);
                check(Pass::BackwardWeight, algorithm, &dw);
            }
        }
    }
}

/// A convolution without stride, groups or padding, and one source.
pub(super) fn conv(channels: usize, side: usize, kernels: usize, window: usize) -> Conv {
    Conv {
        channels,
        height: side,
        width: side,
        kernels,
        window,
        stride: 1,
        pad_before: 0,
        pad_after: 0,
        groups: 1,
        weight_channels: channels,
        weight_offset: 0,
        by: None,
    }
}

pub(super) fn shapes() -> impl Strategy<Value = (usize, Conv)> {
    let sides = (1..4_usize, 3..11_usize, 3..11_usize);
    let kernel = (1..6_usize, 1..5_usize, 0..4_usize, 0..4_usize);
    (sides, kernel, (1..4_usize, 1..3_usize, 0..3_usize)).prop_filter_map(
        "the window fits",
        |((n, height, width), (window, stride, before, after), (each, groups, offset))| {
            let fits = height.min(width) + before + after >= window;
            let offset = if groups > 1 { 0 } else { offset };
            let conv = Conv {
                channels: each * groups,
                height,
                width,
                kernels: 2 * groups,
                window,
                stride,
                pad_before: before,
                pad_after: after,
                groups,
                weight_channels: each + offset + offset / 2,
                weight_offset: offset,
                by: None,
            };
            fits.then_some((n, conv))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn forward_and_gradients_agree_with_the_formula((n, op) in shapes()) {
        let (xs, ws) = (noise(1, n * op.x_len()), noise(2, op.w_len()));
        let (bias, dys) = (noise(3, op.kernels), noise(4, n * op.y_len()));
        let area = op.out_height() * op.out_width();
        let (wx, ww) = (wide(&xs), wide(&ws));
        testing::on_every_cpu(|cpu| {
            let [x, w, b, dy] =
                [&xs, &ws, &bias, &dys].map(|values| testing::buffer(cpu, values));
            let mut y = testing::buffer(cpu, &noise(5, n * op.y_len()));
            cpu.conv_forward(&op, n, Input::Buffer(&x), &w, Sums::with(&b), &mut y);
            let mut wanted = reference(&op, n, &wx, &ww);
            for (at, y) in wanted.iter_mut().enumerate() {
                *y += f64::from(bias[at / area % op.kernels]);
            }
            close(&y, &wanted, bound(op.algorithm(Pass::Forward)));
            cpu.conv_forward(&op, n, Input::Buffer(&x), &w, Sums::more().then(Activation::Relu), &mut y);
            for (sum, y) in wanted.iter_mut().zip(reference(&op, n, &wx, &ww)) {
                *sum = (*sum + y).max(0.0);
            }
            close(&y, &wanted, bound(op.algorithm(Pass::Forward)));
            let loss = |x: &[f64], w: &[f64]| -> f64 {
                reference(&op, n, x, w).iter().zip(&dys).map(|(y, dy)| y * f64::from(*dy)).sum()
            };
            let mut dx = testing::buffer(cpu, &noise(6, xs.len()));
            cpu.conv_backward_data(&op, n, &dy, &w, &mut dx);
            testing::gradient(&xs, &dx, |x| loss(x, &ww), |_| false);
            // Other sources' blocks of the weights stay as they were: here zero, as is their
            // gradient.
            let mut dw = testing::buffer(cpu, &vec![0.0; ws.len()]);
            cpu.conv_backward_weight(&op, n, Input::Buffer(&x), &dy, &mut dw);
            testing::gradient(&ws, &dw, |w| loss(&wx, w), |_| false);
            let mut db = testing::buffer(cpu, &bias);
            cpu.bias_backward(n, op.kernels, area, &dy, &mut db);
            let of_kernel = |k| {
                let of_k = dys.iter().enumerate().filter(move |(at, _)| at / area % op.kernels == k);
                of_k.map(|(_, dy)| f64::from(*dy))
            };
            close_sums(&db, of_kernel, 1e-6);
        });
    }
}

/// Shapes that a fast algorithm has to cut and pad: few and odd channels, windows near the edges,
/// more or fewer images than a sheet has.
fn odd_shapes() -> impl Strategy<Value = (usize, Conv)> {
    let windows = prop::sample::select(vec![
        (3, 1),
        (5, 1),
        (5, 2),
        (6, 2),
        (9, 2),
        (10, 2),
        (9, 4),
        (11, 4),
        (12, 4),
        (17, 4),
    ]);
    let sides = (1..6_usize, 5..30_usize, 5..30_usize);
    let channels = (1..20_usize, 1..40_usize, 1..3_usize, 0..3_usize);
    (sides, windows, (0..5_usize, 0..5_usize), channels).prop_filter_map(
        "the window fits, and not all of it is padding",
        |(
            (n, height, width),
            (window, stride),
            (before, after),
            (each, kernels, groups, offset),
        )| {
            let fits =
                height.min(width) + before + after >= window && before.max(after) < window;
            let offset = if groups > 1 { 0 } else { offset };
            let op = Conv {
                channels: each * groups,
                height,
                width,
                kernels: kernels * groups,
                stride,
                pad_before: before,
                pad_after: after,
                groups,
                weight_channels: each + offset + offset / 2,
                weight_offset: offset,
                by: None,
                ..conv(each, 1, kernels, window)
            };
            fits.then_some((n, op))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_algorithm_agrees_with_the_formula_at_odd_shapes(
        (n, op) in odd_shapes(), rounded: bool,
    ) {
        let lens = [n * op.x_len(), op.w_len(), op.kernels, n * op.y_len()];
        let ([x, w, b, dy], bound) = factors(rounded, lens);
        let area = op.out_height() * op.out_width();
        let mut y = reference(&op, n, &wide(&x), &wide(&w));
        for (at, y) in y.iter_mut().enumerate() {
            *y = 2.0 * *y + f64::from(b[at / area % op.kernels]);
        }
        let [dx, dw] = gradients(&op, &wide(&x), &wide(&w), &wide(&dy));
        let check = |pass, algorithm, found: &[f32]| {
            let wanted = match pass {
                Pass::Forward => &y,
                Pass::BackwardData => &dx,
                Pass::BackwardWeight => &dw,
            };
            close(found, wanted, bound(algorithm));
        };
        for threads in [1, 3] {
            by_every_algorithm(threads, &op, n, [&x, &w, &b, &dy], check);
        }
    }
}

/// The layers as one tower of two sees them, and some as one device does, in groups; of conv3's sources
/// the second.
pub(super) fn layers_of_2012() -> [Conv; 6] {
    let padded = |conv: Conv, pad: usize| Conv { pad_before: pad, pad_after: pad, ..conv };
    let both = |conv: Conv| Conv {
        channels: 2 * conv.channels,
        kernels: 2 * conv.kernels,
        groups: 2,
        ..conv
    };
    let conv1 = Conv { stride: 4, pad_after: 3, ..conv(3, 224, 48, 11) };
    let conv2 = padded(conv(48, 27, 128, 5), 2);
    let conv3 = padded(conv(128, 13, 192, 3), 1);
    let conv4 = padded(conv(192, 13, 192, 3), 1);
    let conv5 = padded(conv(192, 13, 128, 3), 1);
    let conv3 = Conv { weight_channels: 256, weight_offset: 128, ..conv3 };
    [conv1, conv2, both(conv2), conv3, both(conv4), conv5]
}

/// One sum of a pass over `n` images, in double precision.
pub(super) fn sum(op: &Conv, n: usize, pass: Pass, at: usize, [x, w, dy]: [&[f32]; 3]) -> f64 {
    let (height, width, square) = (op.out_height(), op.out_width(), op.window * op.window);
    let (channels, kernels) = (op.channels / op.groups, op.kernels / op.groups);
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    match pass {
        Pass::Forward => {
            terms_of(op, at).map(|(pixel, weight)| product(x[pixel], w[weight])).sum()
        }
        Pass::BackwardData => {
            let (image, c) = (at / op.x_len(), at / (op.height * op.width) % op.channels);
            let (row, col) = (at / op.width % op.height, at % op.width);
            let output = |tap: usize, place: usize, side: usize| {
                let from = (place + op.pad_before).checked_sub(tap)?;
                (from % op.stride == 0 && from / op.stride < side).then_some(from / op.stride)
            };
            let taps = (0..kernels * square).filter_map(|tap| {
                let k = c / channels * kernels + tap / square;
                let i = output(tap / op.window % op.window, row, height)?;
                let j = output(tap % op.window, col, width)?;
                let y = ((image * op.kernels + k) * height + i) * width + j;
                let row = k * op.weight_channels + op.weight_offset + c % channels;
                Some(product(dy[y], w[row * square + tap % square]))
            });
            taps.sum()
        }
        Pass::BackwardWeight => {
            let k = at / square / op.weight_channels;
            let outputs = (0..n * height * width).map(|place| {
                (place / (height * width) * op.kernels + k) * height * width
                    + place % (height * width)
            });
            let terms = outputs.map(|y| {
                let mut same = terms_of(op, y).filter(|(_, weight)| *weight == at);
                same.next().map_or(0.0, |(pixel, _)| product(x[pixel], dy[y]))
            });
            terms.sum()
        }
    }
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn every_algorithm_agrees_with_the_formula_at_the_layers_of_2012() {
    const SUMS: usize = 30;
    for op in layers_of_2012() {
        // A sheet of nine planes and one more; of the larger planes, one.
        let n = if op.height == 13 { 10 } else { 1 };
        for rounded in [false, true] {
            let lens = [n * op.x_len(), op.w_len(), op.kernels, n * op.y_len()];
            let ([x, w, b, dy], bound) = factors(rounded, lens);
            let area = op.out_height() * op.out_width();
            let step = |len: usize| len.div_ceil(SUMS) | 1;
            let sums = Pass::ALL.map(|pass| -> Vec<f64> {
                let len = [n * op.y_len(), n * op.x_len(), op.w_len()][pass as usize];
                let places = (0..len).step_by(step(len));
                places.map(|at| sum(&op, n, pass, at, [&x, &w, &dy])).collect()
            });
            by_every_algorithm(2, &op, n, [&x, &w, &b, &dy], |pass, algorithm, found| {
                let mut wanted = sums[pass as usize].clone();
                let step = step(found.len());
                if pass == Pass::Forward {
                    for (i, y) in wanted.iter_mut().enumerate() {
                        *y = 2.0 * *y + f64::from(b[i * step / area % op.kernels]);
                    }
                }
                let found: Vec<f32> = found.iter().copied().step_by(step).collect();
                close(&found, &wanted, bound(algorithm));
            });
        }
    }
}

#[test]
fn the_2012_crop_hangs_over_right_and_bottom() {
    let op = Conv { stride: 4, pad_after: 3, ..conv(3, 224, 96, 11) };
    assert_eq!((op.out_height(), op.out_width()), (55, 55));
}

#[test]
fn the_same_threads_give_the_same_bits() {
    let (groups, weight_channels) = (2, 16);
    let op =
        Conv { pad_before: 1, pad_after: 1, groups, weight_channels, ..conv(32, 9, 48, 3) };
    testing::on_every_cpu(|cpu| {
        let [x, dy] = [noise(1, 8 * op.x_len()), noise(2, 8 * op.y_len())]
            .map(|values| testing::buffer(cpu, &values));
        for by in Algorithm::ALL {
            let op = Conv { by: Some([by; 3]), ..op };
            let mut take = || {
                let mut dw = testing::buffer(cpu, &vec![0.0; op.w_len()]);
                cpu.conv_backward_weight(&op, 8, Input::Buffer(&x), &dy, &mut dw);
                dw.to_vec()
            };
            let first = take();
            assert!((0..5).all(|_| take() == first), "{by:?}");
        }
    });
}
