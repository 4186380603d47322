//! What a batch brings to a device, and what a convolution reads.

use std::{fmt, sync::Arc};

/// The pictures of a batch, `[n, 3, h, w]`, where the pipeline wrote them. They stay where and as they are
/// while anybody holds them: a device that copies them on its own holds them until it has done so.
#[derive(Clone)]
pub struct Pictures(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Pictures {
    /// Those that lie in `bytes`.
    pub fn new(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Self {
        Self(bytes)
    }

    /// Their pixels.
    ///
    /// # Panics
    /// If they are no whole `f32`s, or are not aligned as these.
    pub fn pixels(&self) -> &[f32] {
        bytemuck::cast_slice(self.0.as_ref().as_ref())
    }
}

impl fmt::Debug for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pictures").field("len", &self.pixels().len()).finish()
    }
}

/// Pixels of no slot.
struct Alone(Vec<f32>);

impl AsRef<[u8]> for Alone {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl From<Vec<f32>> for Pictures {
    fn from(pixels: Vec<f32>) -> Self {
        Self(Arc::new(Alone(pixels)))
    }
}

/// What a convolution reads: a buffer of the device, or the pictures of a ring slot as they lie.
#[derive(Debug)]
pub enum Input<'a, B> {
    /// Memory of the device.
    Buffer(&'a B),
    /// The pictures of the batch that [began](super::Device::begin) last, `[n, 3, h, w]`. A device with a copy
    /// of its own reads that.
    Pictures(&'a [f32]),
}

impl<B> Clone for Input<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Input<'_, B> {}
