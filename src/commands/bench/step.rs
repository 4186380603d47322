//! `alexnet bench train` and `infer`: whole steps on a made-up batch, everything included but the
//! pipeline, beside the bound that the CPU's multiply-adds set.

use super::{
    CLASSES,
    batch::{fill, made_up},
    memory::anonymous_mib,
};
use crate::{
    cli::BenchStepArgs,
    commands::{recipe, say},
    config::Config,
    devices::{Kind, Share},
    exchange::Times,
    model::Net,
    render::{Done, counted},
    tower::{BATCHES_IN_FLIGHT, Pass, Towers, stopwatch},
};
use anyhow::{Result, ensure};
use gpu::{
    cpu::{Level, peak},
    ops::Dtype,
};
use pipeline::{
    augment::Element,
    feed::slot_bytes,
    ring::{Memory, Ring},
};
use serde::Serialize;

/// What a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// Forward, backward, update.
    Train,
    /// Forward.
    Infer,
}

/// Slots of the ring: one for each batch in flight.
const SLOTS: usize = BATCHES_IN_FLIGHT;
/// Steps before the clock starts: buffers grow and pages are touched.
const WARM_UP: u64 = 1;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    step: What,
    preset: String,
    dtype: &'static str,
    batch: usize,
    towers: usize,
    threads: usize,
    steps: u64,
    /// Multiply-adds of `dtype` in registers, two operations each, all threads together; best of the run.
    peak_gflops: f64,
    /// Of one image in all passes of the step, by direct convolution.
    gflop_per_image: f64,
    roofline_images_per_s: f64,
    /// Of the median step.
    images_per_s: f64,
    /// Of the mean step, from outcome to outcome, of which `seconds` are parts, but for `waiting`, which is a part of `exchange`.
    /// Towers begin a step before the outcome of the last is taken: over few short steps parts may add up to more.
    step_seconds: f64,
    share_of_roofline: f64,
    /// Anonymous memory after the last step, less the ring's slots.
    memory_mib: Option<u64>,
    /// The ring's slots.
    ring_mib: u64,
    /// Of a mean step.
    seconds: Times,
}

/// Takes steps on made-up batches.
///
/// # Errors
/// If the recipe or the devices cannot be used, or a loss is no number.
pub(super) fn run(args: &BenchStepArgs, what: What) -> Result<Done> {
    let config = recipe(&args.recipe.recipe(), "two-tower-2012")?;
    Kind::Cpu.trains_in(config.train.dtype)?;
    let share = Share::new(args.threads, args.towers, config.towers)?;
    let Share { towers: devices, threads, .. } = share;
    let net = Net::new(&config, CLASSES);
    let mut towers = Towers::start(share.cpus()?, &net, &config.train)?;
    let dtype: Dtype = config.train.dtype.into();
    let peak = || peak::gflops(Level::widest(), threads, dtype);
    let before = peak();
    let bytes = slot_bytes(config.train.batch, config.data.crop, Element::F32);
    let mut slots = towers.slots(SLOTS, bytes)?;
    slots.iter_mut().for_each(|slot| fill(slot, &config));
    let ring = Ring::new(slots, config.train.batch);
    let (mut seconds, times) = steps(&mut towers, &ring, &config, what, args.steps)?;
    let ring_mib = ((SLOTS * bytes) >> 20) as u64;
    let memory_mib = anonymous_mib().map(|mib| mib.saturating_sub(ring_mib));
    // The machine may have been faster before or after: the bound is the higher one.
    let peak_gflops = before.max(peak());
    let step_seconds = seconds.iter().sum::<f64>() / seconds.len() as f64;
    seconds.sort_by(f64::total_cmp);
    let images_per_s = config.train.batch as f64 / seconds[seconds.len() / 2];
    let flop = match what {
        What::Train => net.flop_per_image(),
        What::Infer => net.layers.iter().map(|layer| 2 * layer.multiply_adds()).sum(),
    };
    let gflop_per_image = flop as f64 / 1e9;
    let roofline_images_per_s = peak_gflops / gflop_per_image;
    let report = Report {
        step: what,
        preset: config.name.clone(),
        dtype: dtype.name(),
        batch: config.train.batch,
        towers: devices,
        threads,
        steps: args.steps,
        peak_gflops,
        gflop_per_image,
        roofline_images_per_s,
        images_per_s,
        step_seconds,
        share_of_roofline: images_per_s / roofline_images_per_s,
        memory_mib,
        ring_mib,
        seconds: times,
    };
    say(&if args.json { serde_json::to_string(&report)? } else { table(&report) })?;
    Ok(Done::All)
}

/// Seconds from the end of each step to that of the next, and where a mean one went. A batch waits while
/// another is in work, as in training.
fn steps<M: Memory>(
    towers: &mut Towers<M>, ring: &Ring<M>, config: &Config, what: What, steps: u64,
) -> Result<(Vec<f64>, Times)> {
    let (mut seconds, mut times) = (Vec::new(), Times::default());
    let warm_up_and_timed = WARM_UP + steps;
    let mut submitted = 0;
    let mut lap = stopwatch();
    for step in 0..warm_up_and_timed {
        while submitted < warm_up_and_timed.min(step + BATCHES_IN_FLIGHT as u64) {
            let batch = made_up(ring, submitted, config)?;
            let pass = match what {
                What::Train => {
                    Pass::Train { rate: config.train.rate as f32, step: submitted, scale: 1.0 }
                }
                What::Infer => Pass::Test,
            };
            towers.submit(batch, pass, false)?;
            submitted += 1;
        }
        let (outcome, _) = towers.outcome()?;
        let took = lap();
        ensure!(outcome.score.loss_sum.is_finite(), "the loss of step {step} is no number");
        if step >= WARM_UP {
            seconds.push(took);
            times.add(&outcome.times);
        }
    }
    times.scale(1.0 / steps as f64);
    Ok((seconds, times))
}

fn table(report: &Report) -> String {
    let step = report.step_seconds;
    let t = &report.seconds;
    let parts = [
        ("data", t.data),
        ("forward", t.forward),
        ("backward", t.backward),
        ("exchange", t.exchange),
        ("update", t.update),
    ];
    let part = |(name, seconds): (&str, f64)| {
        let waiting = match name {
            "exchange" => format!(", of which waiting {:.1} %", t.waiting / step * 100.0),
            _ => String::new(),
        };
        let share = seconds / step * 100.0;
        format!("\n  {name:<10} {:7.1} ms {share:5.1} %{waiting}", seconds * 1e3)
    };
    let parts: String = parts.into_iter().filter(|part| part.1 > 0.0).map(part).collect();
    let memory = report.memory_mib.map_or("unknown".into(), |mib| format!("{mib} MiB"));
    format!(
        "{}, {}: batch {}, {} on {}, {} steps\n\
         {:.1} images/s, {:.0} % of the roofline of {:.1} ({:.0} GFLOP/s over {:.3} GFLOP an image)\n\
         memory {memory}, and {} MiB of slots\n\
         mean step    {:7.1} ms{parts}",
        report.preset,
        report.dtype,
        report.batch,
        counted(report.towers, "device"),
        counted(report.threads, "thread"),
        report.steps,
        report.images_per_s,
        report.share_of_roofline * 100.0,
        report.roofline_images_per_s,
        report.peak_gflops,
        report.gflop_per_image,
        report.ring_mib,
        step * 1e3,
    )
}
