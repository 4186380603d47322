//! Local response normalisation across channels (section 3.3), per tower.

pub(crate) mod cpu;

/// The widest window.
pub const SIZE_MAX: usize = 15;

/// `y[c] = x[c] / scale[c]^beta`, `scale[c] = k + alpha sum_j x[j]^2` over `size` channels `j` around
/// `c`, clipped at the ends of its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    /// Channels, over all groups.
    pub channels: usize,
    /// Towers side by side in this buffer; the window never crosses between them.
    pub groups: usize,
    /// Height times width.
    pub area: usize,
    /// Channels in the window, the paper's `n`.
    pub size: usize,
    /// The coefficient itself, never divided (2e-5 = the 2012 source's 1e-4 / 5).
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Added to the sum: positive and normal, so that scales are.
    pub k: f32,
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

    pub(crate) fn reference(op: &Lrn, n: usize, x: &[f64]) -> Vec<f64> {
        let group = op.channels / op.groups;
        let value = |at: usize| {
            let (c, pixel) = (at / op.area % op.channels, at % op.area);
            let image = &x[at / op.area / op.channels * op.channels * op.area..];
            let first = c / group * group;
            let around = (first..first + group).filter(|j| j.abs_diff(c) <= op.size / 2);
            let sum: f64 = around.map(|j| image[j * op.area + pixel].powi(2)).sum();
            x[at] / (f64::from(op.k) + f64::from(op.alpha) * sum).powf(f64::from(op.beta))
        };
        (0..n * op.channels * op.area).map(value).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn forward_and_gradient_agree_with_the_formula(
            n in 1..3_usize, group in 1..9_usize, groups in 1..3_usize, area in 1..300_usize,
            half in 0..4_usize, beta in prop::sample::select(vec![0.75_f32, 0.6]),
        ) {
            let channels = group * groups;
            // A large alpha, so that the sum matters.
            let op = Lrn { channels, groups, area, size: 2 * half + 1, alpha: 0.7, beta, k: 2.0 };
            let x = noise(1, n * channels * area);
            let dys = noise(2, x.len());
            testing::on_every_cpu(|cpu| {
                let finish = Finish { lrn: Some(op), ..Finish::nothing(channels, area) };
                let (mut input, dy) = (testing::buffer(cpu, &x), testing::buffer(cpu, &dys));
                let mut y = testing::buffer(cpu, &vec![5.0; x.len()]);
                cpu.finish_forward(&finish, n, &mut input, Some(&mut y));
                close(&y, &reference(&op, n, &wide(&x)), 1e-6);
                let mut db = testing::buffer(cpu, &vec![5.0; channels]);
                cpu.finish_backward(&finish, n, &dy, &mut input, &mut db);
                let dx = testing::floats(&input);
                let loss = |x: &[f64]| -> f64 {
                    reference(&op, n, x).iter().zip(&dys).map(|(y, dy)| y * f64::from(*dy)).sum()
                };
                testing::gradient(&x, dx, loss, |_| false);
            });
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let (n, channels, area) = (2, 10, 301); // pieces of whole vectors, and a rest
        for beta in [0.75, 0.6] {
            let op = Lrn { channels, groups: 2, area, size: 5, alpha: 0.7, beta, k: 2.0 };
            let (xs, dys) = (noise(1, n * channels * area), noise(2, n * channels * area));
            let mut results = vec![];
            testing::on_every_cpu(|cpu| {
                let finish = Finish { lrn: Some(op), ..Finish::nothing(channels, area) };
                let (mut x, dy) = (testing::buffer(cpu, &xs), testing::buffer(cpu, &dys));
                let mut y = testing::buffer(cpu, &vec![5.0; xs.len()]);
                cpu.finish_forward(&finish, n, &mut x, Some(&mut y));
                let mut db = testing::buffer(cpu, &vec![5.0; channels]);
                cpu.finish_backward(&finish, n, &dy, &mut x, &mut db);
                results.push([&y, &x].map(|buffer| testing::floats(buffer).to_vec()));
            });
            assert!(results.iter().all(|result| *result == results[0]));
        }
    }
}
