//! One layer: its shape, and what each part holds and computes of it.

use super::{POOL, Part};
use crate::algorithms::By;
use gpu::{
    device::Activation,
    ops::{Dtype, conv::Conv, finish::Finish, linear::Linear, lrn::Lrn, pool::MaxPool},
};
use pipeline::random::Draws;

/// Sets weight draws apart from the pipeline's (`Draws::new`'s purpose).
const PURPOSE_WEIGHTS: u32 = 0x5745_4947;

/// What a layer multiplies with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// A convolution, as seen by one source.
    Conv(Conv),
    /// A fully-connected layer, as seen by one source.
    Linear(Linear),
}

/// One layer of the whole net.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a column of the layer table")]
pub struct Layer {
    /// `conv1` ... `fc8`.
    pub name: String,
    /// Shape of the weights in PyTorch's order.
    pub shape: Vec<usize>,
    /// Height and width of the input and, before pooling, of the output; 1 for fc layers.
    pub side_in: usize,
    /// Side of the output before pooling.
    pub side_out: usize,
    /// Channels that the layer before hands over, all towers together.
    pub channels_in: usize,
    /// Output channels or units, all towers together.
    pub kernels: usize,
    /// Step and padding, of convolutions.
    pub conv: Option<(usize, usize, usize)>,
    /// The first layer, which reads the whole image on every tower.
    pub reads_image: bool,
    /// Reads every tower.
    pub across: bool,
    /// fc8: each tower multiplies what it has itself, and the first adds up and knows the classes.
    pub head: bool,
    /// What follows.
    pub activation: Activation,
    /// LRN after the activation.
    pub lrn: bool,
    /// Pooling after that.
    pub pool: bool,
    /// Dropout at the end.
    pub dropout: f32,
    /// Standard deviation of the first weights.
    pub sigma: f32,
    /// First bias.
    pub bias: f32,
    /// How it is computed.
    pub by: By,
}

impl Layer {
    /// Kernels that `part` computes.
    pub fn local_kernels(&self, part: Part) -> usize {
        if self.head { self.kernels } else { part.share(self.kernels) }
    }

    /// Rows of the whole weight tensor of which `part` holds [some](Layer::columns): first row and count.
    pub fn rows(&self, part: Part) -> (usize, usize) {
        let first = if self.head { 0 } else { part.offset(self.kernels) };
        (first, self.local_kernels(part))
    }

    /// What `part` holds of each of its rows: first float and count.
    pub fn columns(&self, part: Part) -> (usize, usize) {
        if self.head {
            (part.offset(self.row_len()), part.share(self.row_len()))
        } else {
            (0, self.row_len())
        }
    }

    /// Rows of the bias that `part` holds: first row and count.
    pub fn biases(&self, part: Part) -> (usize, usize) {
        if self.head && !part.leads() { (0, 0) } else { self.rows(part) }
    }

    /// Whether it reads what peers hand on.
    pub const fn reads_peers(&self) -> bool {
        self.across && !self.head
    }

    /// Floats per image that `part` hands to another one at this layer: what the other reads or, at
    /// the head, logits.
    pub fn crosses(&self, part: Part) -> usize {
        match (self.across, self.head) {
            (false, _) => 0,
            (true, false) => self.reads(part),
            (true, true) => self.kernels,
        }
    }

    /// Multiply-adds of a forward pass per image, all towers together, zeros of the padding included.
    pub fn multiply_adds(&self) -> usize {
        self.kernels * self.row_len() * self.side_out * self.side_out
    }

    /// Floats in one row of the weights.
    pub fn row_len(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Floats per image that this layer reads of what `source` hands on: of the image, all.
    pub fn reads(&self, source: Part) -> usize {
        let channels =
            if self.reads_image { self.channels_in } else { source.share(self.channels_in) };
        channels * self.side_in * self.side_in
    }

    /// What `part` computes of this layer from the activations of `source`, which is `part` where it does
    /// not [read those of peers](Layer::reads_peers).
    pub fn op(&self, part: Part, source: Part) -> Op {
        let kernels = self.local_kernels(part);
        let Some((stride, pad_before, pad_after)) = self.conv else {
            let (first, held) = self.columns(part);
            return Op::Linear(Linear {
                inputs: source.share(self.channels_in),
                outputs: kernels,
                weight_inputs: held,
                weight_offset: source.offset(self.channels_in) - first,
                dtype: if let By::Linear(dtype) = self.by { dtype } else { Dtype::F32 },
            });
        };
        let channels =
            if self.reads_image { self.channels_in } else { source.share(self.channels_in) };
        Op::Conv(Conv {
            channels,
            height: self.side_in,
            width: self.side_in,
            kernels,
            window: self.shape[2],
            stride,
            pad_before,
            pad_after,
            groups: if self.reads_image || self.across { 1 } else { part.count },
            weight_channels: self.shape[1],
            weight_offset: if self.across { source.offset(self.channels_in) } else { 0 },
            by: if let By::Conv(by) = self.by { Some(by) } else { None },
        })
    }

    /// What follows the layer's product on `part`.
    pub fn finish(&self, part: Part, lrn: &crate::config::Lrn) -> Finish {
        let (channels, area) = (self.local_kernels(part), self.side_out * self.side_out);
        Finish {
            channels,
            area,
            activation: self.activation,
            lrn: self.lrn.then_some(Lrn {
                channels,
                groups: part.count,
                area,
                size: lrn.size,
                alpha: lrn.alpha,
                beta: lrn.beta,
                k: lrn.k,
            }),
            pool: self.pool.then_some(MaxPool {
                channels,
                height: self.side_out,
                width: self.side_out,
                window: POOL.0,
                stride: POOL.1,
            }),
        }
    }

    /// Side of what the layer hands on.
    pub fn side_handed_on(&self) -> usize {
        if self.pool { (self.side_out - POOL.0) / POOL.1 + 1 } else { self.side_out }
    }

    /// The first weights and biases that `part` holds: normal draws keyed by (seed, layer, row), so
    /// that every way of carrying the net starts from the same numbers.
    pub fn first_weights(&self, part: Part, index: usize, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let ((first, rows), (skipped, columns)) = (self.rows(part), self.columns(part));
        let mut weights = Vec::with_capacity(rows * columns);
        for row in first..first + rows {
            let mut draws = Draws::new(seed, PURPOSE_WEIGHTS, index as u64, row as u64);
            let draw = || (f64::from(self.sigma) * draws.normal()) as f32;
            weights.extend(std::iter::repeat_with(draw).skip(skipped).take(columns));
        }
        (weights, vec![self.bias; self.biases(part).1])
    }
}
