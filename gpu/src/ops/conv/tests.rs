use super::*;
use crate::{
    device::Device as _,
    testing::{self, close, noise, wide},
};
use proptest::prelude::*;

/// One source's share of `y`, without bias.
fn reference(op: &Conv, n: usize, x: &[f64], w: &[f64]) -> Vec<f64> {
    let (height, width) = (op.out_height(), op.out_width());
    let (channels, kernels) = (op.channels / op.groups, op.kernels / op.groups);
    let mut y = vec![0.0; n * op.y_len()];
    for (at, y) in y.iter_mut().enumerate() {
        let (image, k) = (at / op.y_len(), at / (height * width) % op.kernels);
        let (i, j) = (at / width % height, at % width);
        for c in 0..channels {
            for u in 0..op.window {
                for v in 0..op.window {
                    let (row, col) = (op.stride * i + u, op.stride * j + v);
                    let outside = row < op.pad_before
                        || col < op.pad_before
                        || row >= op.height + op.pad_before
                        || col >= op.width + op.pad_before;
                    if outside {
                        continue;
                    }
                    let channel = k / kernels * channels + c;
                    let pixel = ((image * op.channels + channel) * op.height + row
                        - op.pad_before)
                        * op.width
                        + col
                        - op.pad_before;
                    let tap =
                        (k * op.weight_channels + op.weight_offset + c) * op.window * op.window
                            + u * op.window
                            + v;
                    *y += x[pixel] * w[tap];
                }
            }
        }
    }
    y
}

fn shapes() -> impl Strategy<Value = (usize, Conv)> {
    let sides = (1..4_usize, 3..11_usize, 3..11_usize);
    let kernel = (1..6_usize, 1..4_usize, 0..4_usize, 0..4_usize);
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
            cpu.conv_forward(&op, n, &x, &w, Some(&b), false, &mut y);
            let mut wanted = reference(&op, n, &wx, &ww);
            for (at, y) in wanted.iter_mut().enumerate() {
                *y += f64::from(bias[at / area % op.kernels]);
            }
            close(&y, &wanted, 2e-6);
            cpu.conv_forward(&op, n, &x, &w, None, true, &mut y);
            wanted.iter_mut().zip(reference(&op, n, &wx, &ww)).for_each(|(sum, y)| *sum += y);
            close(&y, &wanted, 2e-6);
            let loss = |x: &[f64], w: &[f64]| -> f64 {
                reference(&op, n, x, w).iter().zip(&dys).map(|(y, dy)| y * f64::from(*dy)).sum()
            };
            let mut dx = testing::buffer(cpu, &noise(6, xs.len()));
            cpu.conv_backward_data(&op, n, &dy, &w, &mut dx);
            testing::gradient(&xs, &dx, |x| loss(x, &ww), |_| false);
            // Other sources' blocks of the weights stay as they were: here zero, as is their
            // gradient.
            let mut dw = testing::buffer(cpu, &vec![0.0; ws.len()]);
            cpu.conv_backward_weight(&op, n, &x, &dy, &mut dw);
            testing::gradient(&ws, &dw, |w| loss(&wx, w), |_| false);
            let mut db = testing::buffer(cpu, &bias);
            cpu.bias_backward(n, op.kernels, area, &dy, &mut db);
            let sum = |k: usize| -> f64 {
                let of_k = dys.iter().enumerate().filter(|(at, _)| at / area % op.kernels == k);
                of_k.map(|(_, dy)| f64::from(*dy)).sum()
            };
            close(&db, &(0..op.kernels).map(sum).collect::<Vec<_>>(), 1e-5);
        });
    }
}

#[test]
fn the_2012_crop_hangs_over_right_and_bottom() {
    let op = Conv {
        channels: 3,
        height: 224,
        width: 224,
        kernels: 96,
        window: 11,
        stride: 4,
        pad_before: 0,
        pad_after: 3,
        groups: 1,
        weight_channels: 3,
        weight_offset: 0,
    };
    assert_eq!((op.out_height(), op.out_width()), (55, 55));
}

#[test]
fn the_same_threads_give_the_same_bits() {
    let op = Conv {
        channels: 4,
        height: 9,
        width: 9,
        kernels: 6,
        window: 3,
        stride: 1,
        pad_before: 1,
        pad_after: 1,
        groups: 2,
        weight_channels: 2,
        weight_offset: 0,
    };
    testing::on_every_cpu(|cpu| {
        let [x, dy] = [noise(1, 8 * op.x_len()), noise(2, 8 * op.y_len())]
            .map(|values| testing::buffer(cpu, &values));
        let mut take = || {
            let mut dw = testing::buffer(cpu, &vec![0.0; op.w_len()]);
            cpu.conv_backward_weight(&op, 8, &x, &dy, &mut dw);
            dw.to_vec()
        };
        let first = take();
        assert!((0..5).all(|_| take() == first));
    });
}
