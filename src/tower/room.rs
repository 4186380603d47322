//! One layer of one part on its device: weights, velocity, activations and what follows them.

use crate::model::{Layer, Net, Op, Part};
use gpu::{
    device::{Activation, Device, DeviceError, Input, RowLayout, Sums},
    ops::{finish::Finish, sgd::Sgd},
};

/// What a part holds of one named tensor, with its velocity.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// `conv1.weight`, `conv1.bias`, ...
    pub name: String,
    /// Values, row major.
    pub values: Vec<f32>,
    /// Velocity of the optimiser, same layout.
    pub velocity: Vec<f32>,
}

/// A layer's weights, velocity and activations on the device.
#[derive(Debug)]
pub(super) struct Room<B> {
    pub(super) layer: Layer,
    /// One per source: own first, then, where the layer reads them, the peers in the exchange's order.
    pub(super) ops: Vec<Op>,
    /// How a row of the weights lies in a checkpoint.
    layout: RowLayout,
    /// What follows the product.
    pub(super) finish: Finish,
    /// Values and velocity, `[rows, ...]`.
    pub(super) weight: [B; 2],
    /// Values and velocity, `[biases]`.
    pub(super) bias: [B; 2],
    /// The peers' activations, read by this layer.
    pub(super) foreign: Vec<B>,
    /// The product, `[n, rows, side_out, side_out]`; on the way back, its gradient.
    pub(super) y: B,
    /// What is handed on, where that is not `y`.
    pub(super) finished: Option<B>,
    /// Kernels computed here.
    pub(super) rows: usize,
    /// As many, or none where another part has the bias.
    pub(super) biases: usize,
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
        let Lens { rows, y: y_len, out: out_len, x: x_len, .. } =
            Lens::of(net, index, part, peers.len());
        let peers = if layer.reads_peers() { peers } else { &[] };
        let sources = std::iter::once(part).chain(peers.iter().copied());
        let layout = layout(net, index, part);
        let (weights, biases) = layer.first_weights(part, index, seed);
        let mut pair = |layout, floats: &[f32]| -> Result<[B; 2], DeviceError> {
            let mut values = if layout == BIAS {
                device.zeros(floats.len())?
            } else {
                device.factors(floats.len())?
            };
            device.upload_rows(layout, &mut values, floats);
            Ok([values, device.zeros(floats.len())?])
        };
        let (weight, bias) = (pair(layout, &weights)?, pair(BIAS, &biases)?);
        let finish = layer.finish(part, &net.lrn);
        let apart = !finish.in_place();
        // Then what was dropped has no gradient, either, and need not be masked again.
        let hides = finish.in_place() && finish.activation == Activation::Relu;
        assert!(layer.dropout == 0.0 || hides, "{}: dropout goes with a ReLU", layer.name);
        Ok(Self {
            ops: sources.map(|source| layer.op(part, source)).collect(),
            foreign: peers
                .iter()
                .map(|peer| device.activations(layer.reads(*peer) * batch))
                .collect::<Result<_, _>>()?,
            y: if layer.head {
                device.factors(y_len * batch)?
            } else {
                device.activations(y_len * batch)?
            },
            finished: apart.then(|| device.activations(out_len * batch)).transpose()?,
            weight,
            bias,
            layout,
            finish,
            rows,
            biases: biases.len(),
            y_len,
            out_len,
            x_len,
            layer,
        })
    }

    /// What the layer hands on.
    pub(super) fn out(&self) -> &B {
        self.finished.as_ref().unwrap_or(&self.y)
    }

    /// See [`Room::out`].
    pub(super) fn out_mut(&mut self) -> &mut B {
        self.finished.as_mut().unwrap_or(&mut self.y)
    }

    /// The product of what the part has itself, `x`, with the bias.
    pub(super) fn multiply_own<D: Device<Buffer = B>>(
        &mut self, device: &mut D, n: usize, x: Input<'_, B>,
    ) {
        let bias = (self.biases > 0).then_some(&self.bias[0]);
        let to = Sums { bias, accumulate: false, activation: self.after(0) };
        multiply(&self.ops[0], device, n, x, &self.weight[0], to, &mut self.y);
    }

    /// What source `source`'s product ends with: the last one's with the activation, where that is all
    /// that follows.
    fn after(&self, source: usize) -> Activation {
        let last = source + 1 == self.ops.len() && self.finish.in_place();
        if last { self.finish.activation } else { Activation::None }
    }

    /// Adds the product of a peer's activations.
    pub(super) fn multiply_foreign<D: Device<Buffer = B>>(
        &mut self, peer: usize, device: &mut D, n: usize,
    ) {
        let (op, x) = (&self.ops[1 + peer], Input::Buffer(&self.foreign[peer]));
        let to = Sums::more().then(self.after(1 + peer));
        multiply(op, device, n, x, &self.weight[0], to, &mut self.y);
    }

    /// The gradient of source `source`'s activations, to `dx`, from that of the product.
    pub(super) fn data_gradient<D: Device<Buffer = B>>(
        &self, source: usize, device: &mut D, n: usize, dx: &mut B,
    ) {
        let w = &self.weight[0];
        match &self.ops[source] {
            Op::Conv(op) => device.conv_backward_data(op, n, &self.y, w, dx),
            Op::Linear(op) => device.linear_backward_data(op, n, &self.y, w, dx),
        }
    }

    /// The gradient of a convolution's weights, from what it read: `own` and the peers' activations.
    /// A linear layer's is made with the update.
    pub(super) fn weight_gradient<D: Device<Buffer = B>>(
        &self, device: &mut D, n: usize, own: Input<'_, B>, dw: &mut B,
    ) {
        let sources = std::iter::once(own).chain(self.foreign.iter().map(Input::Buffer));
        for (op, x) in self.ops.iter().zip(sources) {
            if let Op::Conv(op) = op {
                device.conv_backward_weight(op, n, x, &self.y, dw);
            }
        }
    }

    /// One step of the optimiser on the weights: a convolution's by `dw`.
    pub(super) fn update_weights<D: Device<Buffer = B>>(
        &mut self, device: &mut D, n: usize, own: Input<'_, B>, sgd: &Sgd, dw: &B,
    ) {
        let [w, v] = &mut self.weight;
        if matches!(self.ops[0], Op::Conv(_)) {
            device.sgd(sgd, self.rows * self.layer.row_len(), dw, v, w);
        }
        let sources = std::iter::once(own).chain(self.foreign.iter().map(Input::Buffer));
        for (op, x) in self.ops.iter().zip(sources) {
            if let Op::Linear(op) = op {
                device.linear_update(op, n, on_device(x), &self.y, sgd, v, w);
            }
        }
    }

    /// What is held here of the weight, then of the bias.
    pub(super) fn rows<D: Device<Buffer = B>>(&self, device: &mut D) -> [Rows; 2] {
        let mut rows = |count: usize, layout: RowLayout, pair: &[B; 2], what: &str| {
            let len = count * layout.len();
            let (mut values, mut velocity) = (vec![0.0; len], vec![0.0; len]);
            device.download_rows(layout, &pair[0], &mut values);
            device.download_rows(layout, &pair[1], &mut velocity);
            Rows { name: format!("{}.{what}", self.layer.name), values, velocity }
        };
        let weight = rows(self.rows, self.layout, &self.weight, "weight");
        [weight, rows(self.biases, BIAS, &self.bias, "bias")]
    }

    /// Replaces what [`Room::rows`] returns.
    pub(super) fn set_rows<D: Device<Buffer = B>>(
        &mut self, device: &mut D, weight: &Rows, bias: &Rows,
    ) {
        let pairs = [(self.layout, &mut self.weight, weight), (BIAS, &mut self.bias, bias)];
        for (layout, pair, from) in pairs {
            device.upload_rows(layout, &mut pair[0], &from.values);
            device.upload_rows(layout, &mut pair[1], &from.velocity);
        }
    }

    /// Share of the units (channels, of a convolution) that no gradient of the batch went through: they
    /// were zero for every image. To be asked after a training step.
    pub(super) fn dead<D: Device<Buffer = B>>(&self, device: &mut D, n: usize) -> f64 {
        let mut y = vec![0.0; self.y_len * n];
        let area = self.y_len / self.rows;
        device.download_channels(self.rows, area, &self.y, &mut y);
        let mut alive = vec![false; self.rows];
        for (i, unit) in y.chunks_exact(area).enumerate() {
            alive[i % self.rows] |= unit.iter().any(|v| *v != 0.0);
        }
        alive.iter().filter(|a| !**a).count() as f64 / self.rows as f64
    }
}

/// What a room holds, in floats: of an image, but for the weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lens {
    /// Kernels computed here.
    pub(super) rows: usize,
    pub(super) biases: usize,
    pub(super) weights: usize,
    pub(super) y: usize,
    /// As much of it as is an activation, and not logits.
    pub(super) hidden: usize,
    /// What is handed on.
    pub(super) out: usize,
    /// What is handed on, where that is not `y`.
    pub(super) finished: usize,
    /// What is read of the part's own and, at most, of a peer's activations.
    pub(super) x: usize,
    /// The peers' activations.
    pub(super) foreign: usize,
    /// Of a parcel.
    pub(super) crosses: usize,
    /// Of the gradient that is kept until the update.
    pub(super) dw: usize,
    pub(super) reads_image: bool,
}

impl Lens {
    /// Those of layer `index`, for one of `peers + 1` parts.
    pub(super) fn of(net: &Net, index: usize, part: Part, peers: usize) -> Self {
        let layer = &net.layers[index];
        let (rows, side) = (layer.local_kernels(part), layer.side_handed_on());
        let (out, x, weights) =
            (rows * side * side, layer.reads(part), rows * layer.columns(part).1);
        let y = rows * layer.side_out * layer.side_out;
        Self {
            rows,
            biases: layer.biases(part).1,
            weights,
            y,
            hidden: if layer.head { 0 } else { y },
            out,
            finished: if layer.finish(part, &net.lrn).in_place() { 0 } else { out },
            x,
            foreign: if layer.reads_peers() { peers * x } else { 0 },
            crosses: layer.crosses(part),
            dw: if layer.conv.is_some() { weights } else { 0 },
            reads_image: layer.reads_image,
        }
    }
}

/// A bias, one number a row.
const BIAS: RowLayout = RowLayout { blocks: 1, channels: 1, pixels: 1 };

/// How `part` holds a row of the weights of layer `index`.
fn layout(net: &Net, index: usize, part: Part) -> RowLayout {
    let layer = &net.layers[index];
    if layer.conv.is_some() {
        let (channels, window) = (layer.shape[1], layer.shape[2]);
        return RowLayout { blocks: 1, channels, pixels: window * window };
    }
    // A linear layer reads what the layer before hands on, of each part in turn or of its own.
    let pixels = index.checked_sub(1).map_or(1, |before| {
        let side = net.layers[before].side_handed_on();
        side * side
    });
    let blocks = if layer.reads_peers() { part.of / part.count } else { 1 };
    RowLayout { blocks, channels: layer.columns(part).1 / (blocks * pixels), pixels }
}

fn multiply<D: Device>(
    op: &Op, device: &mut D, n: usize, x: Input<'_, D::Buffer>, w: &D::Buffer,
    to: Sums<'_, D::Buffer>, y: &mut D::Buffer,
) {
    match op {
        Op::Conv(op) => device.conv_forward(op, n, x, w, to, y),
        Op::Linear(op) => device.linear_forward(op, n, on_device(x), w, to, y),
    }
}

fn on_device<B>(input: Input<'_, B>) -> &B {
    match input {
        Input::Buffer(buffer) => buffer,
        Input::Pictures(_) => panic!("a linear layer that reads pictures"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use gpu::cpu::Cpu;

    #[test]
    fn the_last_product_ends_with_the_activation_where_nothing_else_follows() {
        let mut config = Config::load("demo", None).expect("a preset");
        config.fc.iter_mut().for_each(|fc| fc.units = 4);
        let (net, parts) = (Net::new(&config, 3), [0, 1].map(|i| Part::of_device(i, 2, 2)));
        let mut cpu = Cpu::new("test", 1).expect("threads");
        for (i, layer) in net.layers.iter().enumerate() {
            let room =
                Room::new(&mut cpu, &net, i, parts[0], &parts[1..], 1, 7).expect("memory");
            let after: Vec<_> = (0..room.ops.len()).map(|source| room.after(source)).collect();
            let wanted: &[Activation] = match &*layer.name {
                "conv3" | "fc6" | "fc7" => &[Activation::None, Activation::Relu],
                "conv4" => &[Activation::Relu],
                _ => &[Activation::None],
            };
            assert_eq!(after, wanted, "{}", layer.name);
        }
    }
}
