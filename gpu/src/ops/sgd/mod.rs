//! The 2012 update (section 5), the learning rate inside the velocity.

pub(crate) mod cpu;
pub mod cuda;

/// `v = momentum v - decay rate w - rate g`, `w = w + v`; `g` is the mean gradient of the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay; zero for biases.
    pub decay: f32,
}

impl Sgd {
    /// The velocity becomes the gradient itself, for those who want to look at it.
    pub const GRADIENT: Self = Self { rate: -1.0, momentum: 0.0, decay: 0.0 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Device as _,
        testing::{self, close, noise},
    };

    #[test]
    fn two_steps_agree_with_the_2012_rule() {
        testing::on_every_cpu(|cpu| {
            let op = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
            let len = 40_001;
            let (g, w0) = (noise(1, len), noise(2, len));
            let (gradient, mut w) = (testing::buffer(cpu, &g), testing::buffer(cpu, &w0));
            let mut v = testing::buffer(cpu, &vec![0.0; len]);
            let mut wide: Vec<(f64, f64)> = w0.iter().map(|w| (0.0, f64::from(*w))).collect();
            for _ in 0..2 {
                cpu.sgd(&op, len, &gradient, &mut v, &mut w);
                for ((v, w), g) in wide.iter_mut().zip(&g) {
                    *v = 0.9 * *v - 0.01 * 0.1 * *w - 0.1 * f64::from(*g);
                    *w += *v;
                }
            }
            close(&v, &wide.iter().map(|(v, _)| *v).collect::<Vec<_>>(), 1e-6);
            close(&w, &wide.iter().map(|(_, w)| *w).collect::<Vec<_>>(), 1e-6);
        });
    }
}
