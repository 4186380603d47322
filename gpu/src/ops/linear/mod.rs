//! The fully-connected layers fc6, fc7 and fc8.

pub(crate) mod cpu;
pub mod cuda;

use super::Dtype;

/// `y[n, k] = b[k] + sum_c w[k, weight_offset + c] x[n, c]`, one source's share of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Inputs of this source.
    pub inputs: usize,
    /// Output units.
    pub outputs: usize,
    /// Inputs in a row of the weights, all sources together.
    pub weight_inputs: usize,
    /// The source's first input in a row of the weights.
    pub weight_offset: usize,
    /// What is multiplied.
    pub dtype: Dtype,
}

impl Linear {
    /// Floats of the weights, all sources together.
    pub const fn w_len(&self) -> usize {
        self.outputs * self.weight_inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::{Activation, Device as _, Sums},
        ops::sgd::Sgd,
        testing::{self, close, noise, wide},
    };

    /// `y[n, k]` from all sources' inputs side by side.
    fn reference(n: usize, outputs: usize, x: &[f64], w: &[f64], b: &[f64]) -> Vec<f64> {
        let inputs = x.len() / n;
        let dot = |i: usize, k: usize| -> f64 {
            (0..inputs).map(|c| x[i * inputs + c] * w[k * inputs + c]).sum()
        };
        (0..n * outputs).map(|at| b[at % outputs] + dot(at / outputs, at % outputs)).collect()
    }

    #[test]
    fn two_sources_add_up_to_one_layer_and_gradients_agree() {
        let (n, left, right, outputs) = (5, 7, 4, 9);
        let inputs = left + right;
        let source = |inputs: usize, weight_offset: usize| Linear {
            inputs,
            outputs,
            weight_inputs: left + right,
            weight_offset,
            dtype: Dtype::F32,
        };
        let (a, b) = (source(left, 0), source(right, left));
        let (xs, w, bias, dys) = (
            noise(1, n * inputs),
            noise(2, outputs * inputs),
            noise(3, outputs),
            noise(4, n * outputs),
        );
        let part = |from: usize, len: usize| -> Vec<f32> {
            xs.chunks_exact(inputs).flat_map(|row| row[from..from + len].to_vec()).collect()
        };
        testing::on_every_cpu(|cpu| {
            let [xa, xb, w, bias, dy] = [&part(0, left), &part(left, right), &w, &bias, &dys]
                .map(|values| testing::buffer(cpu, values));
            let mut y = testing::buffer(cpu, &noise(9, n * outputs));
            cpu.linear_forward(&a, n, &xa, &w, Sums::with(&bias), &mut y);
            let to = Sums::more().then(Activation::Tanh);
            cpu.linear_forward(&b, n, &xb, &w, to, &mut y);
            let [wx, ww, wb] = [&xs[..], &w, &bias].map(wide);
            let sums = reference(n, outputs, &wx, &ww, &wb);
            close(&y, &sums.iter().map(|sum| sum.tanh()).collect::<Vec<_>>(), 1e-6);
            let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                let y = reference(n, outputs, x, w, b);
                y.iter().zip(&dys).map(|(y, dy)| y * f64::from(*dy)).sum()
            };
            let mut dx = testing::buffer(cpu, &[7.0; 5 * 4]);
            cpu.linear_backward_data(&b, n, &dy, &w, &mut dx);
            let merged: Vec<f32> = (0..n * inputs)
                .map(|i| {
                    if i % inputs < left {
                        0.0
                    } else {
                        dx[i / inputs * right + i % inputs - left]
                    }
                })
                .collect();
            testing::gradient(&xs, &merged, |x| loss(x, &ww, &wb), |i| i % inputs < left);
            let mut dw = testing::buffer(cpu, &vec![7.0; outputs * inputs]);
            let mut updated = testing::buffer(cpu, &w);
            cpu.linear_update(&a, n, &xa, &dy, &Sgd::GRADIENT, &mut dw, &mut updated);
            cpu.linear_update(&b, n, &xb, &dy, &Sgd::GRADIENT, &mut dw, &mut updated);
            let sums = w.iter().zip(dw.iter()).map(|(w, dw)| f64::from(*w) + f64::from(*dw));
            close(&updated, &sums.collect::<Vec<_>>(), 1e-7);
            testing::gradient(&w, &dw, |w| loss(&wx, w, &wb), |_| false);
            let mut db = testing::buffer(cpu, &vec![7.0; outputs]);
            cpu.bias_backward(n, outputs, 1, &dy, &mut db);
            testing::gradient(&bias, &db, |b| loss(&wx, &ww, b), |_| false);
        });
    }

    #[test]
    fn blocks_and_their_edges_agree_with_the_formula() {
        // More rows, columns and terms than any block has, and none a multiple.
        let edges = |dtype| linear(dtype, 245, (7, 1030, 3));
        agrees(&edges(Dtype::F32), 301, false, 1e-6);
        // Factors that are bf16s already are off by no more; others, by 2^-9 each.
        agrees(&edges(Dtype::Bf16), 301, true, 1e-6);
        agrees(&edges(Dtype::Bf16), 301, false, 4e-3);
    }

    /// Of one of two towers; of fc6, without the other's columns, which are many.
    #[test]
    fn fc6_to_fc8_of_2012_agree_with_the_formula() {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            agrees(&linear(dtype, 2048, (0, 4608, 0)), 2, true, 2e-6);
            agrees(&linear(dtype, 2048, (2048, 2048, 0)), 3, true, 2e-6);
            agrees(&linear(dtype, 1000, (2048, 2048, 0)), 17, true, 2e-6);
        }
    }

    fn linear(
        dtype: Dtype, outputs: usize, (before, inputs, after): (usize, usize, usize),
    ) -> Linear {
        let weight_inputs = before + inputs + after;
        Linear { inputs, outputs, weight_inputs, weight_offset: before, dtype }
    }

    /// All passes over `n` images; factors are `rounded` to bf16 before, or not.
    fn agrees(op: &Linear, n: usize, rounded: bool, bound: f64) {
        let Linear { inputs, outputs, weight_inputs, weight_offset: offset, .. } = *op;
        let round = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        let factors = |seed: u32, len: usize| -> Vec<f32> {
            let plain = noise(seed, len).into_iter();
            plain.map(|x| if rounded { round(x) } else { x }).collect()
        };
        let (xs, ws) = (factors(1, n * inputs), factors(2, outputs * weight_inputs));
        let (dys, vs) = (factors(3, n * outputs), noise(4, ws.len()));
        let (mut y, mut dx) = (vec![0.0; n * outputs], vec![0.0; n * inputs]);
        let mut dw = vec![0.0; ws.len()];
        let places = (0..n * outputs).flat_map(|iy| (0..inputs).map(move |c| (iy, c)));
        for (iy, c) in places {
            let (i, k) = (iy / outputs, iy % outputs);
            let (ix, iw) = (i * inputs + c, k * weight_inputs + offset + c);
            let [x, w, dy] = [xs[ix], ws[iw], dys[iy]].map(f64::from);
            y[iy] += x * w;
            dx[ix] += w * dy;
            dw[iw] += x * dy;
        }
        let sgd = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
        testing::on_every_cpu_for_bf16(|cpu| {
            let [x, dy] = [&xs, &dys].map(|values| testing::buffer(cpu, values));
            let [mut w, mut v] = [&ws, &vs].map(|values| testing::buffer(cpu, values));
            let mut found = testing::buffer(cpu, &noise(9, y.len()));
            let to = Sums { accumulate: false, ..Sums::more() };
            cpu.linear_forward(op, n, &x, &w, to, &mut found);
            close(&found, &y, bound);
            let mut found = testing::buffer(cpu, &noise(9, dx.len()));
            cpu.linear_backward_data(op, n, &dy, &w, &mut found);
            close(&found, &dx, bound);
            cpu.linear_update(op, n, &x, &dy, &sgd, &mut v, &mut w);
            let stepped = ws.iter().zip(&vs).zip(&dw).enumerate().map(|(i, ((w, v), dw))| {
                let (w, v) = (f64::from(*w), f64::from(*v));
                let mine = (offset..offset + inputs).contains(&(i % weight_inputs));
                if mine { 0.9 * v - 0.01 * 0.1 * w - 0.1 * dw } else { v }
            });
            let stepped: Vec<f64> = stepped.collect();
            close(&v, &stepped, bound);
            let moved = ws.iter().zip(&vs).zip(&stepped).map(|((w, v), stepped)| {
                let still = f64::from(*v) == *stepped;
                f64::from(*w) + if still { 0.0 } else { *stepped }
            });
            close(&w, &moved.collect::<Vec<_>>(), bound);
        });
    }
}
