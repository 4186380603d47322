//! Overlapping max-pooling (section 3.4).

pub(crate) mod cpu;

/// `y[n, c, i, j] = max over the window of x[n, c, s i + u, s j + v]`, windows inside the image.
///
/// Of equal values the first in the window gets the gradient. What is not a number is larger than nothing: it is
/// handed on only where it is its window's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Channels.
    pub channels: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Side of the window, the paper's `z`.
    pub window: usize,
    /// Step of the window, the paper's `s`.
    pub stride: usize,
}

impl MaxPool {
    /// Output height.
    pub const fn out_height(&self) -> usize {
        (self.height - self.window) / self.stride + 1
    }

    /// Output width.
    pub const fn out_width(&self) -> usize {
        (self.width - self.window) / self.stride + 1
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        device::Device as _,
        ops::finish::Finish,
        testing::{self, close, noise, wide},
    };
    use proptest::prelude::*;

    pub(crate) fn reference(op: &MaxPool, n: usize, x: &[f64]) -> Vec<f64> {
        let mut y = Vec::new();
        for plane in x.chunks_exact(op.height * op.width).take(n * op.channels) {
            for i in 0..op.out_height() {
                for j in 0..op.out_width() {
                    let at = |u: usize, v: usize| {
                        plane[(op.stride * i + u) * op.width + op.stride * j + v]
                    };
                    let window =
                        (0..op.window).flat_map(|u| (0..op.window).map(move |v| (u, v)));
                    y.push(window.map(|(u, v)| at(u, v)).fold(f64::MIN, f64::max));
                }
            }
        }
        y
    }

    fn finish(pool: MaxPool) -> Finish {
        Finish { pool: Some(pool), ..Finish::nothing(pool.channels, pool.height * pool.width) }
    }

    proptest! {
        #[test]
        fn forward_and_gradient_agree_with_the_formula(
            n in 1..3_usize, channels in 1..4_usize, height in 3..12_usize, width in 3..12_usize,
            window in 1..4_usize, stride in 1..4_usize,
        ) {
            let op = MaxPool { channels, height, width, window, stride };
            let x = noise(1, n * channels * height * width);
            testing::on_every_cpu(|cpu| {
                let y_len = n * channels * op.out_height() * op.out_width();
                let (mut input, dys) = (testing::buffer(cpu, &x), noise(2, y_len));
                let mut y = testing::buffer(cpu, &vec![0.0; y_len]);
                cpu.finish_forward(&finish(op), n, &mut input, Some(&mut y));
                close(&y, &reference(&op, n, &wide(&x)), 0.0);
                let (dy, mut db) = (testing::buffer(cpu, &dys), testing::buffer(cpu, &x));
                cpu.finish_backward(&finish(op), n, &dy, &mut input, &mut db);
                let dx = testing::floats(&input);
                let loss = |x: &[f64]| -> f64 {
                    reference(&op, n, x).iter().zip(&dys).map(|(y, dy)| y * f64::from(*dy)).sum()
                };
                // A kink is where two pixels of a window are nearly alike: rare, and skipped whole.
                let near = |i: usize| x.iter().enumerate().any(|(j, x_j)| i != j && (x_j - x[i]).abs() < 1e-3);
                testing::gradient(&x, dx, loss, near);
            });
        }
    }

    #[test]
    fn of_equal_maxima_the_first_gets_the_gradient() {
        let op = MaxPool { channels: 1, height: 3, width: 3, window: 3, stride: 2 };
        testing::on_every_cpu(|cpu| {
            let mut x = testing::buffer(cpu, &[0.0, 2.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0]);
            let (dy, mut db) = (testing::buffer(cpu, &[5.0]), testing::buffer(cpu, &[9.0]));
            cpu.finish_backward(&finish(op), 1, &dy, &mut x, &mut db);
            assert_eq!(testing::floats(&x), [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        });
    }
}
