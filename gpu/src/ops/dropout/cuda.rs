//! On a CUDA device: a thread per unit.

use super::Dropout;
use crate::cuda::{
    launch::{Args, Launch, Ptr, Sink, int},
    numbers::{Numbers, kernels},
};
use bytemuck::{Pod, Zeroable};

/// The twin of `Mask` in `dropout.cu`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Mask {
    threshold: u64,
    key: [u32; 2],
    rows: i32,
    units: i32,
    first_unit: i32,
    unused: i32,
}

/// Zeroes the dropped units of `y[n, units]`. The step is that of the
/// [`StepParams`](crate::cuda::launch::StepParams) at `params`, not `op`'s.
pub fn apply(numbers: Numbers, op: &Dropout, n: usize, y: Ptr, params: Ptr, sink: Sink<'_>) {
    let _ = int(n * op.units);
    let mask = Mask {
        threshold: op.threshold(),
        key: [op.seed as u32, (op.seed >> 32) as u32 ^ op.layer],
        rows: int(n),
        units: int(op.units),
        first_unit: int(op.first_unit),
        unused: 0,
    };
    let args = Args::new().with(y).with(mask).with(params);
    sink(Launch::each(numbers.of(kernels!("dropout")), n * op.units, 256, args));
}

/// `y *= factor` over `len` numbers: dropout at test time.
pub fn scale(numbers: Numbers, factor: f32, len: usize, y: Ptr, sink: Sink<'_>) {
    let args = Args::new().with(y).with(len as u64).with(factor);
    sink(Launch::each(numbers.of(kernels!("scale")), len, 256, args));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cpu::Cpu,
        cuda::{
            launch::StepParams,
            testing::{Emulated, at_full_size, noise_as, on_every_schedule},
        },
        device::Device as _,
        testing,
    };

    /// Holds the kernels to the CPU device's mask.
    fn agrees(device: &mut Emulated, rate: f32, [first_unit, units]: [usize; 2], n: usize) {
        let mut cpu = Cpu::new("test", 1).expect("threads");
        let (seed, layer, step) = (7 << 40 | 3, 5, 1 << 33 | 9);
        let op = Dropout { rate, units, first_unit, seed, layer, step };
        for numbers in Numbers::IN_MEMORY {
            let values = noise_as(numbers, 1, n * units);
            let mut wanted = testing::buffer(&mut cpu, &values);
            cpu.dropout(&op, n, &mut wanted);
            let y = device.put_as(numbers, &values);
            let params = device.params(StepParams::new(0.1, step, n));
            let op = Dropout { step: 0, ..op };
            device.run(|sink| apply(numbers, &op, n, y, params, sink));
            assert_eq!(device.get_as(numbers, y), testing::floats(&wanted), "{op:?}");
        }
    }

    #[test]
    fn the_mask_is_that_of_the_cpu_device() {
        on_every_schedule(|device| {
            agrees(device, 0.5, [0, 256], 3);
            agrees(device, 0.4, [499, 501], 2);
            agrees(device, 0.5, [3, 1], 1);
            agrees(device, 0.0, [0, 7], 2);
            agrees(device, 1.0, [6, 9], 2);
        });
    }

    #[test]
    fn the_second_towers_mask_of_2012_is_that_of_the_cpu_device() {
        at_full_size(|device| agrees(device, 0.5, [2048, 2048], 1));
    }

    #[test]
    fn at_test_everything_is_scaled() {
        on_every_schedule(|device| {
            for numbers in Numbers::IN_MEMORY {
                let y = device.put_as(numbers, &[2.0, -4.0, 8.0]);
                device.run(|sink| scale(numbers, 0.5, 2, y, sink));
                assert_eq!(device.get_as(numbers, y), [1.0, -2.0, 8.0]);
            }
        });
    }
}
