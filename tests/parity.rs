//! A training step of the full net `two-tower-2012` against PyTorch: `golden/step.json`, which
//! `golden/make.py` made in double precision. The layers of the net are real, so are their sizes;
//! only the batch is small.

use crate::rig::{Rig, cpus, uniform};
use alexnet::{algorithms::By, config::Config, model::Net, tower::Pass, weights::Tensor};
use gpu::ops::conv::Algorithm;
use serde::Deserialize;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("golden/step.json");
const CLASSES: usize = 1000;
/// A power of two, so that dividing the velocity by it gives the gradient's own bits.
const RATE: f32 = 0.5;

/// Of the loss, relative: measured 2e-9, single precision's rounding of the logits.
const LOSS: f64 = 1e-7;
/// Of a gradient's norm, relative: measured 6e-6 in conv1, less elsewhere.
const NORMS: f64 = 1e-4;

/// Of all probes of a tensor together, relative to their norm, in a net whose convolutions are direct
/// sums. Measured 8e-7.
const PROBES: f64 = 1e-5;

/// Of an element, relative to the root mean square of its tensor, as the net is trained. Measured 5e-5,
/// the rounding of Winograd's sums through eight layers and back; in conv1 1.2e-2: that rounding
/// decides some near-ties of pool1 the other way, and of 4 pictures every gradient that moves a pixel
/// shows. Direct sums, of which each gradient is within [`PROBES`], tell that it is nothing else.
fn element(name: &str) -> f64 {
    if name.starts_with("conv1.") { 5e-2 } else { 5e-4 }
}

#[derive(Deserialize)]
struct Step {
    labels: Vec<u32>,
    loss: f64,
    tensors: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    len: usize,
    norm: f64,
    /// At `k 2654435761 mod 2^32 mod len` for the `k`-th.
    probes: Vec<f64>,
}

impl Gradient {
    fn places(&self) -> impl Iterator<Item = usize> {
        let len = self.len as u64;
        (0..self.probes.len() as u64)
            .map(move |k| (k * 2_654_435_761 % (1 << 32) % len) as usize)
    }

    /// A gradient's usual magnitude.
    fn root_mean_square(&self) -> f64 {
        self.norm / (self.len as f64).sqrt()
    }
}

/// The recipe's net; nothing but the gradient moves the weights.
fn config(golden: &Step) -> Config {
    let mut config = Config::load("two-tower-2012", None).expect("a preset");
    config.train.batch = golden.labels.len();
    (config.train.dropout, config.train.momentum, config.train.decay) = (0.0, 0.0, 0.0);
    config
}

/// The weights that make.py draws: evenly, with 0.02 in convolutions, 0.01 in linear layers and 0.1
/// in biases as the largest.
fn weights(net: &Net) -> Vec<Tensor> {
    let draw = |(i, (name, shape)): (usize, (String, Vec<usize>))| {
        let layer = i as u32 / 2; // a weight and a bias per layer
        let (key, scale) = match shape.len() {
            1 => (2 * layer + 100, 0.1),
            2 => (2 * layer, 0.01),
            _ => (2 * layer, 0.02),
        };
        let values = uniform(key, scale, shape.iter().product());
        Tensor { name, shape, velocity: vec![0.0; values.len()], values }
    };
    net.shapes().into_iter().enumerate().map(draw).collect()
}

/// Takes the step on `devices` devices of `threads` threads each, from the weights `before`, by the
/// table's algorithms or by direct sums.
#[expect(clippy::print_stderr, reason = "the parity table: --nocapture shows it")]
fn step(golden: &Step, before: &[Tensor], devices: usize, threads: usize, direct: bool) {
    let config = config(golden);
    let mut net = Net::new(&config, CLASSES);
    if direct {
        for layer in &mut net.layers {
            if let By::Conv(by) = &mut layer.by {
                *by = [Algorithm::Im2col; 3];
            }
        }
    }
    let mut rig = Rig::of_net(cpus(devices, threads), &config, &net).expect("memory");
    rig.towers.set_tensors(before).expect("healthy towers");
    let batch = rig.batch(1000, &golden.labels);
    let (outcome, _) =
        rig.pass(Pass::Train { rate: RATE, step: 0, scale: 1.0 }, batch).expect("a step");
    let after = rig.towers.tensors().expect("healthy towers");
    let loss = outcome.score.loss_sum / golden.labels.len() as f64;
    assert!((loss / golden.loss - 1.0).abs() < LOSS, "{loss}, by PyTorch {}", golden.loss);
    assert_eq!(after.len(), golden.tensors.len(), "tensors");
    for (before, after) in before.iter().zip(&after) {
        let (name, gradient) = (&after.name, &golden.tensors[&after.name]);
        assert_eq!(after.values.len(), gradient.len, "{name}");
        // Without momentum and decay, v = -rate g and w = w + v.
        let g = |at: usize| -f64::from(after.velocity[at] / RATE);
        let norm = (0..gradient.len).map(|at| g(at).powi(2)).sum::<f64>().sqrt();
        let wanted = gradient.norm;
        assert!((norm / wanted - 1.0).abs() < NORMS, "{name}: norm {norm}, not {wanted}");
        let (mut worst, mut square, mut wanted_square) = (0.0_f64, 0.0, 0.0);
        for (at, wanted) in gradient.places().zip(&gradient.probes) {
            let near = (g(at) - wanted).abs() < element(name) * gradient.root_mean_square();
            assert!(near, "{name} at {at}: {}, by PyTorch {wanted}", g(at));
            assert_eq!(after.values[at], before.values[at] + after.velocity[at], "{name}");
            let error = g(at) - wanted;
            worst = worst.max(error.abs() / gradient.root_mean_square());
            (square, wanted_square) = (square + error * error, wanted_square + wanted * wanted);
        }
        let (norm, probes) = ((norm / wanted - 1.0).abs(), f64::sqrt(square / wanted_square));
        eprintln!("| `{name}` | {norm:.1e} | {probes:.1e} | {worst:.1e} |");
        assert!(
            !direct || probes < PROBES,
            "{name}: the probes together are {probes:e} of their norm off"
        );
    }
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn a_step_of_the_2012_net_agrees_with_pytorch() {
    let golden: Step = serde_json::from_str(GOLDEN).expect("make.py's JSON");
    let before = weights(&Net::new(&config(&golden), CLASSES));
    step(&golden, &before, 2, 1, false);
    step(&golden, &before, 1, 2, false);
    step(&golden, &before, 2, 1, true);
}
