//! The pure part of a trainer: one part of the net on one device, a batch at a time.

use crate::{
    config::Train,
    exchange::{Exchange, ExchangeError, Tag, Times},
    model::{Layer, Net, Op, Part},
};
use gpu::{
    device::{Device, DeviceError},
    ops::{dropout::Dropout, lrn::Lrn, pool::MaxPool, sgd::Sgd, softmax::Score},
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

/// How a batch is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pass {
    /// Forward, backward and update at this learning rate.
    Train {
        /// Learning rate.
        rate: f32,
        /// Global step, which keys the dropout.
        step: u64,
    },
    /// Forward only, without dropout.
    Test,
}

/// What a batch gave. The score is the first part's to tell: fc8 lives there.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Loss and hits.
    pub score: Score,
    /// Where the time went, in seconds.
    pub times: Times,
    /// Share of units that were zero, per hidden layer, where asked for.
    pub dead: Vec<(String, f64)>,
}

/// A layer's weights, velocity and activations on the device.
#[derive(Debug)]
struct Room<B> {
    layer: Layer,
    /// One per source: own first, then the peers in the exchange's order.
    ops: Vec<Op>,
    lrn: Option<Lrn>,
    pool: Option<MaxPool>,
    weight: [B; 2], // values and velocity
    bias: [B; 2],
    /// The peers' activations, read by this layer.
    foreign: Vec<B>,
    /// After the activation function.
    y: B,
    lrn_scale: Option<B>,
    normalised: Option<B>,
    pooled: Option<B>,
    /// Lengths per image.
    y_len: usize,
    out_len: usize,
}

impl<B> Room<B> {
    fn out(&self) -> &B {
        self.pooled.as_ref().or(self.normalised.as_ref()).unwrap_or(&self.y)
    }

    fn out_mut(&mut self) -> &mut B {
        self.pooled.as_mut().or(self.normalised.as_mut()).unwrap_or(&mut self.y)
    }

    fn computes(&self) -> bool {
        self.y_len > 0
    }
}

/// One part of the net on one device.
#[derive(Debug)]
pub struct Core<D: Device> {
    device: D,
    net: Net,
    part: Part,
    devices: usize,
    batch: usize,
    train: Train,
    seed: u64,
    rooms: Vec<Room<D::Buffer>>,
    image: D::Buffer,
    /// The gradient of what a layer hands on, and of what it reads: they change places.
    gradients: [D::Buffer; 2],
    /// The gradient for a peer, or from one.
    foreign_gradient: D::Buffer,
    dw: D::Buffer,
    db: D::Buffer,
    probabilities: Vec<f32>,
    turn: u64,
}

impl<D: Device> Core<D> {
    /// Allocates everything that training will need, weights drawn from `seed`.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: D, net: Net, index: usize, devices: usize, train: &Train, batch: usize, seed: u64,
    ) -> Result<Self, DeviceError> {
        let part = Part::of_device(index, devices, net.towers);
        let peers: Vec<Part> = (0..devices)
            .filter(|d| *d != index)
            .map(|d| Part::of_device(d, devices, net.towers))
            .collect();
        let mut device = device;
        let mut rooms = Vec::new();
        let (mut longest, mut foreign_longest, mut dw_len, mut db_len) = (0, 0, 0, 0);
        for (i, layer) in net.layers.iter().enumerate() {
            let local = layer.local_kernels(part);
            let area_in = layer.side_in * layer.side_in;
            let y_len = local * layer.side_out * layer.side_out;
            let out_len = local * layer.side_handed_on() * layer.side_handed_on();
            let reads = |source: Part| {
                if layer.conv.is_some() {
                    source.share(layer.channels_in) * area_in
                } else {
                    source.share(layer.channels_in)
                }
            };
            let sources: &[Part] = if layer.across { &peers } else { &[] };
            let ops = std::iter::once(part)
                .chain(sources.iter().copied())
                .map(|source| layer.op(part, source, i == 0))
                .collect();
            let foreign = sources
                .iter()
                .map(|s| device.zeros(if local > 0 { reads(*s) * batch } else { 0 }))
                .collect::<Result<Vec<_>, _>>()?;
            foreign_longest = sources.iter().map(|s| reads(*s)).fold(foreign_longest, usize::max);
            foreign_longest = foreign_longest.max(if layer.across { reads(part) } else { 0 });
            longest = longest.max(y_len).max(out_len).max(if i > 0 { reads(part) } else { 0 });
            let (weights, biases) = layer.first_weights(part, i, seed);
            dw_len = dw_len.max(weights.len());
            db_len = db_len.max(biases.len());
            let mut pair = |floats: &[f32]| -> Result<[D::Buffer; 2], DeviceError> {
                let mut values = device.zeros(floats.len())?;
                device.upload(&mut values, floats);
                Ok([values, device.zeros(floats.len())?])
            };
            let (weight, bias) = (pair(&weights)?, pair(&biases)?);
            let lrn = layer.lrn_op(part, &net.lrn).filter(|_| local > 0);
            let pool = layer.pool_op(part).filter(|_| local > 0);
            let zeros = |wanted: bool, len: usize| {
                wanted.then(|| device.zeros(len * batch)).transpose()
            };
            rooms.push(Room {
                ops,
                weight,
                bias,
                foreign,
                y: device.zeros(y_len * batch)?,
                lrn_scale: zeros(lrn.is_some(), y_len)?,
                normalised: zeros(lrn.is_some(), y_len)?,
                pooled: zeros(pool.is_some(), out_len)?,
                layer: layer.clone(),
                lrn,
                pool,
                y_len,
                out_len,
            });
        }
        Ok(Self {
            image: device.zeros(3 * net.crop * net.crop * batch)?,
            gradients: [device.zeros(longest * batch)?, device.zeros(longest * batch)?],
            foreign_gradient: device.zeros(foreign_longest * batch)?,
            dw: device.zeros(dw_len)?,
            db: device.zeros(db_len)?,
            probabilities: Vec::new(),
            turn: 0,
            train: train.clone(),
            device,
            net,
            part,
            devices,
            batch,
            seed,
            rooms,
        })
    }

    /// The part of the net that this core carries.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Replaces weights and velocities by `rows`, as [`Core::rows`] gives them.
    ///
    /// # Panics
    /// If they are another net's.
    pub fn set_rows(&mut self, rows: &[Rows]) {
        let mut rows = rows.iter();
        for room in &mut self.rooms {
            for pair in [&mut room.weight, &mut room.bias] {
                let from = rows.next().expect("a weight and a bias per layer");
                self.device.upload(&mut pair[0], &from.values);
                self.device.upload(&mut pair[1], &from.velocity);
            }
        }
    }

    /// Weights and velocities: a weight and a bias per layer, in order.
    pub fn rows(&mut self) -> Vec<Rows> {
        let mut all = Vec::new();
        for room in &self.rooms {
            let (_, rows) = room.layer.rows(self.part);
            for (pair, what, len) in
                [(&room.weight, "weight", rows * room.layer.row_len()), (&room.bias, "bias", rows)]
            {
                let (mut values, mut velocity) = (vec![0.0; len], vec![0.0; len]);
                self.device.download(&pair[0], &mut values);
                self.device.download(&pair[1], &mut velocity);
                all.push(Rows { name: format!("{}.{what}", room.layer.name), values, velocity });
            }
        }
        all
    }

    /// Probabilities of the last batch, `[valid, classes]`; empty but on the first part.
    pub fn probabilities(&mut self, valid: usize) -> &[f32] {
        let head = self.rooms.last().expect("a head");
        self.probabilities.resize(valid * head.y_len, 0.0);
        self.device.download(&head.y, &mut self.probabilities);
        &self.probabilities
    }

    /// Share of zero activations per layer after the last batch: dead units after a ReLU.
    pub fn dead(&mut self) -> Vec<(String, f64)> {
        let mut dead = Vec::new();
        for room in self.rooms.iter().filter(|r| !r.layer.head) {
            let len = room.y_len * self.batch;
            let zeros = self.device.count_zeros(len, &room.y);
            dead.push((room.layer.name.clone(), zeros as f64 / len as f64));
        }
        dead
    }

    /// One batch: `pixels` are `[batch, 3, crop, crop]`, `labels` the valid rows' classes. `lap`
    /// returns the seconds since its last call.
    ///
    /// # Errors
    /// If another part failed or fell silent.
    pub fn batch(
        &mut self, pass: Pass, pixels: &[f32], labels: &[u32], exchange: &mut Exchange,
        lap: &mut dyn FnMut() -> f64,
    ) -> Result<Outcome, ExchangeError> {
        let mut outcome = Outcome::default();
        lap();
        self.device.upload(&mut self.image, pixels);
        self.forward(pass, exchange, &mut outcome.times, lap)?;
        let head = self.rooms.last_mut().expect("a head");
        if head.computes() {
            outcome.score =
                self.device.softmax(self.batch, self.net.classes, labels, &mut head.y);
        }
        outcome.times.forward += lap();
        if let Pass::Train { rate, step } = pass {
            self.backward(rate, step, labels, exchange, &mut outcome.times, lap)?;
        }
        self.turn += 1;
        Ok(outcome)
    }

    fn dropout(&self, i: usize, step: u64) -> Dropout {
        let layer = &self.net.layers[i];
        Dropout {
            rate: layer.dropout,
            units: layer.local_kernels(self.part),
            first_unit: self.part.offset(layer.kernels),
            seed: self.seed,
            layer: i as u32,
            step,
        }
    }

    fn forward(
        &mut self, pass: Pass, exchange: &mut Exchange, times: &mut Times,
        lap: &mut dyn FnMut() -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        for i in 0..self.rooms.len() {
            let tag = Tag { turn: self.turn, layer: i, backward: false };
            let (before, rest) = self.rooms.split_at_mut(i);
            let room = &mut rest[0];
            let own = before.last().map_or(&self.image, Room::out);
            // What peers wait for leaves first; their part arrives while ours is computed.
            if room.layer.across {
                let len = before.last().map_or(0, |b| b.out_len) * n;
                for peer in 0..exchange.peers() {
                    if !room.layer.head || exchange.device_of(peer) == 0 {
                        exchange.send(peer, tag, len, |out| self.device.download(own, out))?;
                    }
                }
                times.exchange += lap();
            }
            if !room.computes() {
                continue;
            }
            apply(&mut self.device, &room.ops[0], n, own, &room.weight[0], Some(&room.bias[0]), &mut room.y);
            times.forward += lap();
            for peer in 0..room.foreign.len() {
                let foreign = &mut room.foreign[peer];
                exchange.receive(peer, tag, |floats| self.device.upload(foreign, floats))?;
                times.exchange += lap();
                apply(&mut self.device, &room.ops[1 + peer], n, foreign, &room.weight[0], None, &mut room.y);
                times.forward += lap();
            }
            self.device.activate(room.layer.activation, room.y_len * n, &mut room.y);
            if let (Some(op), Some(scale), Some(out)) =
                (&room.lrn, &mut room.lrn_scale, &mut room.normalised)
            {
                self.device.lrn_forward(op, n, &room.y, scale, out);
            }
            if let (Some(op), Some(out)) = (&room.pool, &mut room.pooled) {
                let x = room.normalised.as_ref().unwrap_or(&room.y);
                self.device.pool_forward(op, n, x, out);
            }
            let rate = room.layer.dropout;
            if rate > 0.0 {
                let op = self.dropout(i, if let Pass::Train { step, .. } = pass { step } else { 0 });
                let room = &mut self.rooms[i];
                let len = room.out_len * n;
                match pass {
                    Pass::Train { .. } => self.device.dropout(&op, n, room.out_mut()),
                    Pass::Test => self.device.scale(1.0 - rate, len, room.out_mut()),
                }
            }
            times.forward += lap();
        }
        Ok(())
    }

    /// From the loss to the image; each layer is updated as soon as its gradients are used up.
    fn backward(
        &mut self, rate: f32, step: u64, labels: &[u32], exchange: &mut Exchange,
        times: &mut Times, lap: &mut dyn FnMut() -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        for i in (0..self.rooms.len()).rev() {
            let tag = Tag { turn: self.turn, layer: i, backward: true };
            let dropout = self.dropout(i, step);
            let (before, rest) = self.rooms.split_at_mut(i);
            let room = &mut rest[0];
            let [d, other] = &mut self.gradients;
            if room.layer.head && room.computes() {
                self.device.softmax_backward(n, self.net.classes, labels, &mut room.y);
                std::mem::swap(&mut room.y, d); // the probabilities become the gradient
            }
            if room.computes() {
                if room.layer.dropout > 0.0 {
                    self.device.dropout(&dropout, n, d);
                }
                if let (Some(op), Some(y)) = (&room.pool, &room.pooled) {
                    let x = room.normalised.as_ref().unwrap_or(&room.y);
                    self.device.pool_backward(op, n, x, y, d, other);
                    std::mem::swap(d, other);
                }
                if let (Some(op), Some(scale)) = (&room.lrn, &room.lrn_scale) {
                    self.device.lrn_backward(op, n, &room.y, scale, d, other);
                    std::mem::swap(d, other);
                }
                self.device.activate_backward(room.layer.activation, room.y_len * n, &room.y, d);
                times.backward += lap();
                // The peers' gradients leave first.
                for peer in 0..room.foreign.len() {
                    let dx = &mut self.foreign_gradient;
                    let len = gradient(&mut self.device, &room.ops[1 + peer], n, d, &room.weight[0], dx);
                    times.backward += lap();
                    exchange.send(peer, tag, len, |out| self.device.download(dx, out))?;
                    times.exchange += lap();
                }
                for (op, x) in room.ops.iter().zip(
                    std::iter::once(before.last().map_or(&self.image, Room::out))
                        .chain(&room.foreign),
                ) {
                    weight_gradient(&mut self.device, op, n, x, d, &mut self.dw);
                }
                let (_, rows) = room.layer.rows(self.part);
                let area = room.y_len / rows;
                self.device.bias_backward(n, rows, area, d, &mut self.db);
                if i > 0 {
                    gradient(&mut self.device, &room.ops[0], n, d, &room.weight[0], other);
                }
                if room.layer.head {
                    std::mem::swap(&mut room.y, d);
                }
                std::mem::swap(d, other);
                times.backward += lap();
                let sgd = Sgd { rate, momentum: self.train.momentum, decay: self.train.decay };
                let [w, v] = &mut room.weight;
                self.device.sgd(&sgd, rows * room.layer.row_len(), &self.dw, v, w);
                let [w, v] = &mut room.bias;
                self.device.sgd(&Sgd { decay: 0.0, ..sgd }, rows, &self.db, v, w);
                times.update += lap();
            }
            if room.layer.across && self.devices > 1 {
                let len = before.last().map_or(0, |b| b.out_len) * n;
                let mut fresh = !room.computes(); // no gradient of our own to add to
                for peer in 0..exchange.peers() {
                    if room.layer.head && exchange.device_of(peer) != 0 {
                        continue;
                    }
                    let d = &mut self.gradients[0];
                    let dx = &mut self.foreign_gradient;
                    if fresh {
                        exchange.receive(peer, tag, |floats| self.device.upload(d, floats))?;
                        fresh = false;
                    } else {
                        exchange.receive(peer, tag, |floats| self.device.upload(dx, floats))?;
                        self.device.add(len, dx, d);
                    }
                }
                times.exchange += lap();
            }
        }
        Ok(())
    }
}

/// `y (+)= w x (+ b)`: the first source writes and adds the bias, the others add to it.
fn apply<D: Device>(
    device: &mut D, op: &Op, n: usize, x: &D::Buffer, w: &D::Buffer, b: Option<&D::Buffer>,
    y: &mut D::Buffer,
) {
    let accumulate = b.is_none();
    match op {
        Op::Conv(op) => device.conv_forward(op, n, x, w, b, accumulate, y),
        Op::Linear(op) => device.linear_forward(op, n, x, w, b, accumulate, y),
    }
}

/// `dx` of one source; returns its length in floats.
fn gradient<D: Device>(
    device: &mut D, op: &Op, n: usize, dy: &D::Buffer, w: &D::Buffer, dx: &mut D::Buffer,
) -> usize {
    match op {
        Op::Conv(op) => {
            device.conv_backward_data(op, n, dy, w, dx);
            n * op.x_len()
        }
        Op::Linear(op) => {
            device.linear_backward_data(op, n, dy, w, dx);
            n * op.inputs
        }
    }
}

/// The block of `dw` that one source's channels own.
fn weight_gradient<D: Device>(
    device: &mut D, op: &Op, n: usize, x: &D::Buffer, dy: &D::Buffer, dw: &mut D::Buffer,
) {
    match op {
        Op::Conv(op) => device.conv_backward_weight(op, n, x, dy, dw),
        Op::Linear(op) => device.linear_backward_weight(op, n, x, dy, dw),
    }
}
