//! What the tests of the towers share: small nets, towers fed by hand with made-up batches, and how
//! far two sets of numbers lie apart.

use alexnet::{
    config::Config,
    model::Net,
    tower::{Outcome, Pass, TowerError, Towers},
    weights::Tensor,
};
use gpu::{
    cpu::{Cpu, Slot},
    device::Device,
    random::philox,
};
use pipeline::ring::{Ready, Ring};
use std::{ops::Range, sync::mpsc, thread, time::Duration};

/// Slots of a rig: two batches with the towers, one being filled.
pub(crate) const SLOTS: usize = 2 + 1;
/// Second word of every key, as in tests/golden/make.py.
const YEAR: u32 = 2012;

/// The demo's net with fewer hidden units, batches of 8. Alpha is a thousand times the recipe's, so
/// that LRN matters; the rate is a tenth, since there is nothing to learn.
pub(crate) fn demo() -> Config {
    let mut config = Config::load("demo", None).expect("a preset");
    config.fc.iter_mut().for_each(|fc| fc.units = 256);
    (config.train.batch, config.train.rate) = (8, 0.001);
    config.lrn.alpha = 0.02;
    config
}

/// The same wiring with a few kernels a layer, batches of 2.
pub(crate) fn tiny() -> Config {
    let mut config = demo();
    config.train.batch = 2;
    config.conv.iter_mut().for_each(|conv| conv.kernels = 8);
    config.fc.iter_mut().for_each(|fc| fc.units = 16);
    config
}

/// `count` CPU devices of `threads` threads each.
pub(crate) fn cpus(count: usize, threads: usize) -> Vec<Cpu> {
    let cpu = |i| Cpu::new(&format!("tower-{i}"), threads).expect("threads");
    (0..count).map(cpu).collect()
}

/// `len` numbers between `-scale` and `scale` of stream `key`, as in tests/golden/make.py.
pub(crate) fn uniform(key: u32, scale: f64, len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    for (i, values) in values.chunks_mut(4).enumerate() {
        let words = philox([key, YEAR], [i as u32, 0, 0, 0]);
        for (value, word) in values.iter_mut().zip(words) {
            *value = (scale * (2.0 * (f64::from(word) / 4_294_967_296.0) - 1.0)) as f32;
        }
    }
    values
}

/// Towers, and the slots that carry batches to them.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) towers: Towers<Slot>,
    pub(crate) net: Net,
    ring: Ring<Slot>,
    batch: usize,
    rate: f32,
}

impl Rig {
    /// Starts a tower actor on each of `devices`.
    pub(crate) fn new<D: Device<Slot = Slot>>(
        devices: Vec<D>, config: &Config, classes: usize,
    ) -> Result<Self, TowerError> {
        Self::of_net(devices, config, &Net::new(config, classes))
    }

    /// The same for a net of `config` that is computed in its own way.
    pub(crate) fn of_net<D: Device<Slot = Slot>>(
        devices: Vec<D>, config: &Config, net: &Net,
    ) -> Result<Self, TowerError> {
        let (net, batch) = (net.clone(), config.train.batch);
        let mut towers = Towers::start(devices, &net, &config.train)?;
        let bytes = 3 * net.crop * net.crop * batch * size_of::<f32>();
        let ring = Ring::new(towers.slots(SLOTS, bytes)?, batch);
        Ok(Self { towers, net, ring, batch, rate: config.train.rate as f32 })
    }

    /// A batch with the pixels of stream `key`, 120 grey levels at most; as many images count as
    /// there are labels.
    pub(crate) fn batch(&self, key: u32, labels: &[u32]) -> Ready<Slot> {
        self.batch_of(&uniform(key, 120.0, self.batch * self.image_len()), labels)
    }

    /// A batch of `pixels`; as many images count as there are labels.
    pub(crate) fn batch_of(&self, pixels: &[f32], labels: &[u32]) -> Ready<Slot> {
        let never = crossbeam_channel::never();
        let mut filling = self.ring.acquire(&never).expect("nobody aborts");
        let batch = filling.batch_mut();
        batch.valid = labels.len();
        batch.labels[..labels.len()].copy_from_slice(labels);
        let image_bytes = self.image_len() * size_of::<f32>();
        filling.zero_from(labels.len(), image_bytes);
        let pixels = bytemuck::cast_slice(pixels).chunks_exact(image_bytes);
        let mut ready = None;
        for (mut cell, pixels) in filling.into_cells(image_bytes).zip(pixels) {
            cell.bytes_mut().copy_from_slice(pixels);
            ready = cell.finish();
        }
        ready.expect("all cells are finished")
    }

    /// One batch, start to end: its outcome and probabilities.
    pub(crate) fn pass(
        &mut self, pass: Pass, batch: Ready<Slot>,
    ) -> Result<(Outcome, Vec<f32>), TowerError> {
        self.towers.submit(batch, pass, true)?;
        self.towers.outcome()
    }

    /// Trains on made-up batches number `steps`; returns the mean losses.
    pub(crate) fn train(&mut self, steps: Range<u64>) -> Result<Vec<f64>, TowerError> {
        let mut losses = vec![];
        for step in steps {
            let labels = self.labels(step as u32);
            let batch = self.batch(step as u32, &labels);
            let (outcome, _) =
                self.pass(Pass::Train { rate: self.rate, step, scale: 1.0 }, batch)?;
            losses.push(outcome.score.loss_sum / self.batch as f64);
        }
        Ok(losses)
    }

    /// Drops the towers, which joins them, and returns the ring.
    pub(crate) fn stop(self) -> Ring<Slot> {
        drop(self.towers);
        self.ring
    }

    /// Labels of a whole batch, different in each.
    pub(crate) fn labels(&self, key: u32) -> Vec<u32> {
        (0..self.batch as u32).map(|i| (3 * i + key) % self.net.classes as u32).collect()
    }

    fn image_len(&self) -> usize {
        3 * self.net.crop * self.net.crop
    }
}

/// The largest difference of two lists, relative to the largest magnitude; infinite where one is not
/// a number.
pub(crate) fn apart(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "lengths");
    let largest = a.iter().fold(0.0, |max: f32, a| max.max(a.abs()));
    let difference = a.iter().zip(b).fold(0.0, |max: f64, (a, b)| {
        let difference = f64::from(a - b).abs();
        if difference.is_nan() { f64::INFINITY } else { max.max(difference) }
    });
    if difference == 0.0 { 0.0 } else { difference / f64::from(largest) }
}

/// The largest difference of weights or velocities, relative to the largest of its tensor, and the
/// tensor's name.
pub(crate) fn tensors_apart(a: &[Tensor], b: &[Tensor]) -> (f64, String) {
    assert_eq!(a.len(), b.len(), "tensors");
    let mut most = (0.0, String::from("none"));
    for (a, b) in a.iter().zip(b) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
        for (what, a_values, b_values) in
            [("weights", &a.values, &b.values), ("velocity", &a.velocity, &b.velocity)]
        {
            let difference = apart(a_values, b_values);
            if difference > most.0 {
                most = (difference, format!("{what} of {}", a.name));
            }
        }
    }
    most
}

/// What `body` returns, or a panic if that takes longer than `limit`: a hang fails its test by name.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration, body: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || done.send(body()));
    match wait.recv_timeout(limit) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still not done after {limit:?}"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            let panic = thread.join().expect_err("only a panic drops the sender unused");
            std::panic::resume_unwind(panic)
        }
    }
}
