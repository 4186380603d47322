//! On a CUDA device: a thread per number.

use crate::{
    cuda::launch::{Args, Launch, Ptr, Sink},
    device::Activation,
};

/// `Activation` of `activation.cuh`.
pub(crate) const fn code(activation: Activation) -> i32 {
    match activation {
        Activation::Relu => 0,
        Activation::Tanh => 1,
        Activation::None => 2,
    }
}

/// `y = f(y)` over `len` floats.
pub fn forward(activation: Activation, len: usize, y: Ptr, sink: Sink<'_>) {
    if activation != Activation::None {
        let args = Args::new().with(y).with(len as u64).with(code(activation));
        sink(Launch::each("activation_f32", len, 256, args));
    }
}

/// `y += x` over `len` floats.
pub fn add(len: usize, x: Ptr, y: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(x).with(y).with(len as u64);
    sink(Launch::each("add_f32", len, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cuda::testing::on_every_schedule,
        ops::activation::tests::reference,
        testing::{close, noise, wide},
    };

    #[test]
    fn activations_and_sums_agree_with_the_formulas() {
        let (x, y) = (noise(1, 1007), noise(2, 1007));
        on_every_schedule(|device| {
            for activation in [Activation::Relu, Activation::Tanh, Activation::None] {
                let found = device.put(&x);
                device.run(|sink| forward(activation, x.len(), found, sink));
                close(&device.get(found), &reference(activation, &wide(&x)), 1e-6);
            }
            let (on_x, on_y) = (device.put(&x), device.put(&y));
            device.run(|sink| add(x.len(), on_x, on_y, sink));
            let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            assert_eq!(device.get::<f32>(on_y), sums);
        });
    }
}
