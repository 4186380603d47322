//! Convolution (section 3.5) with groups, asymmetric padding and a source's share of the channels.

pub(crate) mod cpu;
pub mod cuda;

pub use cpu::{Algorithm, Pass, algorithm};

use super::Dtype;
use crate::cpu::Level;

/// `y[n, k, i, j] = b[k] + sum_{c, u, v} w[k, offset + c, u, v] x[n, c, s i + u - p, s j + v - p]`,
/// pixels outside read as zero.
///
/// A layer that looks across reads one *source* per tower, each with a `Conv` of its own: `channels`
/// are the source's, `weight_channels` is the length of a weight row, `weight_offset` where the
/// source's channels begin in it. With `groups` > 1 there is one source and the offset is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Input channels of this source, over all groups.
    pub channels: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Output channels, over all groups.
    pub kernels: usize,
    /// Side of the square window.
    pub window: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros above and left of the image.
    pub pad_before: usize,
    /// Zeros below and right: 3 at conv1, where the 2012 source lets the last window hang over.
    pub pad_after: usize,
    /// Groups of channels that do not see each other.
    pub groups: usize,
    /// Channels in a row of the weights (`channels / groups` where the layer has one source).
    pub weight_channels: usize,
    /// The source's first channel in a row of the weights.
    pub weight_offset: usize,
    /// How each pass is computed, by [`Pass`]; `None`: as the table says for `f32`.
    pub by: Option<[Algorithm; 3]>,
}

impl Conv {
    /// How pass `pass` is computed.
    pub fn algorithm(&self, pass: Pass) -> Algorithm {
        self.by.map_or_else(
            || algorithm(self, pass, Dtype::F32, Level::BASELINE),
            |by| by[pass as usize],
        )
    }

    /// Output height.
    pub const fn out_height(&self) -> usize {
        (self.height + self.pad_before + self.pad_after - self.window) / self.stride + 1
    }

    /// Output width.
    pub const fn out_width(&self) -> usize {
        (self.width + self.pad_before + self.pad_after - self.window) / self.stride + 1
    }

    /// Floats of one input image.
    pub const fn x_len(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Floats of one output image.
    pub const fn y_len(&self) -> usize {
        self.kernels * self.out_height() * self.out_width()
    }

    /// Floats of the weights, all sources together.
    pub const fn w_len(&self) -> usize {
        self.kernels * self.weight_channels * self.window * self.window
    }
}

#[cfg(test)]
mod tests;
