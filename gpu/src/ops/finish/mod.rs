//! What follows the product of a layer, in one pass over the memory: activation, LRN, max pooling.
//!
//! Nothing but the product and what is handed on is kept for the way back; the rest is computed
//! again, which costs less than to store and read it.

pub(crate) mod cpu;
pub mod cuda;

use super::{lrn::Lrn, pool::MaxPool};
use crate::device::Activation;

/// `out = pool(lrn(f(y)))`, each where it is there; with neither LRN nor pooling, `y = f(y)` is handed
/// on itself.
///
/// Backward: from the gradient of what is handed on to that of the product, and the bias's,
/// `db[k] = sum over n and area of dy[n, k, area]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    /// Channels, or units of a linear layer.
    pub channels: usize,
    /// Height times width; of a linear layer, 1.
    pub area: usize,
    /// `f`.
    pub activation: Activation,
    /// LRN, if any, of as many channels and pixels.
    pub lrn: Option<Lrn>,
    /// Pooling, if any, of as many channels and pixels.
    pub pool: Option<MaxPool>,
}

impl Finish {
    /// Nothing follows: the logits.
    pub const fn nothing(channels: usize, area: usize) -> Self {
        Self { channels, area, activation: Activation::None, lrn: None, pool: None }
    }

    /// Floats of an image's product.
    pub const fn y_len(&self) -> usize {
        self.channels * self.area
    }

    /// Pixels of a channel that is handed on.
    pub const fn out_area(&self) -> usize {
        match &self.pool {
            Some(pool) => pool.out_height() * pool.out_width(),
            None => self.area,
        }
    }

    /// Floats of an image that are handed on.
    pub const fn out_len(&self) -> usize {
        self.channels * self.out_area()
    }

    /// Whether `y` itself is handed on.
    pub const fn in_place(&self) -> bool {
        self.lrn.is_none() && self.pool.is_none()
    }

    /// # Panics
    /// If LRN or pooling is of another shape.
    pub(crate) fn check(&self) {
        let shape = (self.channels, self.area);
        if let Some(lrn) = &self.lrn {
            assert_eq!((lrn.channels, lrn.area), shape, "LRN of another shape");
        }
        if let Some(pool) = &self.pool {
            assert_eq!((pool.channels, pool.height * pool.width), shape, "pooling of another");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        device::Device as _,
        ops::{activation, lrn, pool},
        testing::{self, close, close_sums, kinked, noise, wide},
    };
    use proptest::prelude::*;

    pub(in crate::ops) fn reference(op: &Finish, n: usize, y: &[f64]) -> Vec<f64> {
        let mut y = activation::tests::reference(op.activation, y);
        if let Some(op) = &op.lrn {
            y = lrn::tests::reference(op, n, &y);
        }
        if let Some(op) = &op.pool {
            y = pool::tests::reference(op, n, &y);
        }
        y
    }

    pub(in crate::ops) fn ops() -> impl Strategy<Value = Finish> {
        let activations = vec![Activation::Relu, Activation::Tanh, Activation::None];
        let shape = (1..5_usize, 1..3_usize, 3..40_usize, 3..9_usize);
        let pools = prop::sample::select(vec![None, Some((3, 2)), Some((2, 2)), Some((3, 1))]);
        let lrns = prop::sample::select(vec![None, Some(3), Some(5)]);
        (shape, prop::sample::select(activations), lrns, pools).prop_map(
            |((each, groups, width, height), activation, lrn, pool)| {
                let (channels, area) = (each * groups, height * width);
                // A large alpha, so that the sum matters.
                let of_size =
                    |size| Lrn { channels, groups, area, size, alpha: 0.5, beta: 0.75, k: 2.0 };
                let of_windows =
                    |(window, stride)| MaxPool { channels, height, width, window, stride };
                let (lrn, pool) = (lrn.map(of_size), pool.map(of_windows));
                Finish { channels, area, activation, lrn, pool }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn forward_and_gradients_agree_with_the_formulas(op in ops(), n in 1..4_usize) {
            agrees(&op, n);
        }
    }

    /// Of one of two towers.
    #[test]
    fn conv1_and_conv5_of_2012_agree_with_the_formulas() {
        for (channels, side, normalised) in [(48, 55, true), (128, 13, false)] {
            let (area, groups, height, width) = (side * side, 1, side, side);
            let lrn = Lrn { channels, groups, area, size: 5, alpha: 0.5, beta: 0.75, k: 2.0 };
            let pool = MaxPool { channels, height, width, window: 3, stride: 2 };
            let (lrn, pool) = (normalised.then_some(lrn), Some(pool));
            agrees(&Finish { channels, area, activation: Activation::Relu, lrn, pool }, 1);
        }
    }

    fn agrees(op: &Finish, n: usize) {
        let (x, d) = (noise(1, n * op.y_len()), noise(2, n * op.out_len()));
        let handed_on = reference(op, n, &wide(&x));
        // Near a kink of the activation, or where two pixels of a window are nearly alike before they are
        // pooled, in any of the channels that LRN ties together.
        let pooled = reference(&Finish { pool: None, ..*op }, n, &wide(&x));
        let alike = |plane: usize, at: usize, pool: &MaxPool| {
            let around = |i: usize, end: usize| {
                i.saturating_sub(pool.window - 1)..(i + pool.window).min(end)
            };
            let of_plane = &pooled[plane * op.area..][..op.area];
            let rows = around(at / pool.width, pool.height);
            let columns = || around(at % pool.width, pool.width);
            let mut others = rows.flat_map(|i| columns().map(move |j| i * pool.width + j));
            others.any(|j| {
                j != at && of_plane[j] != 0.0 && (of_plane[j] - of_plane[at]).abs() < 1e-3
            })
        };
        let near = |i: usize| {
            let (plane, at) = (i / op.area, i % op.area);
            let image = plane / op.channels * op.channels;
            let reach = op.lrn.map_or(0, |lrn| lrn.size / 2);
            let first = plane.saturating_sub(reach).max(image);
            let mut planes = first..(plane + reach + 1).min(image + op.channels);
            kinked(x[i], 0.0) || op.pool.is_some_and(|pool| planes.any(|p| alike(p, at, &pool)))
        };
        testing::on_every_cpu(|cpu| {
            let (mut y, given) = (testing::buffer(cpu, &x), testing::buffer(cpu, &d));
            let mut out = testing::buffer(cpu, &vec![9.0; d.len()]);
            cpu.finish_forward(op, n, &mut y, (!op.in_place()).then_some(&mut out));
            close(if op.in_place() { &y } else { &out }, &handed_on, 1e-6);
            let mut db = testing::buffer(cpu, &vec![9.0; op.channels]);
            cpu.finish_backward(op, n, &given, &mut y, &mut db);
            let loss = |x: &[f64]| -> f64 {
                reference(op, n, x).iter().zip(&d).map(|(y, d)| y * f64::from(*d)).sum()
            };
            testing::gradient(&x, &y, loss, near);
            let of_channel = |k| {
                let units = (0..y.len()).filter(move |i| i / op.area % op.channels == k);
                units.map(|i| f64::from(y[i]))
            };
            close_sums(&db, of_channel, 1e-6);
        });
    }
}
