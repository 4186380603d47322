//! `alexnet batch`: exactly what the towers would get, to look at and to compare.

use super::{batch_recipe, say};
use crate::{
    cli::BatchArgs,
    config::Config,
    devices,
    files::write_out,
    log::remark,
    plan::feed_config,
    render::{Done, Hint},
};
use anyhow::{Context as _, Result, ensure};
use gpu::{cpu::Cpu, device::Device as _};
use pipeline::{
    augment::Element,
    dataset::Split,
    feed::{Feed, OnCorrupt, slot_bytes},
    order::steps_per_epoch,
    ring::Batch,
    source::{self, Source},
};
use safetensors::{Dtype, tensor::TensorView};
use std::{io::Cursor, path::Path, sync::Arc};

/// Pictures in a row of the sheet.
const COLUMNS: usize = 16;

/// Writes one training batch.
///
/// # Errors
/// If there is no such batch, or it cannot be written.
pub fn run(args: &BatchArgs) -> Result<Done> {
    let workers = args.workers.unwrap_or_else(devices::cores);
    let mut config = batch_recipe(&args.recipe, "two-tower-2012")?;
    let source = source::open(&args.data, config.data.stored, workers)
        .context("cannot open the data set")?;
    config.data.stored = source.size();
    remark(&format!("data: {}", source.describe()));
    let steps = steps_per_epoch(source.len(Split::Train), config.train.batch);
    ensure!(
        args.step < steps,
        Hint::new(
            format!(
                "--step {}: an epoch has {steps} steps of {}",
                args.step, config.train.batch
            ),
            "pass a smaller --step, or a smaller --batch",
        )
    );
    let device = Cpu::new("batch", 1)?;
    let bytes = slot_bytes(config.train.batch, config.data.crop, Element::F32);
    let slots = (0..Feed::<gpu::cpu::Slot>::slots(1)).map(|_| device.slot(bytes));
    let slots = slots.collect::<Result<Vec<_>, _>>()?;
    let feed_config = feed_config(&config, workers, OnCorrupt::Fail, 0);
    let first = args.epoch * steps + args.step;
    let mut feed = Feed::train(Arc::clone(&source), &feed_config, slots, first, 1)?;
    let batch = feed.next().context("the pipeline ended early")??;
    let pixels: &[f32] = bytemuck::cast_slice(batch.bytes());
    if let Some(out) = &args.out {
        store(out, batch.batch(), pixels, &config)?;
        say(&format!("batch: {}", out.display()))?;
    }
    if let Some(png) = &args.png {
        sheet(png, pixels, &config, source.as_ref())?;
        say(&format!("sheet: {}", png.display()))?;
    }
    let (low, high) =
        pixels.iter().fold((f32::MAX, f32::MIN), |(l, h), x| (l.min(*x), h.max(*x)));
    say(&format!(
        "epoch {}, step {}: {} images, values {low:.1} to {high:.1}, crc32 {:08x}",
        args.epoch,
        args.step,
        batch.batch().valid,
        crc32fast::hash(batch.bytes())
    ))?;
    Ok(Done::All)
}

/// `pixels` f32 `[n, 3, crop, crop]`, `labels` u32 `[n]`, `ids` u64 `[n]`.
fn store(path: &Path, batch: &Batch, pixels: &[f32], config: &Config) -> Result<()> {
    let (n, crop) = (config.train.batch, config.data.crop);
    let view = |dtype, shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes);
    let tensors = [
        ("pixels", view(Dtype::F32, vec![n, 3, crop, crop], bytemuck::cast_slice(pixels))?),
        ("labels", view(Dtype::U32, vec![n], bytemuck::cast_slice(&batch.labels))?),
        ("ids", view(Dtype::U64, vec![n], bytemuck::cast_slice(&batch.ids))?),
    ];
    let bytes = safetensors::serialize(tensors, None)?;
    write_out(path, &bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The pictures side by side, the mean added back, levels cut to 0..255.
fn sheet(path: &Path, pixels: &[f32], config: &Config, source: &dyn Source) -> Result<()> {
    let (n, crop, stored) = (config.train.batch, config.data.crop, source.size());
    let edge = (stored - crop) / 2;
    let columns = COLUMNS.min(n);
    let side = |count: usize| (count * crop) as u32;
    let mean = &source.statistics().mean;
    let sheet = image::RgbImage::from_fn(side(columns), side(n.div_ceil(columns)), |x, y| {
        let (x, y) = (x as usize, y as usize);
        let (i, u, v) = (y / crop * columns + x / crop, x % crop, y % crop);
        image::Rgb(std::array::from_fn(|c| {
            let at = ((i * 3 + c) * crop + v) * crop + u;
            let mean = mean[(c * stored + v + edge) * stored + u + edge];
            pixels.get(at).map_or(0, |value| (value + mean).round().clamp(0.0, 255.0) as u8)
        }))
    });
    let mut png = Cursor::new(vec![]);
    sheet.write_to(&mut png, image::ImageFormat::Png)?;
    write_out(path, png.get_ref()).with_context(|| format!("cannot write {}", path.display()))
}
