//! `alexnet predict`: the five likeliest classes of pictures.

use super::say;
use crate::{
    checkpoint::Checkpoint,
    cli::PredictArgs,
    devices,
    exchange::Exchange,
    model::{Net, Part},
    render::{Done, Hint},
    tower::{Core, Pass, laps},
    weights,
};
use anyhow::{Context as _, Result};
use gpu::{cpu::Cpu, device::DeviceError};
use pipeline::{
    augment::{Augment, Element, Lighting},
    dataset::{Encoding, Statistics},
    resize::Stored,
    source::Encoded,
    trace::Trace,
};
use std::{path::Path, time::Duration};

/// How many classes are told.
const TOP: usize = 5;
/// Pictures computed at a time.
const BATCH_MAX: usize = 32;

/// Prints the likeliest classes of each picture; a picture that cannot be read is told at the end.
///
/// # Errors
/// If the checkpoint, or any of the pictures, cannot be used.
pub fn run(args: &PredictArgs) -> Result<Done> {
    let mut checkpoint = Checkpoint::load(&args.checkpoint).context("cannot predict")?;
    let config = &mut checkpoint.meta.config;
    config.train.batch = args.images.len().min(BATCH_MAX);
    let config = &checkpoint.meta.config;
    let mut net = Net::new(config, checkpoint.meta.classes.len());
    checkpoint.meta.algorithms.apply(&mut net)?;
    let device = Cpu::new("predict", args.threads.unwrap_or_else(devices::cores))?;
    let mut core = Core::new(device, &net, 0, 1, &config.train)?;
    core.set_rows(&weights::split(
        &net,
        Part::of_device(0, 1, net.towers),
        &checkpoint.tensors,
    ));
    let alone = |_, _| Ok::<_, DeviceError>(vec![]);
    let (mut ends, _) = Exchange::between(1, Duration::MAX, alone)?;
    let statistics = Statistics {
        images: 0,
        mean: checkpoint.mean.clone(),
        covariance: [[0.0; 3]; 3],
        eigenvalues: [0.0; 3],
        eigenvectors: [[0.0; 3]; 3],
    };
    let (stored, crop) = (config.data.stored, config.data.crop);
    let augment = Augment::new(stored, crop, Element::F32, Lighting::Off, &statistics);
    let len = 3 * crop * crop;
    let mut failed = Vec::new();
    for chunk in args.images.chunks(config.train.batch) {
        let (mut read, mut pixels) = (Vec::new(), vec![0.0; config.train.batch * len]);
        for path in chunk {
            let at = read.len() * len;
            match load(path, &augment, stored, &mut pixels[at..at + len]) {
                Ok(()) => read.push(path),
                Err(error) => failed.push(format!("{error:#}").trim_end().to_owned()),
            }
        }
        core.batch(Pass::Test, &pixels.into(), &[], &mut ends[0], &mut laps(&Trace::off()))?;
        let probabilities = core.probabilities(read.len());
        for (path, p) in read.iter().zip(probabilities.chunks_exact(net.classes)) {
            tell(path, p, &checkpoint)?;
        }
    }
    if failed.is_empty() {
        return Ok(Done::All);
    }
    Err(Hint::new(failed.join("\n  and: "), "pass JPEG, PNG, GIF, WebP or BMP files").into())
}

/// One picture's centre crop, less the mean.
fn load(path: &Path, augment: &Augment, stored: usize, out: &mut [f32]) -> Result<()> {
    let name = || path.display().to_string();
    let bytes = std::fs::read(path).with_context(name)?;
    let mut square = vec![];
    let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
    Stored::new().square(encoded, stored, &mut square).with_context(name)?;
    augment.crop(bytemuck::cast_slice_mut(out), &square, &augment.centre());
    Ok(())
}

fn tell(path: &Path, p: &[f32], checkpoint: &Checkpoint) -> Result<()> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*b].total_cmp(&p[*a]));
    say(&path.display().to_string())?;
    for k in order.into_iter().take(TOP) {
        let class = &checkpoint.meta.classes[k];
        let name = if class.name == class.wnid {
            class.wnid.clone()
        } else {
            format!("{} ({})", class.name, class.wnid)
        };
        say(&format!("  {:5.1} %  {name}", p[k] * 100.0))?;
    }
    Ok(())
}
