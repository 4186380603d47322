//! On a CUDA device: a thread per weight.

use super::Sgd;
use crate::cuda::{
    launch::{Args, Launch, Ptr, Sink},
    numbers::{Numbers, kernels},
};

/// One step on `len` weights by the gradients `g`. The learning rate is that of the
/// [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `op`'s. `copy`, of halves and
/// where it is there, is what products read of the weights, and written too.
pub fn step(
    numbers: Numbers, op: &Sgd, len: usize, g: Ptr, [v, w, copy]: [Ptr; 3], params: Ptr,
    sink: Sink<'_>,
) {
    let args = Args::new().with(g).with(v).with(w).with(copy).with(len as u64);
    let args = args.with(op.momentum).with(op.decay).with(params);
    sink(Launch::each(numbers.of(kernels!("sgd")), len, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        cuda::{
            launch::StepParams,
            testing::{on_every_schedule, rounded},
        },
        device::Device as _,
        testing::{self, noise},
    };

    #[test]
    fn two_steps_give_the_cpu_devices_bits() {
        let op = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
        let (g, w, len) = (noise(1, 1003), noise(2, 1003), 1003);
        let mut cpu = Cpu::new("test", 1).expect("threads");
        let zeros = vec![0.0; len];
        let [gradient, mut v, mut wanted] =
            [&g, &zeros, &w].map(|values| testing::buffer(&mut cpu, values));
        (0..2).for_each(|_| cpu.sgd(&op, len, &gradient, &mut v, &mut wanted));
        on_every_schedule(|device| {
            for (numbers, copied) in
                [(Numbers::F32, false), (Numbers::Bf16, false), (Numbers::Bf16, true)]
            {
                let [g, on_v, on_w] = [&g, &zeros, &w].map(|values| device.put(values));
                let copy = device.unwritten_as(numbers, len);
                let params = device.params(StepParams::new(op.rate, 0, 1));
                let op = Sgd { rate: f32::NAN, ..op };
                let weights = [on_v, on_w, if copied { copy } else { Ptr::NULL }];
                device.run(|sink| {
                    (0..2).for_each(|_| step(numbers, &op, len, g, weights, params, sink));
                });
                assert_eq!(device.get::<f32>(on_w), testing::floats(&wanted));
                assert_eq!(device.get::<f32>(on_v), testing::floats(&v));
                if copied {
                    assert_eq!(device.get_as(numbers, copy), rounded(numbers, &wanted));
                }
            }
        });
    }
}
