//! The pure part of a trainer: one part of the net on one device, a batch at a time.
//!
//! In goes a batch of pixels and labels; out come its score and new weights. What crosses goes
//! through the [`Exchange`], sent before the local work that does not need it.

use super::room::{Room, Rows};
use crate::{
    config::Train,
    exchange::{Exchange, ExchangeError, Tag, Times},
    model::{Net, Part},
};
use gpu::{
    device::{Device, DeviceError, Home, Input},
    ops::{dropout::Dropout, sgd::Sgd, softmax::Score},
};

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
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Loss and hits.
    pub score: Score,
    /// Where the time went, in seconds.
    pub times: Times,
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
    rooms: Vec<Room<D::Buffer>>,
    /// A copy of the pictures, where the device cannot read the slot that they are in.
    image: Option<D::Buffer>,
    /// The gradient of what a layer hands on, then of what it reads.
    gradient: D::Buffer,
    /// The gradient for a peer, or from one.
    foreign_gradient: D::Buffer,
    dw: D::Buffer,
    db: D::Buffer,
    turn: u64,
}

impl<D: Device> Core<D> {
    /// Allocates everything that training will need, weights drawn from `train.seed`.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn new(
        device: D, net: &Net, index: usize, devices: usize, train: &Train,
    ) -> Result<Self, DeviceError> {
        let (mut device, batch) = (device, train.batch);
        let part = Part::of_device(index, devices, net.towers);
        let peers: Vec<Part> = (0..devices)
            .filter(|peer| *peer != index)
            .map(|peer| Part::of_device(peer, devices, net.towers))
            .collect();
        let rooms = (0..net.layers.len())
            .map(|i| Room::new(&mut device, net, i, part, &peers, batch, train.seed))
            .collect::<Result<Vec<_>, _>>()?;
        let most =
            |len: fn(&Room<D::Buffer>) -> usize| rooms.iter().map(len).max().unwrap_or(0);
        // Nobody needs the image's.
        let hidden =
            |room: &Room<D::Buffer>| if room.layer.reads_image { 0 } else { room.x_len };
        let gradient = most(|room| room.out_len).max(most(hidden)) * batch;
        let foreign = most(|room| if room.layer.across { room.x_len } else { 0 }) * batch;
        Ok(Self {
            image: (!D::READS_HOST)
                .then(|| device.zeros(3 * net.crop * net.crop * batch))
                .transpose()?,
            gradient: device.zeros(gradient)?,
            foreign_gradient: device.zeros(foreign)?,
            dw: device.zeros(most(Room::gradient_len))?,
            db: device.zeros(most(|room| room.rows))?,
            turn: 0,
            train: train.clone(),
            net: net.clone(),
            device,
            part,
            devices,
            batch,
            rooms,
        })
    }

    /// From where it is best called.
    pub fn home(&self) -> Home {
        self.device.home()
    }

    /// Memory for a ring slot.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn slot(&self, bytes: usize) -> Result<D::Slot, DeviceError> {
        self.device.slot(bytes)
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
        self.rooms.iter().flat_map(|room| room.rows(&mut self.device)).collect()
    }

    /// Probabilities of the last batch's first `valid` images, `[valid, classes]`; empty but on the
    /// first part, where fc8 lives.
    pub fn probabilities(&mut self, valid: usize) -> Vec<f32> {
        let head = self.rooms.last().expect("a head");
        let mut probabilities = vec![0.0; valid * head.y_len];
        self.device.download(&head.y, &mut probabilities);
        probabilities
    }

    /// Share of dead units per hidden layer after the last batch: zero for every image of it.
    pub fn dead(&mut self) -> Vec<(String, f64)> {
        let hidden = self.rooms.iter().filter(|room| !room.layer.head);
        hidden
            .map(|room| (room.layer.name.clone(), room.dead(&mut self.device, self.batch)))
            .collect()
    }

    /// One batch: `pixels` are `[batch, 3, crop, crop]`, `labels` the valid rows' classes. `lap`
    /// returns the seconds since its last call, and is told what took them.
    ///
    /// # Errors
    /// If another part failed or fell silent.
    pub fn batch(
        &mut self, pass: Pass, pixels: &[f32], labels: &[u32], exchange: &mut Exchange,
        lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<Outcome, ExchangeError> {
        let mut outcome = Outcome::default();
        let times = &mut outcome.times;
        lap("begin");
        if let Some(image) = &mut self.image {
            self.device.upload(image, pixels);
        }
        self.forward(pass, pixels, exchange, times, lap)?;
        let head = self.rooms.last_mut().expect("a head");
        if head.computes() {
            outcome.score =
                self.device.softmax(self.batch, self.net.classes, labels, &mut head.y);
        }
        times.forward += lap("forward");
        if let Pass::Train { rate, .. } = pass {
            if self.rooms.last().is_some_and(Room::computes) {
                let head = self.rooms.last_mut().expect("a head");
                self.device.softmax_backward(self.batch, self.net.classes, labels, &mut head.y);
            }
            for i in (0..self.rooms.len()).rev() {
                self.backward_layer(i, pixels, rate, exchange, times, lap)?;
            }
        }
        self.turn += 1;
        Ok(outcome)
    }

    fn dropout(&self, layer: usize, step: u64) -> Dropout {
        let room = &self.rooms[layer];
        Dropout {
            rate: room.layer.dropout,
            units: room.out_len,
            first_unit: room.layer.rows(self.part).0,
            seed: self.train.seed,
            layer: layer as u32,
            step,
        }
    }

    fn forward(
        &mut self, pass: Pass, pixels: &[f32], exchange: &mut Exchange, times: &mut Times,
        lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        for i in 0..self.rooms.len() {
            let tag = Tag { turn: self.turn, layer: i, backward: false };
            let (before, rest) = self.rooms.split_at_mut(i);
            let room = &mut rest[0];
            if let Some(before) = before.last().filter(|_| room.layer.across) {
                // What the peers read leaves before the local work, which it then overlaps.
                let (own, len) = (before.out(), before.out_len * n);
                for peer in 0..exchange.peers() {
                    if !room.layer.head || exchange.device_of(peer) == 0 {
                        exchange.send(peer, tag, len, |out| self.device.download(own, out))?;
                    }
                }
                times.exchange += lap("exchange");
            }
            let own = read(before.last(), self.image.as_ref(), pixels);
            if !room.computes() {
                continue;
            }
            let w = &room.weight[0];
            let b = Some(&room.bias[0]);
            Room::multiply(&room.ops[0], &mut self.device, n, own, w, b, &mut room.y);
            times.forward += lap("forward");
            for (peer, x) in room.foreign.iter_mut().enumerate() {
                exchange.receive(peer, tag, |floats| self.device.upload(x, floats))?;
                times.exchange += lap("exchange");
                let (op, x) = (&room.ops[1 + peer], Input::Buffer(&*x));
                Room::multiply(op, &mut self.device, n, x, w, None, &mut room.y);
                times.forward += lap("forward");
            }
            let finished = room.finished.as_mut();
            self.device.finish_forward(&room.finish, n, &mut room.y, finished);
            if room.layer.dropout > 0.0 {
                let (keep, len) = (1.0 - room.layer.dropout, room.out_len * n);
                if let Pass::Train { step, .. } = pass {
                    let op = self.dropout(i, step);
                    self.device.dropout(&op, n, self.rooms[i].out_mut());
                } else {
                    self.device.scale(keep, len, room.out_mut());
                }
            }
            times.forward += lap("forward");
        }
        Ok(())
    }

    /// From the gradient of what layer `i` hands on to that of what it reads; the layer is updated
    /// as soon as its weights have been read for the last time.
    fn backward_layer(
        &mut self, i: usize, pixels: &[f32], rate: f32, exchange: &mut Exchange,
        times: &mut Times, lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        let tag = Tag { turn: self.turn, layer: i, backward: true };
        let (before, rest) = self.rooms.split_at_mut(i);
        let room = &mut rest[0];
        let device = &mut self.device;
        let d = &mut self.gradient;
        if room.computes() {
            if room.layer.head {
                device.bias_backward(n, room.rows, 1, &room.y, &mut self.db);
            } else {
                // Zero where the unit was dropped, as at every zero of a ReLU.
                device.finish_backward(&room.finish, n, d, &mut room.y, &mut self.db);
            }
            times.backward += lap("backward");
            // The peers' gradients leave first: they travel during the local work.
            for peer in 0..room.foreign.len() {
                let dx = &mut self.foreign_gradient;
                room.data_gradient(1 + peer, device, n, dx);
                times.backward += lap("backward");
                // Towers are alike: a peer's share is as long as our own.
                exchange.send(peer, tag, room.x_len * n, |out| device.download(dx, out))?;
                times.exchange += lap("exchange");
            }
            if i > 0 {
                room.data_gradient(0, device, n, d);
            }
            let own = read(before.last(), self.image.as_ref(), pixels);
            room.weight_gradient(device, n, own, &mut self.dw);
            times.backward += lap("backward");
            // The weights have been read for the last time.
            let sgd = Sgd { rate, momentum: self.train.momentum, decay: self.train.decay };
            room.update_weights(device, n, own, &sgd, &self.dw);
            let [w, v] = &mut room.bias;
            device.sgd(&Sgd { decay: 0.0, ..sgd }, room.rows, &self.db, v, w);
            times.update += lap("update");
        }
        if room.layer.across && self.devices > 1 {
            let len = room.x_len * n;
            let mut own = room.computes(); // there is a gradient of our own to add to
            for peer in 0..exchange.peers() {
                if room.layer.head && exchange.device_of(peer) != 0 {
                    continue; // carries none of the head
                }
                if own {
                    let dx = &mut self.foreign_gradient;
                    exchange.receive(peer, tag, |floats| device.upload(dx, floats))?;
                    device.add(len, dx, d);
                } else {
                    exchange.receive(peer, tag, |floats| device.upload(d, floats))?;
                    own = true;
                }
            }
            times.exchange += lap("exchange");
        }
        Ok(())
    }
}

/// What a layer reads of its own part: what the layer before hands on, or the pictures.
fn read<'a, B>(
    before: Option<&'a Room<B>>, image: Option<&'a B>, pixels: &'a [f32],
) -> Input<'a, B> {
    let buffer = before.map(Room::out).or(image);
    buffer.map_or(Input::Host(pixels), Input::Buffer)
}
