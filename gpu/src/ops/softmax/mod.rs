//! Softmax, cross-entropy and the top-1 and top-5 counts.

pub(crate) mod cpu;

/// What a batch scored.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Score {
    /// Sum over the images of `-ln p[label]`.
    pub loss_sum: f64,
    /// Images whose label has the highest probability (ties count against).
    pub top1: usize,
    /// Images whose label is among the five highest.
    pub top5: usize,
    /// Images scored.
    pub images: usize,
}
