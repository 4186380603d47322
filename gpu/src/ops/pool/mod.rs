//! Overlapping max-pooling (section 3.4).

pub(crate) mod cpu;

/// `y[n, c, i, j] = max over the window of x[n, c, s i + u, s j + v]`, windows inside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Channels.
    pub channels: usize,
    /// Input height.
    pub height: usize,
    /// Input width.
    pub width: usize,
    /// Side of the window, the paper's `z`.
    pub window: usize,
    /// Step of the window, the paper's `s`.
    pub stride: usize,
}

impl MaxPool {
    /// Output height.
    pub const fn out_height(&self) -> usize {
        (self.height - self.window) / self.stride + 1
    }
    /// Output width.
    pub const fn out_width(&self) -> usize {
        (self.width - self.window) / self.stride + 1
    }
}
