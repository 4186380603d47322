//! Dropout (section 4.2), not inverted: masked in training, multiplied by the keep rate at test.

pub(crate) mod cpu;

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
