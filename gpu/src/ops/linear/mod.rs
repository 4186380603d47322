//! The fully-connected layers fc6, fc7 and fc8.

pub(crate) mod cpu;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Device as _,
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
            cpu.linear_forward(&a, n, &xa, &w, Some(&bias), false, &mut y);
            cpu.linear_forward(&b, n, &xb, &w, None, true, &mut y);
            let [wx, ww, wb] = [&xs[..], &w, &bias].map(wide);
            close(&y, &reference(n, outputs, &wx, &ww, &wb), 1e-6);
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
            cpu.linear_backward_weight(&a, n, &xa, &dy, &mut dw);
            cpu.linear_backward_weight(&b, n, &xb, &dy, &mut dw);
            testing::gradient(&w, &dw, |w| loss(&wx, w, &wb), |_| false);
            let mut db = testing::buffer(cpu, &vec![7.0; outputs]);
            cpu.bias_backward(n, outputs, 1, &dy, &mut db);
            testing::gradient(&bias, &db, |b| loss(&wx, &ww, b), |_| false);
        });
    }
}
