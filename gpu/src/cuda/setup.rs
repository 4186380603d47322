//! What a GPU computes with: which kernels, and whether by libraries.

use super::images::Kind;
use std::time::Duration;

/// A step takes a GPU some ms; its first launches compile kernels where there is PTX only.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What a GPU computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Which images of the kernels.
    pub kernels: Kind,
    /// Whether NVIDIA's libraries make the products, where they are found.
    pub libraries: bool,
    /// How long it may take for what somebody waits for, before it is given up.
    pub patience: Duration,
}

impl Setup {
    /// As the environment says: `ALEXNET_KERNELS=ptx`, which most tests on emulated GPUs take, and
    /// `ALEXNET_LIBRARIES=off`.
    pub fn of_environment() -> Self {
        let is = |name, value| std::env::var(name).is_ok_and(|set| set == value);
        let kernels = if is("ALEXNET_KERNELS", "ptx") { Kind::Ptx } else { Kind::Any };
        Self { kernels, libraries: !is("ALEXNET_LIBRARIES", "off"), patience: PATIENCE }
    }
}
