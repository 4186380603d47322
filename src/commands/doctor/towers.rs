//! Whole training steps: the GPUs beside one of them and beside the CPU, and images a second.

use super::{
    apart::apart,
    budget::Budget,
    report::{Gradients, TowersLine},
};
use crate::{
    commands::bench::{
        CLASSES,
        batch::{fill, made_up},
    },
    config::{Config, Dtype, Train},
    devices::{Choice, Devices, Share},
    model::Net,
    tower::{Pass, Towers, stopwatch},
};
use anyhow::Result;
use gpu::{cuda::Numbers, device::Device};
use pipeline::{augment::Element, feed::slot_bytes, ring::Ring, trace::Trace};

/// Steps whose losses are compared. Of the first, all gradients are: these steps' losses alone would not show that one
/// of a layer is wrong.
pub(super) const COMPARED: u64 = 3;
/// Share of the recipe's rate that these steps take: by so much their losses move, and what halves round does not grow
/// from step to step beyond any bound.
const RATE_SHARE: f64 = 0.01;

/// How far losses may lie apart, relative to them or to 1 where they are less.
const fn apart_max(dtype: Dtype) -> f64 {
    match dtype {
        // Sums in another order, and near-ties of the pooling.
        Dtype::F32 => 1e-3,
        // What each layer rounds besides, by 2^-11 or 2^-12 at most, and by 2^-9.
        Dtype::F16 | Dtype::Tf32 => 5e-3,
        Dtype::Bf16 => 2e-2,
    }
}

/// How far a tensor's gradient may lie from another's, relative to its norm: where a tower lacks what its peer has of
/// it, that is 0.7. A unit that rounding turns, at its ReLU or in its pooling, counts in full: of a share of them the
/// norm is its root, and it grows down to conv1.
const fn gradients_apart_max(dtype: Dtype) -> f64 {
    match dtype {
        // Some units in ten million; where none is turned, 2e-5.
        Dtype::F32 => 1e-2,
        // Measured of demo: 0.13.
        Dtype::F16 | Dtype::Tf32 => 0.25,
        // Measured of demo: 0.22; and of 2012 where the CPU rounds what products read, and nothing else.
        Dtype::Bf16 => 0.4,
    }
}

/// About the spread of the made-up pixels, grey levels.
const PIXELS: f32 = 60.0;

/// By which the loss is scaled in f16: far from either end of its range.
const SCALE: f32 = 1024.0;

/// Share of the time that is left to whatever comes after a step.
const LEFT: f64 = 0.07;

/// Some steps.
pub(super) struct Run {
    losses: Vec<f64>,
    /// Of each tensor, by its name, `-rate` times the gradient of the first step.
    moves: Vec<(String, Vec<f32>)>,
    /// Of the steps that were timed.
    images_per_s: f64,
}

/// The same steps on the CPU in `f32`.
pub(super) fn of_cpu(config: &Config, budget: &Budget) -> Result<Run> {
    let mut config = config.clone();
    config.train.dtype = Dtype::F32;
    let cpus = Share::new(None, None, config.towers)?.cpus()?;
    train(cpus, &config, 0, budget)
}

impl Gradients {
    /// Of all tensors, the one that lies furthest apart.
    fn between(found: &Run, wanted: &Run, apart_max: f64) -> Self {
        let pairs = found.moves.iter().zip(&wanted.moves);
        let all = pairs.map(|((name, found), (_, wanted))| (apart(found, wanted), name));
        let worst = all.max_by(|a, b| a.0.total_cmp(&b.0));
        let (apart, tensor) = worst.expect("a net has weights");
        Self { tensor: tensor.clone(), apart, apart_max }
    }
}

/// The net with first weights by which no sum vanishes or grows on its way (He et al., 2015, section 2.2), and no bias.
/// With those of 2012, whose biases are 1 and whose weights are small, most of a gradient does not depend on what crossed.
fn lively(config: &Config) -> Net {
    let mut net = Net::new(config, CLASSES);
    for layer in &mut net.layers {
        layer.sigma = (2.0 / layer.row_len() as f32).sqrt();
        if layer.reads_image {
            layer.sigma /= PIXELS;
        }
        layer.bias = 0.0;
    }
    net
}

/// How far losses lie apart, relative to `wanted` or to 1 where these are less; infinite where one is no number.
fn losses_apart(found: &[f64], wanted: &[f64]) -> f64 {
    let pairs = found.iter().zip(wanted);
    let apart = pairs.map(|(a, b)| (a - b).abs() / b.max(1.0));
    apart.map(|apart| if apart.is_finite() { apart } else { f64::INFINITY }).fold(0.0, f64::max)
}

/// Trains on the GPUs that were chosen, and on the first of them; `cpu` is what the CPU has of it.
pub(super) fn compare(
    choice: &Choice, config: &Config, cpu: &Run, steps: u32, budget: &Budget,
) -> Result<TowersLine> {
    let Choice::Cuda { found, gpus } = choice else { unreachable!("GPUs were asked for") };
    let steps = u64::from(steps);
    let on = |gpus: &[usize]| {
        let choice = Choice::Cuda { found: found.clone(), gpus: gpus.to_vec() };
        let Devices::Cuda(opened) = choice.open_with(config.train.dtype, budget.setup())?
        else {
            unreachable!("GPUs were asked for")
        };
        train(opened, config, steps, budget)
    };
    let one = on(&gpus[..1])?;
    let all = if gpus.len() > 1 { Some(on(gpus)?) } else { None };
    let dtype = config.train.dtype;
    let apart = |run: &Run| losses_apart(&run.losses, &cpu.losses);
    let gradients =
        |run: &Run, wanted| Gradients::between(run, wanted, gradients_apart_max(dtype));
    Ok(TowersLine {
        dtype: Numbers::from(dtype).name(),
        batch: config.train.batch,
        losses_cpu: cpu.losses.clone(),
        losses_one: one.losses.clone(),
        apart_max: apart_max(dtype),
        apart_one: apart(&one),
        apart_all: all.as_ref().map(apart),
        losses_all: all.as_ref().map(|run| run.losses.clone()),
        gradients_one: gradients(&one, cpu),
        gradients_all: all.as_ref().map(|run| gradients(run, cpu)),
        gradients_all_from_one: all.as_ref().map(|run| gradients(run, &one)),
        images_per_s_one: one.images_per_s,
        images_per_s_all: all.map(|run| run.images_per_s),
    })
}

/// Some steps on the same made-up batches; then `timed` more, by the clock. At least one, and as many as there
/// is time for.
fn train<D: Device>(
    devices: Vec<D>, config: &Config, timed: u64, budget: &Budget,
) -> Result<Run> {
    let net = lively(config);
    // Then the first step's velocity is its gradient alone.
    let recipe = Train { decay: 0.0, ..config.train.clone() };
    let patience = D::PATIENCE.min(budget.left());
    let mut towers = Towers::traced(devices, &net, &recipe, &Trace::off(), Some(patience))?;
    let bytes = slot_bytes(config.train.batch, config.data.crop, Element::F32);
    // Two batches with the towers, and one that is being made up.
    let mut slots = towers.slots(3, bytes)?;
    slots.iter_mut().for_each(|slot| fill(slot, config));
    let ring = Ring::new(slots, config.train.batch);
    let rate = (config.train.rate * RATE_SHARE) as f32;
    let scale = if config.train.dtype == Dtype::F16 { SCALE } else { 1.0 };
    let (mut losses, mut moves) = (vec![], vec![]);
    for step in 0..COMPARED {
        towers.submit(
            made_up(&ring, step, config)?,
            Pass::Train { rate, step, scale },
            false,
        )?;
        let (outcome, _) = towers.outcome()?;
        losses.push(outcome.score.loss_sum / outcome.score.images as f64);
        if step == 0 {
            let tensors = towers.tensors()?.into_iter();
            moves = tensors.map(|tensor| (tensor.name, tensor.velocity)).collect();
        }
        if !budget.has(LEFT) {
            break;
        }
    }
    let (mut seconds, mut done) = (f64::INFINITY, 0);
    if timed > 0 {
        let mut lap = stopwatch();
        let mut in_flight = 0;
        for step in COMPARED..COMPARED + timed {
            if step > COMPARED && !budget.has(LEFT) {
                break;
            }
            done += 1;
            towers.submit(
                made_up(&ring, step, config)?,
                Pass::Train { rate, step, scale },
                false,
            )?;
            in_flight += 1;
            if in_flight == 2 {
                towers.outcome()?;
                in_flight -= 1;
            }
        }
        for _ in 0..in_flight {
            towers.outcome()?;
        }
        seconds = lap();
    }
    let images = (done * config.train.batch as u64) as f64;
    Ok(Run { losses, moves, images_per_s: images / seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_apart_by_the_worst_and_no_number_is_infinitely_far() {
        assert_eq!(losses_apart(&[2.0, 4.0], &[2.0, 4.0]), 0.0);
        assert_eq!(losses_apart(&[2.5, 4.0], &[2.0, 4.0]), 0.25);
        assert_eq!(losses_apart(&[0.5], &[0.25]), 0.25, "small losses are not divided by");
        assert_eq!(losses_apart(&[2.0, f64::NAN], &[2.0, 4.0]), f64::INFINITY);
    }

    /// Some steps of a net of a few kernels, on as many CPUs.
    fn on_cpus(towers: usize) -> Run {
        let mut config = Config::load("demo", None).expect("a preset");
        config.train.batch = 2;
        config.conv.iter_mut().for_each(|conv| conv.kernels = 8);
        config.fc.iter_mut().for_each(|fc| fc.units = 16);
        let cpus = Share::new(Some(2), Some(towers), 2).and_then(Share::cpus).expect("threads");
        train(cpus, &config, 0, &Budget::of_seconds(600)).expect("sound devices")
    }

    #[test]
    fn towers_have_the_gradients_of_one_device_and_what_lacks_half_of_its_own_is_named() {
        let (one, two) = (on_cpus(1), on_cpus(2));
        let between =
            |run: &Run, dtype| Gradients::between(run, &one, gradients_apart_max(dtype));
        let sound = between(&two, Dtype::F32);
        assert!(sound.agree(), "{sound:?}");
        assert_eq!(one.moves.len(), 2 * 8);
        for weight in (0..one.moves.len()).step_by(2) {
            let mut run = Run { losses: vec![], moves: two.moves.clone(), images_per_s: 1.0 };
            let (name, values) = &mut run.moves[weight];
            let name = name.clone();
            values.iter_mut().step_by(2).for_each(|value| *value = 0.0);
            for dtype in Dtype::ALL {
                let found = between(&run, dtype);
                assert!(!found.agree() && found.tensor == name, "{found:?}");
            }
            run.moves[weight].1[0] = f32::NAN;
            assert!(!between(&run, Dtype::Bf16).agree());
        }
    }
}
