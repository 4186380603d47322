//! What a tower asks of its device: memory, copies and the ops of the network.
//!
//! Buffers hold `f32` in the layouts that [`crate::ops`] states. A device owns its workers; calls
//! return when their result may be used by the next call on the same device.

use crate::{
    cpu::Cores,
    ops::{
        conv::Conv, dropout::Dropout, finish::Finish, linear::Linear, sgd::Sgd, softmax::Score,
    },
};
use std::{fmt::Debug, ops::DerefMut, sync::Arc};

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

/// The elementwise non-linearity after a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`, section 3.1.
    Relu,
    /// `tanh(x)`, for Figure 1.
    Tanh,
    /// The logits of fc8.
    None,
}

/// What a convolution reads: a buffer of the device, or the pictures of a ring slot as they lie.
#[derive(Debug)]
pub enum Input<'a, B> {
    /// Memory of the device.
    Buffer(&'a B),
    /// Memory of the host, if the device [`reads it`](Device::READS_HOST).
    Host(&'a [f32]),
}

impl<B> Clone for Input<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Input<'_, B> {}

/// The thread from which calls on a device cost least.
///
/// A call from one of the device's own workers hands no work to another thread's queue, which would
/// grow now and then, and need not be woken for.
#[derive(Debug, Clone, Default)]
pub enum Home {
    /// Any thread.
    #[default]
    Anywhere,
    /// Any thread, which then stays on the first of these cores.
    Core(Cores),
    /// One of the device's workers.
    Worker(Arc<rayon::ThreadPool>),
}

impl Home {
    /// Runs `body` there and returns what it does.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Anywhere => body(),
            Self::Core(cores) => {
                cores.bind(0);
                body()
            }
            Self::Worker(workers) => workers.install(body),
        }
    }
}

/// One device of one tower. All ops take `n`, the images of the batch in use.
///
/// # Panics
/// Every op panics if a buffer is shorter than its shapes need: that is a bug of the caller.
pub trait Device: Send + 'static {
    /// `f32` memory of the device.
    type Buffer: Send + Debug;
    /// Memory for a ring slot that the device can read while the CPU does something else.
    type Slot: DerefMut<Target = [u8]> + Send + Sync + Debug + 'static;

    /// Whether convolutions read [`Input::Host`]: pictures need not be copied then.
    const READS_HOST: bool;

    /// One line for the log: what the device is.
    fn describe(&self) -> String;
    /// From where it is best called: by default, from anywhere.
    fn home(&self) -> Home {
        Home::default()
    }
    /// A zeroed buffer of `len` floats.
    ///
    /// # Errors
    /// If there is no memory left.
    fn zeros(&self, len: usize) -> Result<Self::Buffer, DeviceError>;
    /// Memory for a ring slot, aligned for `f32`.
    ///
    /// # Errors
    /// If there is no memory left.
    fn slot(&self, bytes: usize) -> Result<Self::Slot, DeviceError>;
    /// Copies `src` to the front of `dst`.
    fn upload(&mut self, dst: &mut Self::Buffer, src: &[f32]);
    /// Copies the front of `src` to all of `dst`.
    fn download(&mut self, src: &Self::Buffer, dst: &mut [f32]);

    /// `y[n, k, oh, ow] (+)= w * x (+ b)`; `accumulate` adds to `y`, `b` is added if given.
    fn conv_forward(
        &mut self, op: &Conv, n: usize, x: Input<'_, Self::Buffer>, w: &Self::Buffer,
        b: Option<&Self::Buffer>, accumulate: bool, y: &mut Self::Buffer,
    );
    /// `dx = w^T * dy`, overwritten.
    fn conv_backward_data(
        &mut self, op: &Conv, n: usize, dy: &Self::Buffer, w: &Self::Buffer,
        dx: &mut Self::Buffer,
    );
    /// The block of `dw` that this source's channels own, overwritten, summed over the batch.
    fn conv_backward_weight(
        &mut self, op: &Conv, n: usize, x: Input<'_, Self::Buffer>, dy: &Self::Buffer,
        dw: &mut Self::Buffer,
    );
    /// `db[k] = sum over n and area of dy[n, k, area]`, overwritten. Linear layers have area 1.
    fn bias_backward(
        &mut self, n: usize, k: usize, area: usize, dy: &Self::Buffer, db: &mut Self::Buffer,
    );
    /// `y[n, k] (+)= x[n, c] w[k, offset..offset + c]^T (+ b)`.
    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Self::Buffer, w: &Self::Buffer,
        b: Option<&Self::Buffer>, accumulate: bool, y: &mut Self::Buffer,
    );
    /// `dx[n, c] = dy[n, k] w[k, offset..offset + c]`, overwritten.
    fn linear_backward_data(
        &mut self, op: &Linear, n: usize, dy: &Self::Buffer, w: &Self::Buffer,
        dx: &mut Self::Buffer,
    );
    /// One step of the optimiser by the gradient `dy^T x` of `w[k, offset..offset + c]`, which is not
    /// kept: it is as large as the weights.
    fn linear_update(
        &mut self, op: &Linear, n: usize, x: &Self::Buffer, dy: &Self::Buffer, sgd: &Sgd,
        v: &mut Self::Buffer, w: &mut Self::Buffer,
    );
    /// `out = pool(lrn(f(y)))` of the product `y`, which keeps what the way back needs; `y = f(y)` and
    /// no `out` where the layer has neither LRN nor pooling.
    fn finish_forward(
        &mut self, op: &Finish, n: usize, y: &mut Self::Buffer, out: Option<&mut Self::Buffer>,
    );
    /// `y` becomes the gradient of the product and `db`, overwritten, that of the bias, from `d`, the
    /// gradient of what was handed on.
    fn finish_backward(
        &mut self, op: &Finish, n: usize, d: &Self::Buffer, y: &mut Self::Buffer,
        db: &mut Self::Buffer,
    );
    /// Masks `y[n, units]` in place.
    fn dropout(&mut self, op: &Dropout, n: usize, y: &mut Self::Buffer);
    /// `y *= factor` over `len` floats: dropout at test time.
    fn scale(&mut self, factor: f32, len: usize, y: &mut Self::Buffer);
    /// `y += x` over `len` floats.
    fn add(&mut self, len: usize, x: &Self::Buffer, y: &mut Self::Buffer);
    /// Turns `logits[n, classes]` into probabilities in place and scores the rows that `labels` has
    /// classes for.
    fn softmax(
        &mut self, n: usize, classes: usize, labels: &[u32], logits: &mut Self::Buffer,
    ) -> Score;
    /// `d[n, k] = (p[n, k] - (k == label)) / m` of the `m` rows that `labels` has classes for, zero of the
    /// others, in place over the probabilities.
    fn softmax_backward(
        &mut self, n: usize, classes: usize, labels: &[u32], p: &mut Self::Buffer,
    );
    /// `v = momentum v - decay rate w - rate g; w += v` over `len` floats.
    fn sgd(
        &mut self, op: &Sgd, len: usize, g: &Self::Buffer, v: &mut Self::Buffer,
        w: &mut Self::Buffer,
    );
}
