//! A batch as a tower is asked for it, and what comes of it.

use crate::exchange::{ExchangeError, Times, Turn};
use gpu::{device::DeviceError, ops::softmax::Score};

/// How a batch is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pass {
    /// Forward, backward and update at this learning rate.
    Train {
        /// Learning rate.
        rate: f32,
        /// Global step, which keys the dropout.
        step: u64,
        /// By how much the loss is scaled, see [`LossScale`](crate::loss_scale::LossScale); 1 but in f16.
        scale: f32,
    },
    /// Forward only, without dropout.
    Test,
}

/// Why a part could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// Another part failed or fell silent.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device does not get on.
    #[error("tower {tower} waited {seconds} s in {turn} for its device to finish {at}")]
    Stuck {
        /// Which part.
        tower: usize,
        /// In which batch.
        turn: Turn,
        /// How long, in seconds.
        seconds: u64,
        /// What has not come, or that all has.
        at: String,
    },
}

impl Pass {
    /// Which step of the training it is, from 0.
    pub fn step(self) -> Option<u64> {
        match self {
            Self::Train { step, .. } => Some(step),
            Self::Test => None,
        }
    }
}

/// What a batch gave. The score is the first part's to tell, which adds up the logits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Loss and hits.
    pub score: Score,
    /// Where the time went, in seconds.
    pub times: Times,
    /// A gradient was too large for the device's numbers; what follows it was not updated.
    pub overflowed: bool,
}
