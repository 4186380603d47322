//! Dropout (section 4.2), not inverted: masked in training, multiplied by the keep rate at test.

pub(crate) mod cpu;
pub mod cuda;

/// Keeps unit `u` of row `i` if the counter generator says so for (seed, layer, step, i, u).
///
/// A tower that holds units `first_unit..first_unit + units` of the layer draws the same mask for
/// them as a device that holds the whole layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability of dropping a unit.
    pub rate: f32,
    /// Units in a row of this buffer.
    pub units: usize,
    /// Index in the layer of this buffer's first unit.
    pub first_unit: usize,
    /// The run's seed.
    pub seed: u64,
    /// Which layer of the net.
    pub layer: u32,
    /// The global training step.
    pub step: u64,
}

impl Dropout {
    /// Words below this drop their unit: `rate` of all 2^32.
    pub(crate) fn threshold(&self) -> u64 {
        (f64::from(self.rate) * 4_294_967_296.0).round() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::Device as _, random::philox, testing};

    const OP: Dropout = Dropout {
        rate: 0.4,
        units: 1000,
        first_unit: 0,
        seed: 7 << 40 | 3,
        layer: 5,
        step: 1 << 33,
    };

    #[test]
    fn the_mask_is_the_counter_generators_and_keeps_its_share() {
        testing::on_every_cpu(|cpu| {
            let mut y = testing::buffer(cpu, &vec![1.0; 50 * 1000]);
            cpu.dropout(&OP, 50, &mut y);
            for (i, y) in testing::floats(&y).iter().enumerate() {
                let (row, unit) = (i / 1000, i % 1000);
                let words = philox([3, 7 << 8 ^ 5], [unit as u32 / 4, row as u32, 0, 2]);
                let keep = f64::from(words[unit % 4]) >= 0.4_f32 as f64 * 4_294_967_296.0;
                assert_eq!(*y, if keep { 1.0 } else { 0.0 }, "row {row}, unit {unit}");
            }
            let kept = testing::floats(&y).iter().sum::<f32>() / 50_000.0;
            assert!((kept - 0.6).abs() < 0.01, "{kept}");
        });
    }

    #[test]
    fn half_of_the_units_have_half_of_the_mask() {
        testing::on_every_cpu(|cpu| {
            let mut whole = testing::buffer(cpu, &vec![1.0; 3000]);
            cpu.dropout(&OP, 3, &mut whole);
            let half = Dropout { units: 501, first_unit: 499, ..OP };
            let mut part = testing::buffer(cpu, &vec![1.0; 3 * 501]);
            cpu.dropout(&half, 3, &mut part);
            for row in 0..3 {
                let whole = &testing::floats(&whole)[row * 1000 + 499..][..501];
                assert_eq!(whole, &testing::floats(&part)[row * 501..][..501]);
            }
        });
    }

    #[test]
    fn at_test_everything_is_scaled() {
        testing::on_every_cpu(|cpu| {
            let mut y = testing::buffer(cpu, &[2.0, -4.0, 8.0]);
            cpu.scale(0.5, 2, &mut y);
            assert_eq!(testing::floats(&y), [1.0, -2.0, 8.0]);
        });
    }
}
