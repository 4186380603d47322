//! On a CUDA device: a thread per number.

use crate::{
    cuda::{
        launch::{Args, Launch, Ptr, Sink},
        numbers::{Numbers, kernels},
    },
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

/// `y = f(y)` over `len` numbers.
pub fn forward(numbers: Numbers, activation: Activation, len: usize, y: Ptr, sink: Sink<'_>) {
    if activation != Activation::None {
        let args = Args::new().with(y).with(len as u64).with(code(activation));
        sink(Launch::each(numbers.of(kernels!("activation")), len, 256, args));
    }
}

/// `y += x` over `len` numbers.
pub fn add(numbers: Numbers, len: usize, x: Ptr, y: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(x).with(y).with(len as u64);
    sink(Launch::each(numbers.of(kernels!("add")), len, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cuda::testing::{Emulated, bound, noise_as, on_every_schedule, rounded},
        ops::activation::tests::reference,
        testing::{close, wide},
    };

    #[test]
    fn activations_and_sums_agree_with_the_formulas() {
        for numbers in Numbers::IN_MEMORY {
            on_every_schedule(|device| agrees(numbers, device));
        }
    }

    fn agrees(numbers: Numbers, device: &mut Emulated) {
        let [x, y] = [1, 2].map(|seed| noise_as(numbers, seed, 1007));
        for activation in [Activation::Relu, Activation::Tanh, Activation::None] {
            let found = device.put_as(numbers, &x);
            device.run(|sink| forward(numbers, activation, x.len(), found, sink));
            let (found, wanted) =
                (device.get_as(numbers, found), reference(activation, &wide(&x)));
            close(&found, &wanted, bound(numbers, 1e-6));
        }
        let (on_x, on_y) = (device.put_as(numbers, &x), device.put_as(numbers, &y));
        device.run(|sink| add(numbers, x.len(), on_x, on_y, sink));
        let sums: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
        assert_eq!(device.get_as(numbers, on_y), rounded(numbers, &sums));
    }
}
