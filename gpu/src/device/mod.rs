//! What a tower asks of its device: memory, copies and the ops of the network.
//!
//! Buffers hold `f32`, or what a device keeps in its place, in the layouts that [`crate::ops`] states, or in
//! a device's own: what goes in and comes out is `f32` and lies as stated. A device owns its workers; calls return when their result may be used by
//! the next call on the same device.

mod error;
mod pictures;
mod step;
mod sums;

pub use self::{
    error::{DeviceError, FreeAndGiven},
    pictures::{Input, Pictures},
    step::{Progress, Span, Step},
    sums::Sums,
};

use crate::{
    cpu::Cores,
    ops::{
        conv::Conv, dropout::Dropout, finish::Finish, linear::Linear, sgd::Sgd, softmax::Score,
    },
};
use std::{fmt::Debug, ops::DerefMut, sync::Arc, time::Duration};

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

/// How a row of weights lies in a checkpoint: `blocks` after one another, each `[channels, pixels]`.
/// A device may keep blocks of `[pixels, channels]`, as its activations lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// What the layer reads side by side: one of a convolution, one per source of a linear layer.
    pub blocks: usize,
    /// Channels of a block.
    pub channels: usize,
    /// Pixels of the window, or of what a linear layer reads of a channel.
    pub pixels: usize,
}

impl RowLayout {
    /// Floats of a row.
    pub const fn len(&self) -> usize {
        self.blocks * self.channels * self.pixels
    }

    /// Whether a row is nothing.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What will be asked of a device, batch after batch, so that it allocates what it needs of its own.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// Images of a batch.
    pub batch: usize,
    /// Classes that a label may be.
    pub classes: usize,
    /// The convolutions, those of all sources; the first reads the pictures.
    pub convs: Vec<Conv>,
    /// The linear layers, those of all sources.
    pub linears: Vec<Linear>,
    /// What follows each layer.
    pub finishes: Vec<Finish>,
    /// What the convolutions and then the linear layers are called, if the device is to know.
    pub names: Vec<String>,
}

/// One device of one tower. All ops take `n`, the images of the batch in use.
///
/// A device may do what it is asked for later, on its own, in the order in which it was asked. Then
/// only [`Device::download`] and its kin wait, and only [`Device::progress`] tells what has failed.
///
/// # Panics
/// Every op panics if a buffer is shorter than its shapes need: that is a bug of the caller.
pub trait Device: Sized + Send + 'static {
    /// Memory of the device for numbers.
    type Buffer: Send + Debug;
    /// Memory for a ring slot that the device can read while the CPU does something else.
    type Slot: DerefMut<Target = [u8]> + Send + Sync + Debug + 'static;

    /// What one device hands to another: memory that both reach, filled by one and emptied by the other.
    type Parcel: Send + Debug;

    /// Batches that may be asked for beside the oldest that is not done.
    const AHEAD: usize;
    /// How long a step may take before something is wrong; a debugger or a suspended machine takes minutes.
    const PATIENCE: Duration;

    /// One line for the log: what the device is.
    fn describe(&self) -> String;
    /// From where it is best called: by default, from anywhere.
    fn home(&self) -> Home {
        Home::default()
    }
    /// The name of its memory, which devices may share, and the bytes that are free of it; none if that
    /// is not known.
    fn memory(&self) -> Option<(String, usize)> {
        None
    }
    /// A zeroed buffer of `len` floats.
    ///
    /// # Errors
    /// If there is no memory left.
    fn zeros(&self, len: usize) -> Result<Self::Buffer, DeviceError>;
    /// The same for activations and their gradients, which a device may keep in fewer bits.
    ///
    /// # Errors
    /// If there is no memory left.
    fn activations(&self, len: usize) -> Result<Self::Buffer, DeviceError> {
        self.zeros(len)
    }
    /// The same for what products read and a device yet keeps in `f32`, beside a copy in fewer bits: weights,
    /// and logits, which become their gradient.
    ///
    /// # Errors
    /// If there is no memory left.
    fn factors(&self, len: usize) -> Result<Self::Buffer, DeviceError> {
        self.zeros(len)
    }
    /// Bytes that each of `activations` takes.
    fn activation_bytes(&self) -> usize {
        size_of::<f32>()
    }
    /// Bytes that each of `factors` takes.
    fn factor_bytes(&self) -> usize {
        size_of::<f32>()
    }
    /// Memory for a ring slot, aligned for `f32`.
    ///
    /// # Errors
    /// If there is no memory left.
    fn slot(&self, bytes: usize) -> Result<Self::Slot, DeviceError>;
    /// Copies `src` to the front of `dst`.
    fn upload(&mut self, dst: &mut Self::Buffer, src: &[f32]);
    /// Copies the front of `src` to all of `dst`; after a failure, anything.
    fn download(&mut self, src: &Self::Buffer, dst: &mut [f32]);
    /// Copies rows of weights, or of their velocity, which `src` has as a checkpoint.
    fn upload_rows(&mut self, _layout: RowLayout, dst: &mut Self::Buffer, src: &[f32]) {
        self.upload(dst, src);
    }
    /// The way back.
    fn download_rows(&mut self, _layout: RowLayout, src: &Self::Buffer, dst: &mut [f32]) {
        self.download(src, dst);
    }
    /// Copies activations, `[n, channels, area]` in `src`.
    fn upload_channels(
        &mut self, _channels: usize, _area: usize, dst: &mut Self::Buffer, src: &[f32],
    ) {
        self.upload(dst, src);
    }
    /// The way back.
    fn download_channels(
        &mut self, _channels: usize, _area: usize, src: &Self::Buffer, dst: &mut [f32],
    ) {
        self.download(src, dst);
    }

    /// `count` parcels for `len` activations, which `from` fills and `to` empties.
    ///
    /// # Errors
    /// If there is no memory left.
    fn parcels(
        from: &Self, to: &Self, count: usize, len: usize,
    ) -> Result<Vec<Self::Parcel>, DeviceError>;
    /// Fills a parcel with the front of `src`; they leave while the device works on.
    fn pack(&mut self, src: &Self::Buffer, len: usize, parcel: &mut Self::Parcel);
    /// The same, and `src` may be left with anything in it: as long as before, and never read before it is written.
    fn give(&mut self, src: &mut Self::Buffer, len: usize, parcel: &mut Self::Parcel) {
        self.pack(src, len, parcel);
    }
    /// Empties a parcel of `len` numbers into the front of `dst`; what lies behind them is of no value.
    fn unpack(&mut self, parcel: &mut Self::Parcel, len: usize, dst: &mut Self::Buffer);

    /// Allocates what `demand` needs beside buffers, before the first batch.
    ///
    /// # Errors
    /// If there is no memory left.
    fn reserve(&mut self, _demand: &Demand) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Bytes that [`Device::reserve`] takes.
    fn reserved_bytes(&self, _demand: &Demand) -> usize {
        0
    }
    /// Whether a batch can be begun without waiting for those before it.
    fn may_begin(&mut self) -> bool {
        true
    }
    /// A batch begins: `labels` are the classes of its first rows, the others do not count. A device that
    /// reads the pictures on its own holds them until [`Device::progress`] finds them read.
    fn begin(&mut self, pictures: &Pictures, labels: &[u32], step: Step);
    /// The way back begins.
    fn turn(&mut self) {}
    /// All of the batch has been asked for.
    fn end(&mut self);
    /// How far the device is.
    ///
    /// # Errors
    /// If it has failed in anything that it was asked for.
    fn progress(&mut self) -> Result<Progress, DeviceError>;
    /// The score of the oldest batch that is done and whose score was not asked for; of none, if the
    /// device has not computed a softmax in it.
    fn score(&mut self) -> Score;
    /// Seconds of the way there and of the way back of the batch whose score was asked for last, where
    /// the calls' own tell nothing.
    fn seconds(&mut self) -> Option<[f64; 2]> {
        None
    }
    /// Whether, in the batch whose score was asked for last, a gradient became too large for the device's numbers.
    /// Then no weight that it had not updated until there was updated: those whose gradients came before, of later
    /// layers, were right and were.
    fn overflowed(&mut self) -> bool {
        false
    }
    /// Keeps what its streams do from here on, for [`Device::spans`]: of no use on a device that does all
    /// in the calls.
    ///
    /// # Errors
    /// If the device fails.
    fn watch(&mut self) -> Result<(), DeviceError> {
        Ok(())
    }
    /// Tells what its streams have done since the last call.
    fn spans(&mut self, _each: &mut dyn FnMut(Span)) {}
    /// It has failed or fallen silent: nothing is waited for any more, not even to free its memory.
    fn give_up(&mut self) {}
    /// What the user should hear of the device, since the last call.
    fn remarks(&mut self) -> Vec<String> {
        vec![]
    }

    /// `y[n, k, oh, ow] = w * x`, and what `to` says.
    fn conv_forward(
        &mut self, op: &Conv, n: usize, x: Input<'_, Self::Buffer>, w: &Self::Buffer,
        to: Sums<'_, Self::Buffer>, y: &mut Self::Buffer,
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
    /// `y[n, k] = x[n, c] w[k, offset..offset + c]^T`, and what `to` says.
    fn linear_forward(
        &mut self, op: &Linear, n: usize, x: &Self::Buffer, w: &Self::Buffer,
        to: Sums<'_, Self::Buffer>, y: &mut Self::Buffer,
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
    /// no `out` where the layer has neither LRN nor pooling, and no product has [applied](Sums) it.
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
    /// Turns `logits[n, classes]` into probabilities in place and scores the rows that `labels`, those of
    /// [`Device::begin`], has classes for.
    fn softmax(&mut self, n: usize, classes: usize, labels: &[u32], logits: &mut Self::Buffer);
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
