//! The pure part of a trainer: one part of the net on one device, a batch at a time.
//!
//! In goes a batch of pixels and labels; out come its score and new weights. What crosses goes
//! through the [`Exchange`], sent before the local work that does not need it.

use super::{
    needs::{Shared, demand},
    room::{Room, Rows},
    step::{Outcome, Pass, StepError},
    watch::Watch,
};
use crate::{
    config::Train,
    exchange::{Exchange, ExchangeError, Tag, Times},
    model::{Net, Part},
};
use gpu::{
    device::{Device, DeviceError, Input, Pictures, Progress, Step},
    ops::{dropout::Dropout, sgd::Sgd, softmax::Score},
};
use std::time::{Duration, Instant};

/// Between two looks at a device that works on its own: an event cannot be waited for with a limit.
pub(super) const PAUSE: Duration = Duration::from_micros(50);

/// One part of the net on one device.
#[derive(Debug)]
pub struct Core<D: Device> {
    pub(super) device: D,
    net: Net,
    part: Part,
    devices: usize,
    batch: usize,
    train: Train,
    rooms: Vec<Room<D::Buffer>>,
    /// The gradient of what a layer hands on, then of what it reads.
    gradient: D::Buffer,
    /// The gradient for a peer.
    foreign_gradient: D::Buffer,
    /// The gradient from a peer: apart, since it may come while the other leaves.
    arrived: D::Buffer,
    /// Logits from a peer.
    logits: D::Buffer,
    dw: D::Buffer,
    db: D::Buffer,
    watch: Watch,
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
        let shared = Shared::of(net, part, peers.len(), batch);
        device.reserve(&demand(net, part, &peers, batch))?;
        // Each peer sends once per layer that looks across and way.
        let parcels = 2 * rooms.iter().filter(|room| room.layer.across).count() * peers.len();
        Ok(Self {
            watch: Watch::new(1 + D::AHEAD, parcels),
            gradient: device.activations(shared.gradient)?,
            foreign_gradient: device.activations(shared.foreign)?,
            arrived: device.activations(shared.foreign)?,
            logits: device.zeros(shared.logits)?,
            dw: device.zeros(shared.dw)?,
            db: device.zeros(shared.db)?,
            train: train.clone(),
            net: net.clone(),
            device,
            part,
            devices,
            batch,
            rooms,
        })
    }

    /// Activations that the largest parcel has room for.
    pub fn parcel_len(&self) -> usize {
        let shared = Shared::of(&self.net, self.part, self.devices - 1, self.batch);
        shared.parcel(self.device.activation_bytes())
    }

    /// Replaces weights and velocities by `rows`, as [`Core::rows`] gives them.
    ///
    /// # Panics
    /// If they are another net's.
    pub fn set_rows(&mut self, rows: &[Rows]) {
        assert_eq!(rows.len(), 2 * self.rooms.len(), "a weight and a bias per layer");
        for (room, rows) in self.rooms.iter_mut().zip(rows.chunks_exact(2)) {
            room.set_rows(&mut self.device, &rows[0], &rows[1]);
        }
    }

    /// Weights and velocities: a weight and a bias per layer, in order.
    pub fn rows(&mut self) -> Vec<Rows> {
        self.rooms.iter().flat_map(|room| room.rows(&mut self.device)).collect()
    }

    /// Probabilities of the last batch's first `valid` images, `[valid, classes]`; empty but on the
    /// first part, which adds up the logits.
    pub fn probabilities(&mut self, valid: usize) -> Vec<f32> {
        let head = self.rooms.last().expect("a head");
        if !self.part.leads() {
            return vec![];
        }
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

    /// One batch, start to end: for whom there is no other to begin meanwhile. See [`Core::start`].
    ///
    /// # Errors
    /// If the device or another part failed, or either fell silent.
    pub fn batch(
        &mut self, pass: Pass, pictures: &Pictures, labels: &[u32],
        exchange: &mut Exchange<D::Parcel>, lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<Outcome, StepError> {
        let times = self.start(pass, pictures, labels, exchange, lap)?;
        let mut waited = Duration::ZERO;
        while self.progress()?.done < self.watch.begun() {
            if waited >= exchange.patience() {
                return Err(self.stuck(exchange.tower(), waited));
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
        let score = self.score();
        Ok(Outcome { score, times, overflowed: self.overflowed() })
    }

    /// Waits until all batches are done; a device that takes longer, or fails, is given up.
    pub(super) fn settle(&mut self, patience: Duration) {
        let since = Instant::now();
        while self.progress().is_ok_and(|progress| progress.done < self.watch.begun()) {
            if since.elapsed() >= patience {
                self.give_up();
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Asks the device for one batch, which is done when [`Core::progress`] says so: `pictures` are
    /// `[batch, 3, crop, crop]`, `labels` the valid rows' classes. `lap` returns the seconds since its
    /// last call, and is told what took them.
    ///
    /// # Errors
    /// If another part failed or fell silent.
    pub fn start(
        &mut self, pass: Pass, pictures: &Pictures, labels: &[u32],
        exchange: &mut Exchange<D::Parcel>, lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<Times, StepError> {
        let (mut times, pixels) = (Times::default(), pictures.pixels());
        lap("begin");
        self.watch.begin(pass.step());
        let step = match pass {
            Pass::Train { rate, step, scale } => Step { rate, step, scale },
            Pass::Test => Step::default(),
        };
        self.device.begin(pictures, labels, step);
        self.forward(pass, pixels, exchange, &mut times, lap)?;
        let (n, classes) = (self.batch, self.net.classes);
        let leads = self.part.leads();
        if leads {
            let head = self.rooms.last_mut().expect("a head");
            self.device.softmax(n, classes, labels, &mut head.y);
        }
        times.forward += lap("forward");
        self.device.turn();
        if let Pass::Train { rate, .. } = pass {
            if leads {
                let head = self.rooms.last_mut().expect("a head");
                self.device.softmax_backward(n, classes, labels, &mut head.y);
            }
            times.backward += lap("backward");
            self.hand_out(exchange)?;
            times.exchange += lap("exchange");
            for i in (0..self.rooms.len()).rev() {
                self.backward_layer(i, pixels, rate, exchange, &mut times, lap)?;
            }
        }
        self.device.end();
        times.waiting = exchange.waited().as_secs_f64();
        Ok(times)
    }

    /// Batches that were started.
    pub fn started(&self) -> u64 {
        self.watch.begun()
    }

    /// Whether a batch can be started without waiting for those before it.
    pub fn may_start(&mut self) -> bool {
        self.device.may_begin()
    }

    /// How far the device is.
    ///
    /// # Errors
    /// If it has failed.
    pub fn progress(&mut self) -> Result<Progress, DeviceError> {
        self.device.progress()
    }

    /// The score of the oldest batch that was not asked for, which must be done: the first part's to
    /// tell, which adds up the logits.
    pub fn score(&mut self) -> Score {
        self.watch.score();
        self.device.score()
    }

    /// Whether a gradient of the batch that was scored last overflowed here.
    pub fn overflowed(&mut self) -> bool {
        self.device.overflowed()
    }

    /// The error of a device that has not finished its oldest batch after `waited`.
    pub fn stuck(&mut self, tower: usize, waited: Duration) -> StepError {
        let unpacked = self.device.progress().map_or(0, |progress| progress.unpacked);
        self.watch.stuck(tower, unpacked, waited)
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

    /// Layer by layer, then the logits.
    fn forward(
        &mut self, pass: Pass, pixels: &[f32], exchange: &mut Exchange<D::Parcel>,
        times: &mut Times, lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        for i in 0..self.rooms.len() {
            let tag = Tag { turn: self.watch.turn(), layer: i, backward: false };
            let (before, rest) = self.rooms.split_at_mut(i);
            let room = &mut rest[0];
            if let Some(before) = before.last().filter(|_| room.layer.reads_peers()) {
                // What the peers read leaves before the local work, which it then overlaps.
                let (own, len) = (before.out(), before.out_len * n);
                for peer in 0..exchange.peers() {
                    exchange.send(peer, tag, |parcel| self.device.pack(own, len, parcel))?;
                }
                times.exchange += lap("exchange");
            }
            room.multiply_own(&mut self.device, n, read(before.last(), pixels));
            times.forward += lap("forward");
            for peer in 0..room.foreign.len() {
                let (len, x) = (room.x_len * n, &mut room.foreign[peer]);
                exchange.receive(peer, tag, |parcel| self.device.unpack(parcel, len, x))?;
                self.watch.unpacks(exchange.device_of(peer), tag);
                times.exchange += lap("exchange");
                room.multiply_foreign(peer, &mut self.device, n);
                times.forward += lap("forward");
            }
            if let Some(finished) = &mut room.finished {
                self.device.finish_forward(&room.finish, n, &mut room.y, Some(finished));
            }
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
        self.add_up(exchange)?;
        times.exchange += lap("exchange");
        Ok(())
    }

    /// The first part adds what the head gave on the others to its own.
    fn add_up(&mut self, exchange: &mut Exchange<D::Parcel>) -> Result<(), ExchangeError> {
        let (tag, room) = (self.head_tag(false), self.rooms.last_mut().expect("a head"));
        let (len, device) = (room.y_len * self.batch, &mut self.device);
        for peer in 0..exchange.peers() {
            if self.part.leads() {
                let arrived = &mut self.logits;
                exchange.receive(peer, tag, |parcel| device.unpack(parcel, len, arrived))?;
                self.watch.unpacks(exchange.device_of(peer), tag);
                device.add(len, arrived, &mut room.y);
            } else if exchange.device_of(peer) == 0 {
                exchange.send(peer, tag, |parcel| device.pack(&room.y, len, parcel))?;
            }
        }
        Ok(())
    }

    /// The gradient of the logits, which the first part has, goes to all.
    fn hand_out(&mut self, exchange: &mut Exchange<D::Parcel>) -> Result<(), ExchangeError> {
        let (tag, room) = (self.head_tag(true), self.rooms.last_mut().expect("a head"));
        let (len, device) = (room.y_len * self.batch, &mut self.device);
        for peer in 0..exchange.peers() {
            if self.part.leads() {
                exchange.send(peer, tag, |parcel| device.pack(&room.y, len, parcel))?;
            } else if exchange.device_of(peer) == 0 {
                let y = &mut room.y;
                exchange.receive(peer, tag, |parcel| device.unpack(parcel, len, y))?;
                self.watch.unpacks(exchange.device_of(peer), tag);
            }
        }
        Ok(())
    }

    fn head_tag(&self, backward: bool) -> Tag {
        Tag { turn: self.watch.turn(), layer: self.rooms.len() - 1, backward }
    }

    /// From the gradient of what layer `i` hands on to that of what it reads; the layer is updated
    /// as soon as its weights have been read for the last time.
    fn backward_layer(
        &mut self, i: usize, pixels: &[f32], rate: f32, exchange: &mut Exchange<D::Parcel>,
        times: &mut Times, lap: &mut dyn FnMut(&'static str) -> f64,
    ) -> Result<(), ExchangeError> {
        let n = self.batch;
        let tag = Tag { turn: self.watch.turn(), layer: i, backward: true };
        let (before, rest) = self.rooms.split_at_mut(i);
        let room = &mut rest[0];
        let device = &mut self.device;
        let d = &mut self.gradient;
        if !room.layer.head {
            // Zero where the unit was dropped, as at every zero of a ReLU.
            device.finish_backward(&room.finish, n, d, &mut room.y, &mut self.db);
        } else if room.biases > 0 {
            device.bias_backward(n, room.biases, 1, &room.y, &mut self.db);
        }
        times.backward += lap("backward");
        // The peers' gradients leave first: they travel during the local work.
        for peer in 0..room.foreign.len() {
            let dx = &mut self.foreign_gradient;
            room.data_gradient(1 + peer, device, n, dx);
            times.backward += lap("backward");
            // Towers are alike: a peer's share is as long as our own.
            let len = room.x_len * n;
            exchange.send(peer, tag, |parcel| device.give(dx, len, parcel))?;
            times.exchange += lap("exchange");
        }
        if i > 0 {
            room.data_gradient(0, device, n, d);
        }
        let own = read(before.last(), pixels);
        room.weight_gradient(device, n, own, &mut self.dw);
        times.backward += lap("backward");
        // The weights have been read for the last time.
        let sgd = Sgd { rate, momentum: self.train.momentum, decay: self.train.decay };
        room.update_weights(device, n, own, &sgd, &self.dw);
        if room.biases > 0 {
            let [w, v] = &mut room.bias;
            device.sgd(&Sgd { decay: 0.0, ..sgd }, room.biases, &self.db, v, w);
        }
        times.update += lap("update");
        for peer in 0..room.foreign.len() {
            let (len, arrived) = (room.x_len * n, &mut self.arrived);
            exchange.receive(peer, tag, |parcel| device.unpack(parcel, len, arrived))?;
            self.watch.unpacks(exchange.device_of(peer), tag);
            device.add(len, arrived, d);
        }
        times.exchange += lap("exchange");
        Ok(())
    }
}

/// What a layer reads of its own part: what the layer before hands on, or the pictures.
fn read<'a, B>(before: Option<&'a Room<B>>, pixels: &'a [f32]) -> Input<'a, B> {
    before.map(Room::out).map_or(Input::Pictures(pixels), Input::Buffer)
}
