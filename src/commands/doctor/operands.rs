//! Made-up operands of an op, made once for all that try it: alike on every device.

use super::task::{Operand, Task};
use gpu::{cpu::Pool, cuda::Numbers, device::Pictures, ops::conv::Conv, random::philox};

/// Floats that a worker makes at a time: whole calls of philox.
const CHUNK: usize = 1 << 14;

/// Of each, what an op reads or makes; of what it makes, noise that it has to overwrite.
#[derive(Debug)]
pub(super) struct Operands {
    pub(super) pictures: Pictures,
    pub(super) labels: Vec<u32>,
    /// In the order of [`Operand::ALL`].
    each: [Vec<f32>; 5],
}

impl Operands {
    /// Those of `task` over `n` images, which memory keeps as they are where it holds `numbers`; made by `pool`.
    pub(super) fn new(task: &Task, numbers: Numbers, n: usize, pool: &Pool) -> Self {
        let noise = |seed, scale, len| noise(pool, seed, numbers, scale, len);
        let pixels = match task {
            Task::Conv { op, first: true, .. } => n * op.x_len(),
            // The first convolution reads pictures, and this one does not.
            _ => n * NO_PICTURES.x_len(),
        };
        let labels = match task {
            Task::Softmax { classes, .. } => (0..n).map(|i| (i % classes) as u32).collect(),
            _ => vec![],
        };
        let each = Operand::ALL.map(|operand| {
            let scale = if operand == Operand::W { task.weight_scale() } else { 1.0 };
            noise(operand as u32 + 1, scale, task.len(operand, n))
        });
        Self { pictures: noise(1, 1.0, pixels).into(), labels, each }
    }

    pub(super) fn of(&self, operand: Operand) -> &[f32] {
        &self.each[operand as usize]
    }
}

/// `len` numbers between `-scale` and `scale` of stream `seed`.
fn noise(pool: &Pool, seed: u32, numbers: Numbers, scale: f32, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    pool.chunks(&mut values, CHUNK, |chunk, values| {
        for (i, values) in values.chunks_mut(4).enumerate() {
            let words = philox([seed, 2012], [(chunk * CHUNK / 4 + i) as u32, 0, 0, 0]);
            for (value, word) in values.iter_mut().zip(words) {
                *value = scale * (f64::from(word) / 2_147_483_648.0 - 1.0) as f32;
            }
        }
        numbers.round(values);
    });
    values
}

/// What stands in the place of the first layer where it is not tried.
pub(super) const NO_PICTURES: Conv = Conv {
    channels: 1,
    height: 1,
    width: 1,
    kernels: 1,
    window: 1,
    stride: 1,
    pad_before: 0,
    pad_after: 0,
    groups: 1,
    weight_channels: 1,
    weight_offset: 0,
    by: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use gpu::cpu::Level;

    #[test]
    fn noise_is_the_same_whoever_makes_it() {
        let pool = |threads| Pool::new("noise", threads, Level::widest()).expect("threads");
        let made = |threads| noise(&pool(threads), 3, Numbers::F16, 0.25, CHUNK + 7);
        let one = made(1);
        assert_eq!(one, made(3));
        assert!(one.iter().all(|value| value.abs() <= 0.25));
        let mut rounded = one.clone();
        Numbers::F16.round(&mut rounded);
        assert_eq!(one, rounded);
        assert_ne!(one[..7], one[CHUNK..], "a chunk is not the first one again");
    }
}
