//! Training that has left the finite numbers: nothing of it is stored.

use crate::weights::Tensor;
use std::fmt::Display;

/// What is no finite number any more, and at which learning rate.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("training has diverged at rate {rate}: {what}")]
pub struct Diverged {
    rate: f32,
    what: String,
}

impl Diverged {
    /// Holds the loss of `what`, as "step 3", to being finite.
    ///
    /// # Errors
    /// If it is not.
    pub fn loss(loss: f64, what: impl Display, rate: f32) -> Result<(), Self> {
        if loss.is_finite() {
            return Ok(());
        }
        Err(Self { rate, what: format!("the loss of {what} is {loss}") })
    }

    /// What it is to overflow in `step` though the loss is scaled no more.
    pub fn overflowed(step: u64, rate: f32) -> Self {
        Self { rate, what: format!("gradients of step {step} are too large for f16") }
    }

    /// Holds all weights and velocities to being finite.
    ///
    /// # Errors
    /// The first tensor that is not.
    pub fn weights(tensors: &[Tensor], step: u64, rate: f32) -> Result<(), Self> {
        let is_finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        let broken =
            |tensor: &&Tensor| !is_finite(&tensor.values) || !is_finite(&tensor.velocity);
        match tensors.iter().find(broken) {
            None => Ok(()),
            Some(Tensor { name, .. }) => {
                Err(Self { rate, what: format!("{name} is not finite after step {step}") })
            }
        }
    }
}
