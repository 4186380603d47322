//! `alexnet bench train`: whole training steps on a made-up batch, everything included but the
//! pipeline, beside the bound that the CPU's multiply-adds set.

use super::memory::anonymous_mib;
use crate::{
    cli::BenchTrainArgs,
    commands::{recipe, say},
    config::Config,
    devices::Share,
    exchange::Times,
    model::Net,
    render::Done,
    tower::{Pass, Towers, stopwatch},
};
use anyhow::{Context as _, Result, ensure};
use crossbeam_channel::bounded;
use gpu::cpu::{Level, peak};
use pipeline::{
    augment::Element,
    feed::slot_bytes,
    random::Draws,
    ring::{Memory, Ready, Ring},
};
use serde::Serialize;

/// Classes of the made-up labels: ILSVRC's.
const CLASSES: usize = 1000;
/// Steps measured where `--steps` does not say.
const STEPS: u64 = 5;
/// Steps before the clock starts: buffers grow and pages are touched.
const WARM_UP: u64 = 1;
/// The spread of the made-up pixels, grey levels.
const PIXEL_SIGMA: f64 = 60.0;

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    preset: String,
    batch: usize,
    towers: usize,
    threads: usize,
    steps: u64,
    /// Multiply-adds of registers, two operations each, all threads together; best of the run.
    peak_gflops: f64,
    /// Of one image forward, backward and to the weights, by direct convolution.
    gflop_per_image: f64,
    roofline_images_per_s: f64,
    /// Of the median step.
    images_per_s: f64,
    share_of_roofline: f64,
    /// Anonymous memory after the last step, the batch's slots included.
    memory_mib: Option<u64>,
    /// Of a mean step.
    seconds: Times,
}

/// Trains on one batch again and again.
///
/// # Errors
/// If the recipe or the devices cannot be used, or a loss is no number.
pub(super) fn run(args: &BenchTrainArgs) -> Result<Done> {
    let config = recipe(&args.recipe, "two-tower-2012")?;
    let compute = &args.compute;
    let share = Share::new(compute.threads, compute.towers, config.towers)?;
    let Share { towers: devices, threads } = share;
    let net = Net::new(&config, CLASSES);
    let mut towers = Towers::start(share.cpus()?, &net, &config.train)?;
    let before = peak::gflops(Level::widest(), threads);
    let count = config.train.steps.unwrap_or(STEPS);
    let (mut seconds, times) = steps(&mut towers, &config, count)?;
    let memory_mib = anonymous_mib();
    // The machine may have been faster before or after: the bound is the higher one.
    let peak_gflops = before.max(peak::gflops(Level::widest(), threads));
    seconds.sort_by(f64::total_cmp);
    let images_per_s = config.train.batch as f64 / seconds[seconds.len() / 2];
    let gflop_per_image = net.flop_per_image() as f64 / 1e9;
    let roofline_images_per_s = peak_gflops / gflop_per_image;
    let report = Report {
        preset: config.name.clone(),
        batch: config.train.batch,
        towers: devices,
        threads,
        steps: count,
        peak_gflops,
        gflop_per_image,
        roofline_images_per_s,
        images_per_s,
        share_of_roofline: images_per_s / roofline_images_per_s,
        memory_mib,
        seconds: times,
    };
    say(&if args.json { serde_json::to_string(&report)? } else { table(&report) })?;
    Ok(Done::All)
}

/// Seconds of each step, and where a mean one went.
fn steps<M: Memory>(
    towers: &mut Towers<M>, config: &Config, steps: u64,
) -> Result<(Vec<f64>, Times)> {
    let train = &config.train;
    let bytes = slot_bytes(train.batch, config.data.crop, Element::F32);
    let ring = Ring::new(towers.slots(2, bytes)?, train.batch);
    let (mut seconds, mut times) = (Vec::new(), Times::default());
    let warm_up_and_timed = WARM_UP + steps;
    for step in 0..warm_up_and_timed {
        let batch = made_up(&ring, step, config)?;
        let mut lap = stopwatch();
        towers.submit(batch, Pass::Train { rate: train.rate as f32, step }, false)?;
        let (outcome, _) = towers.outcome()?;
        let took = lap();
        ensure!(outcome.score.loss_sum.is_finite(), "the loss of step {step} is no number");
        if step >= WARM_UP {
            seconds.push(took);
            times.add(&outcome.times);
        }
    }
    times.data = 0.0; // the batch was there
    times.scale(1.0 / steps as f64);
    Ok((seconds, times))
}

/// A batch of noise.
fn made_up<M: Memory>(ring: &Ring<M>, step: u64, config: &Config) -> Result<Ready<M>> {
    let (_alive, abort) = bounded(0);
    let mut filling = ring.acquire(&abort).context("nobody aborts")?;
    let batch = filling.batch_mut();
    (batch.step, batch.valid) = (step, config.train.batch);
    for (i, label) in batch.labels.iter_mut().enumerate() {
        *label = (i * 37 % CLASSES) as u32;
    }
    let sample_bytes = slot_bytes(1, config.data.crop, Element::F32);
    let mut ready = None;
    for (i, mut cell) in filling.into_cells(sample_bytes).enumerate() {
        let mut draws = Draws::new(1, 0, 0, i as u64);
        let pixels: &mut [f32] = bytemuck::cast_slice_mut(cell.bytes_mut());
        pixels.fill_with(|| (PIXEL_SIGMA * 3.46 * (draws.unit() - 0.5)) as f32);
        ready = cell.finish();
    }
    ready.context("all cells are finished")
}

fn table(report: &Report) -> String {
    let step = report.batch as f64 / report.images_per_s;
    let t = &report.seconds;
    let part = |name: &str, seconds: f64| {
        format!("  {name:<10} {:7.1} ms {:5.1} %\n", seconds * 1e3, seconds / step * 100.0)
    };
    let memory = report.memory_mib.map_or("unknown".into(), |mib| format!("{mib} MiB"));
    format!(
        "{}: batch {}, {} towers on {} threads, {} steps\n\
         {:.1} images/s, {:.0} % of the roofline of {:.1} ({:.0} GFLOP/s over {:.3} GFLOP an image)\n\
         memory {memory}\n\
         step       {:7.1} ms\n{}{}{}{}",
        report.preset,
        report.batch,
        report.towers,
        report.threads,
        report.steps,
        report.images_per_s,
        report.share_of_roofline * 100.0,
        report.roofline_images_per_s,
        report.peak_gflops,
        report.gflop_per_image,
        step * 1e3,
        part("forward", t.forward),
        part("backward", t.backward),
        part("exchange", t.exchange),
        part("update", t.update),
    )
}
