//! On a CUDA device: a thread per weight.

use super::Sgd;
use crate::cuda::{
    launch::{Args, Launch, Ptr, Sink},
    numbers::{Numbers, kernels},
};

/// Notes in the [`StepParams`](crate::cuda::launch::StepParams) at `params` if any of the `len` numbers at `g`, of
/// these, is not finite: steps that are launched later change nothing then. What products of finite halves add up to
/// is finite: a gradient is if what it is the product of is.
///
/// # Panics
/// Of bf16, which has `f32`'s range.
pub fn find_overflow(numbers: Numbers, len: usize, g: Ptr, params: Ptr, sink: Sink<'_>) {
    let kernel = match numbers {
        Numbers::F32 | Numbers::Tf32 => "find_overflow_f32",
        Numbers::F16 => "find_overflow_f16",
        Numbers::Bf16 => panic!("bf16 overflows where f32 does"),
    };
    let args = Args::new().with(g).with(len as u64).with(params);
    sink(Launch::each(kernel, len, 256, args));
}

/// One step on `len` weights by the gradients `g`, unless one was found not to be finite. Learning rate and the
/// gradient's scale are those of the [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `op`'s.
/// `copy`, of halves and where it is there, is what products read of the weights, and written too.
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
            testing::{Emulated, at_full_size, on_every_schedule, rounded},
        },
        device::Device as _,
        testing::{self, noise},
    };

    /// Of gradients.
    const SCALE: f32 = 1024.0;

    /// Holds two steps on `len` weights to the CPU device's bits.
    fn agrees(device: &mut Emulated, len: usize) {
        let op = Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 };
        let (g, w, zeros) = (noise(1, len), noise(2, len), vec![0.0; len]);
        let mut cpu = Cpu::new("test", 1).expect("threads");
        let [gradient, mut v, mut wanted] =
            [&g, &zeros, &w].map(|values| testing::buffer(&mut cpu, values));
        (0..2).for_each(|_| cpu.sgd(&op, len, &gradient, &mut v, &mut wanted));
        let copies = |numbers| [(numbers, false), (numbers, numbers != Numbers::F32)];
        for (numbers, copied) in Numbers::IN_MEMORY.into_iter().flat_map(copies) {
            let [on_v, on_w] = [&zeros, &w].map(|values| device.put(values));
            // Scales are powers of two, which change no bit.
            let scaled: Vec<f32> = g.iter().map(|g| g * SCALE).collect();
            let (g, copy) = (device.put(&scaled), device.unwritten_as(numbers, len));
            let params = device.params(StepParams::new(op.rate, 0, 1).scaled(SCALE));
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
    }

    #[test]
    fn two_steps_give_the_cpu_devices_bits() {
        on_every_schedule(|device| agrees(device, 1003));
    }

    #[test]
    fn two_steps_on_conv3s_weights_of_2012_give_the_cpu_devices_bits() {
        at_full_size(|device| agrees(device, 192 * 256 * 3 * 3));
    }

    /// Whether an overflow is found among `values`; if so, a step that follows must change nothing.
    fn overflows(device: &mut Emulated, numbers: Numbers, values: &[f32]) -> bool {
        let (op, len) = (Sgd { rate: 0.1, momentum: 0.9, decay: 0.01 }, 700);
        let [g, v, w] = [1, 2, 3].map(|seed| device.put(&noise(seed, len)));
        let (found, before) =
            (device.put_as(numbers, values), [device.get::<f32>(v), device.get(w)]);
        let (copy, params) =
            (device.put_as(numbers, &before[1]), device.params(StepParams::new(0.1, 0, 1)));
        device.run(|sink| {
            find_overflow(numbers, values.len(), found, params, sink);
            step(numbers, &op, len, g, [v, w, copy], params, sink);
        });
        let overflowed = device.get::<StepParams>(params)[0].overflowed != 0;
        let after = [device.get::<f32>(v), device.get(w)];
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before == after, overflowed, "steps are taken if nothing overflowed");
        }
        let copied = if numbers == Numbers::F32 { &before[1] } else { &after[1] };
        assert_eq!(device.get_as(numbers, copy), rounded(numbers, copied));
        overflowed
    }

    #[test]
    fn what_is_not_finite_is_found_and_no_weight_moves_any_more() {
        on_every_schedule(|device| {
            for (numbers, largest) in [(Numbers::F32, f32::MAX), (Numbers::F16, 65504.0)] {
                let mut values = noise(4, 1003);
                (values[0], values[1]) = (largest, -largest);
                assert!(!overflows(device, numbers, &values));
                for (at, value) in [
                    (0, f32::INFINITY),
                    (517, f32::NAN),
                    (1002, f32::NEG_INFINITY),
                    (3, -f32::NAN),
                ] {
                    let mut values = values.clone();
                    values[at] = value;
                    assert!(overflows(device, numbers, &values), "{value} at {at}");
                }
                // What is rounded to infinity, or is a number among many that are none.
                assert!(overflows(device, Numbers::F16, &[1.0, 65520.0]));
                assert!(overflows(device, numbers, &[f32::NAN; 300]));
            }
        });
    }
}
