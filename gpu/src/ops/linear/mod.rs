//! The fully-connected layers fc6, fc7 and fc8.

pub(crate) mod cpu;

/// `y[n, k] = b[k] + sum_c w[k, weight_offset + c] x[n, c]`, one source's share of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Inputs of this source.
    pub inputs: usize,
    /// Output units.
    pub outputs: usize,
    /// Inputs in a row of the weights, all sources together.
    pub weight_inputs: usize,
    /// The source's first input in a row of the weights.
    pub weight_offset: usize,
}
