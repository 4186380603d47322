//! Why a device cannot do what it should.

use crate::cuda::probe::Unusable;

/// What a device that refused memory had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeAndGiven {
    /// Free bytes, in pieces of any size.
    pub free_bytes: usize,
    /// Bytes that the caller holds.
    pub given_bytes: usize,
}

/// What a device could not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The device has no room for a buffer.
    #[error("{device} has no room for {wanted_bytes} bytes")]
    OutOfMemory {
        /// The device's name.
        device: String,
        /// What was asked for, in bytes.
        wanted_bytes: usize,
        /// What was free of its memory, in pieces of any size, and what it had given before; none where nobody counts.
        counted: Option<FreeAndGiven>,
    },
    /// The device has not done for too long what was asked of it.
    #[error("{device}: {doing}: nothing has come of it for {seconds} s")]
    Silent {
        /// The device's name.
        device: String,
        /// What was being done.
        doing: &'static str,
        /// How long, in seconds.
        seconds: u64,
    },
    /// The system pins no more of the host's memory, which copies to and from the device need.
    #[error("{device}: cannot pin {wanted_bytes} bytes of the host's memory: {reason}")]
    NotPinned {
        /// The device's name.
        device: String,
        /// What was asked for, in bytes.
        wanted_bytes: usize,
        /// What the driver said.
        reason: String,
    },
    /// The device's kernels count numbers in 32 bits, and a tensor would have more.
    #[error(
        "{device}: its kernels count to 2^31, and batch {batch} makes more numbers than that; batch {most} does not"
    )]
    TooLong {
        /// The device's name.
        device: String,
        /// Images of a batch.
        batch: usize,
        /// As many as it may have.
        most: usize,
    },
    /// A layer is wider than a device's kernels normalise.
    #[error(
        "{device}: its kernels normalise over {most} channels at most, and a layer has {channels}"
    )]
    TooWide {
        /// The device's name.
        device: String,
        /// Those of the layer.
        channels: usize,
        /// As many as it may have.
        most: usize,
    },
    /// There is no such device.
    #[error(transparent)]
    Unusable(Unusable),
    /// The device failed in something that had been asked of it before: devices that work on their own
    /// tell it when they are asked next.
    #[error("{device}: {doing}: {reason}")]
    Failed {
        /// The device's name.
        device: String,
        /// What was being done.
        doing: &'static str,
        /// What the driver said.
        reason: String,
    },
    /// The device's worker threads could not be started.
    #[error("cannot start {threads} worker threads: {reason}")]
    Threads {
        /// Threads wanted.
        threads: usize,
        /// What the operating system said.
        reason: String,
    },
}
