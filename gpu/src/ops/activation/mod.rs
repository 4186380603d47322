//! ReLU (section 3.1) and tanh, in place; the gradient is taken from the output.
//!
//! `y = max(0, x)`, `dx = dy (y > 0)`; `y = tanh(x)`, `dx = dy (1 - y^2)`.

pub(crate) mod cpu;
pub mod cuda;

#[cfg(test)]
pub(crate) mod tests {
    use crate::{
        device::{Activation, Device as _},
        ops::finish::Finish,
        testing::{self, close, kinked, noise},
    };

    pub(crate) fn reference(activation: Activation, x: &[f64]) -> Vec<f64> {
        let f = |x: &f64| match activation {
            Activation::Relu => x.max(0.0),
            Activation::Tanh => x.tanh(),
            Activation::None => *x,
        };
        x.iter().map(f).collect()
    }

    #[test]
    fn forward_and_gradient_agree_with_the_formula() {
        testing::on_every_cpu(|cpu| {
            for activation in [Activation::Relu, Activation::Tanh, Activation::None] {
                let op = Finish { activation, ..Finish::nothing(10_007, 1) };
                let (x, dy) = (noise(1, 10_007), noise(2, 10_007));
                let mut y = testing::buffer(cpu, &x);
                cpu.finish_forward(&op, 1, &mut y, None);
                let wide: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
                close(&y, &reference(activation, &wide), 1e-6);
                let (d, mut db) = (testing::buffer(cpu, &dy), testing::buffer(cpu, &x));
                cpu.finish_backward(&op, 1, &d, &mut y, &mut db);
                let dx = testing::floats(&y);
                assert_eq!(dx, testing::floats(&db), "one image");
                let loss = |x: &[f64]| -> f64 {
                    let y = reference(activation, x);
                    y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
                };
                testing::gradient(&x, dx, loss, |i| kinked(x[i], 0.0));
            }
        });
    }
}
