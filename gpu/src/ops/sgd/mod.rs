//! The 2012 update (section 5), the learning rate inside the velocity.

pub(crate) mod cpu;

/// `v = momentum v - decay rate w - rate g`, `w = w + v`; `g` is the mean gradient of the batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Momentum.
    pub momentum: f32,
    /// Weight decay; zero for biases.
    pub decay: f32,
}
