//! Whole training steps: the GPUs beside one of them and beside the CPU, and images a second.

use super::{budget::Budget, report::TowersLine};
use crate::{
    commands::bench::{
        CLASSES,
        batch::{fill, made_up},
    },
    config::{Config, Dtype},
    devices::{Choice, Devices, Share},
    model::Net,
    tower::{Pass, Towers, stopwatch},
};
use anyhow::Result;
use gpu::{cuda::Numbers, device::Device};
use pipeline::{augment::Element, feed::slot_bytes, ring::Ring, trace::Trace};

/// Steps whose losses are compared: by then every weight has moved by every layer's gradient.
pub(super) const COMPARED: u64 = 3;
/// Share of the recipe's rate that these steps take: at the whole rate the loss of made-up pictures leaps, and what
/// halves round grows from step to step beyond any bound.
const RATE_SHARE: f64 = 0.1;

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

/// By which the loss is scaled in f16: far from either end of its range.
const SCALE: f32 = 1024.0;

/// Share of the time that is left to whatever comes after a step.
const LEFT: f64 = 0.07;

/// Losses of some steps, and images a second of the steps after them.
struct Run {
    losses: Vec<f64>,
    images_per_s: f64,
}

/// The losses of the same steps on the CPU in `f32`.
pub(super) fn of_cpu(config: &Config, budget: &Budget) -> Result<Vec<f64>> {
    let mut config = config.clone();
    config.train.dtype = Dtype::F32;
    let cpus = Share::new(None, None, config.towers)?.cpus()?;
    Ok(train(cpus, &config, 0, budget)?.losses)
}

/// How far losses lie apart, relative to `wanted` or to 1 where these are less; infinite where one is no number.
fn apart(found: &[f64], wanted: &[f64]) -> f64 {
    let pairs = found.iter().zip(wanted);
    let apart = pairs.map(|(a, b)| (a - b).abs() / b.max(1.0));
    apart.map(|apart| if apart.is_finite() { apart } else { f64::INFINITY }).fold(0.0, f64::max)
}

/// Trains on the GPUs that were chosen, and on the first of them; `cpu` are the losses that the CPU has.
pub(super) fn compare(
    choice: &Choice, config: &Config, cpu: &[f64], steps: u32, budget: &Budget,
) -> Result<TowersLine> {
    let Choice::Cuda { found, gpus } = choice else { unreachable!("GPUs were asked for") };
    let steps = u64::from(steps);
    let on = |gpus: &[usize]| {
        let choice = Choice::Cuda { found: found.clone(), gpus: gpus.to_vec() };
        let Devices::Cuda(opened) = choice.open(config.train.dtype)? else {
            unreachable!("GPUs were asked for")
        };
        train(opened, config, steps, budget)
    };
    let one = on(&gpus[..1])?;
    let all = if gpus.len() > 1 { Some(on(gpus)?) } else { None };
    let apart = |run: &Run| apart(&run.losses, cpu);
    Ok(TowersLine {
        dtype: Numbers::from(config.train.dtype).name(),
        batch: config.train.batch,
        losses_cpu: cpu.to_vec(),
        losses_one: one.losses.clone(),
        apart_max: apart_max(config.train.dtype),
        apart_one: apart(&one),
        apart_all: all.as_ref().map(apart),
        losses_all: all.as_ref().map(|run| run.losses.clone()),
        images_per_s_one: one.images_per_s,
        images_per_s_all: all.map(|run| run.images_per_s),
    })
}

/// Some steps on the same made-up batches; then `timed` more, by the clock. At least one, and as many as there
/// is time for.
fn train<D: Device>(
    devices: Vec<D>, config: &Config, timed: u64, budget: &Budget,
) -> Result<Run> {
    let net = Net::new(config, CLASSES);
    let patience = D::PATIENCE.min(budget.left());
    let mut towers =
        Towers::traced(devices, &net, &config.train, &Trace::off(), Some(patience))?;
    let bytes = slot_bytes(config.train.batch, config.data.crop, Element::F32);
    // Two batches with the towers, and one that is being made up.
    let mut slots = towers.slots(3, bytes)?;
    slots.iter_mut().for_each(|slot| fill(slot, config));
    let ring = Ring::new(slots, config.train.batch);
    let rate = (config.train.rate * RATE_SHARE) as f32;
    let scale = if config.train.dtype == Dtype::F16 { SCALE } else { 1.0 };
    let mut losses = vec![];
    for step in 0..COMPARED {
        towers.submit(
            made_up(&ring, step, config)?,
            Pass::Train { rate, step, scale },
            false,
        )?;
        let (outcome, _) = towers.outcome()?;
        losses.push(outcome.score.loss_sum / outcome.score.images as f64);
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
    Ok(Run { losses, images_per_s: images / seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_apart_by_the_worst_and_no_number_is_infinitely_far() {
        assert_eq!(apart(&[2.0, 4.0], &[2.0, 4.0]), 0.0);
        assert_eq!(apart(&[2.5, 4.0], &[2.0, 4.0]), 0.25);
        assert_eq!(apart(&[0.5], &[0.25]), 0.25, "small losses are not divided by");
        assert_eq!(apart(&[2.0, f64::NAN], &[2.0, 4.0]), f64::INFINITY);
    }
}
