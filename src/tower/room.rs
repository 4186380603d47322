//! One layer of one part on its device: weights, velocity, activations and what follows them.

use crate::model::{Layer, Net, Op, Part};
use gpu::{
    device::{Device, DeviceError},
    ops::{lrn::Lrn, pool::MaxPool},
};

/// One named tensor's rows that a part holds, with their velocity.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `conv1.weight`, `conv1.bias`, ...
    pub name: String,
    /// Values, row major.
    pub values: Vec<f32>,
    /// Velocity of the optimiser, same layout.
    pub velocity: Vec<f32>,
}

/// A layer's weights, velocity and activations on the device. A part that does not carry the head
/// has a room for it all the same, with nothing in it.
#[derive(Debug)]
pub(super) struct Room<B> {
    pub(super) layer: Layer,
    /// One per source: own first, then the peers in the exchange's order.
    pub(super) ops: Vec<Op>,
    pub(super) lrn: Option<Lrn>,
    pub(super) pool: Option<MaxPool>,
    /// Values and velocity, `[rows, ...]`.
    pub(super) weight: [B; 2],
    /// Values and velocity, `[rows]`.
    pub(super) bias: [B; 2],
    /// The peers' activations, read by this layer.
    pub(super) foreign: Vec<B>,
    /// After the activation function, `[n, rows, side_out, side_out]`.
    pub(super) y: B,
    pub(super) lrn_scale: Option<B>,
    pub(super) normalised: Option<B>,
    pub(super) pooled: Option<B>,
    /// Kernels held here.
    pub(super) rows: usize,
    /// Floats per image of `y`.
    pub(super) y_len: usize,
    /// Floats per image that the layer hands on.
    pub(super) out_len: usize,
    /// Floats per image that it reads of the part's own and, at most, of a peer's activations.
    pub(super) x_len: usize,
}

impl<B> Room<B> {
    /// Allocates layer `index` of `net` for `part`, weights drawn from `seed`.
    pub(super) fn new<D: Device<Buffer = B>>(
        device: &mut D, net: &Net, index: usize, part: Part, peers: &[Part], batch: usize,
        seed: u64,
    ) -> Result<Self, DeviceError> {
        let layer = net.layers[index].clone();
        let rows = layer.local_kernels(part);
        let y_len = rows * layer.side_out * layer.side_out;
        let out_len = rows * layer.side_handed_on() * layer.side_handed_on();
        let x_len = layer.reads(part);
        let peers = if layer.across { peers } else { &[] };
        let sources = std::iter::once(part).chain(peers.iter().copied());
        let (weights, biases) = layer.first_weights(part, index, seed);
        let mut pair = |floats: &[f32]| -> Result<[B; 2], DeviceError> {
            let mut values = device.zeros(floats.len())?;
            device.upload(&mut values, floats);
            Ok([values, device.zeros(floats.len())?])
        };
        let (weight, bias) = (pair(&weights)?, pair(&biases)?);
        let lrn = layer.lrn_op(part, &net.lrn).filter(|_| rows > 0);
        let pool = layer.pool_op(part).filter(|_| rows > 0);
        let zeros = |wanted: bool, len: usize| -> Result<Option<B>, DeviceError> {
            wanted.then(|| device.zeros(len * batch)).transpose()
        };
        Ok(Self {
            ops: sources.map(|source| layer.op(part, source)).collect(),
            foreign: peers
                .iter()
                .filter(|_| rows > 0)
                .map(|peer| device.zeros(layer.reads(*peer) * batch))
                .collect::<Result<_, _>>()?,
            y: device.zeros(y_len * batch)?,
            lrn_scale: zeros(lrn.is_some(), y_len)?,
            normalised: zeros(lrn.is_some(), y_len)?,
            pooled: zeros(pool.is_some(), out_len)?,
            weight,
            bias,
            lrn,
            pool,
            rows,
            y_len,
            out_len,
            x_len,
            layer,
        })
    }

    /// What the layer hands on.
    pub(super) fn out(&self) -> &B {
        self.pooled.as_ref().or(self.normalised.as_ref()).unwrap_or(&self.y)
    }

    /// See [`Room::out`].
    pub(super) fn out_mut(&mut self) -> &mut B {
        self.pooled.as_mut().or(self.normalised.as_mut()).unwrap_or(&mut self.y)
    }

    /// Whether this part carries any of the layer.
    pub(super) fn computes(&self) -> bool {
        self.rows > 0
    }

    /// Adds one source's share, from its activations `x`, to `y`; with a bias it overwrites.
    pub(super) fn multiply<D: Device<Buffer = B>>(
        op: &Op, device: &mut D, n: usize, x: &B, w: &B, b: Option<&B>, y: &mut B,
    ) {
        let accumulate = b.is_none();
        match op {
            Op::Conv(op) => device.conv_forward(op, n, x, w, b, accumulate, y),
            Op::Linear(op) => device.linear_forward(op, n, x, w, b, accumulate, y),
        }
    }

    /// The gradient of source `source`'s activations, to `dx`.
    pub(super) fn data_gradient<D: Device<Buffer = B>>(
        &self, source: usize, device: &mut D, n: usize, dy: &B, dx: &mut B,
    ) {
        let w = &self.weight[0];
        match &self.ops[source] {
            Op::Conv(op) => device.conv_backward_data(op, n, dy, w, dx),
            Op::Linear(op) => device.linear_backward_data(op, n, dy, w, dx),
        }
    }

    /// The gradient of the weights that read source `source`, to their block of `dw`.
    pub(super) fn weight_gradient<D: Device<Buffer = B>>(
        &self, source: usize, device: &mut D, n: usize, x: &B, dy: &B, dw: &mut B,
    ) {
        match &self.ops[source] {
            Op::Conv(op) => device.conv_backward_weight(op, n, x, dy, dw),
            Op::Linear(op) => device.linear_backward_weight(op, n, x, dy, dw),
        }
    }

    /// What follows the product: activation, LRN, pooling.
    pub(super) fn finish<D: Device<Buffer = B>>(&mut self, device: &mut D, n: usize) {
        device.activate(self.layer.activation, self.y_len * n, &mut self.y);
        if let (Some(op), Some(scale), Some(out)) =
            (&self.lrn, &mut self.lrn_scale, &mut self.normalised)
        {
            device.lrn_forward(op, n, &self.y, scale, out);
        }
        if let (Some(op), Some(out)) = (&self.pool, &mut self.pooled) {
            device.pool_forward(op, n, self.normalised.as_ref().unwrap_or(&self.y), out);
        }
    }

    /// The way back through pooling, LRN and activation: `d` turns from the gradient of what is
    /// handed on into that of the product; `other` is scratch of the same length.
    pub(super) fn unfinish<D: Device<Buffer = B>>(
        &self, device: &mut D, n: usize, d: &mut B, other: &mut B,
    ) {
        if let (Some(op), Some(y)) = (&self.pool, &self.pooled) {
            let x = self.normalised.as_ref().unwrap_or(&self.y);
            device.pool_backward(op, n, x, y, d, other);
            std::mem::swap(d, other);
        }
        if let (Some(op), Some(scale)) = (&self.lrn, &self.lrn_scale) {
            device.lrn_backward(op, n, &self.y, scale, d, other);
            std::mem::swap(d, other);
        }
        device.activate_backward(self.layer.activation, self.y_len * n, &self.y, d);
    }

    /// The rows held here: the weight's, then the bias's.
    pub(super) fn rows<D: Device<Buffer = B>>(&self, device: &mut D) -> [Rows; 2] {
        let mut rows = |pair: &[B; 2], what: &str, len: usize| {
            let (mut values, mut velocity) = (vec![0.0; len], vec![0.0; len]);
            device.download(&pair[0], &mut values);
            device.download(&pair[1], &mut velocity);
            Rows { name: format!("{}.{what}", self.layer.name), values, velocity }
        };
        let weights = self.rows * self.layer.row_len();
        [rows(&self.weight, "weight", weights), rows(&self.bias, "bias", self.rows)]
    }

    /// Share of the units (channels, of a convolution) that are zero everywhere in the batch.
    pub(super) fn dead<D: Device<Buffer = B>>(&self, device: &mut D, n: usize) -> f64 {
        let mut y = vec![0.0; self.y_len * n];
        device.download(&self.y, &mut y);
        let area = self.y_len / self.rows;
        let mut alive = vec![false; self.rows];
        for (i, unit) in y.chunks_exact(area).enumerate() {
            alive[i % self.rows] |= unit.iter().any(|v| *v != 0.0);
        }
        alive.iter().filter(|a| !**a).count() as f64 / self.rows as f64
    }
}
