//! Local response normalisation across channels (section 3.3), per tower.

pub(crate) mod cpu;

/// `y[c] = x[c] / scale[c]^beta`, `scale[c] = k + alpha sum_j x[j]^2` over `size` channels `j` around
/// `c`, clipped at the ends of its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    /// Channels, over all groups.
    pub channels: usize,
    /// Towers side by side in this buffer; the window never crosses between them.
    pub groups: usize,
    /// Height times width.
    pub area: usize,
    /// Channels in the window, the paper's `n`.
    pub size: usize,
    /// The coefficient itself, never divided (2e-5 = the 2012 source's 1e-4 / 5).
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Added to the sum.
    pub k: f32,
}
