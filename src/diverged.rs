//! Training that has left the finite numbers: nothing of it is stored.

use crate::{loss_scale::LEAST, weights::Tensor};
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

    /// Holds training step `step` to a finite loss, or, if its gradients overflowed, to a loss that was scaled and may
    /// be scaled less.
    ///
    /// # Errors
    /// If it is neither.
    pub fn step(
        step: u64, loss: f64, overflowed_at: Option<f32>, rate: f32,
    ) -> Result<(), Self> {
        match overflowed_at {
            None => Self::loss(loss, format_args!("step {step}"), rate),
            Some(scale) if scale > LEAST => Ok(()),
            Some(_) => Err(Self {
                rate,
                what: format!("gradients of step {step} are too large for f16"),
            }),
        }
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
