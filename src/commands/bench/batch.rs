//! Made-up batches, in the slots of a ring as the pipeline would leave them.

use super::CLASSES;
use crate::config::Config;
use anyhow::{Context as _, Result};
use crossbeam_channel::bounded;
use pipeline::{
    augment::Element,
    feed::slot_bytes,
    random::Draws,
    ring::{Cell, Memory, Ready, Ring},
};

/// The spread of the made-up pixels, grey levels.
const PIXEL_SIGMA: f64 = 60.0;

/// Fills a slot with noise, for all batches that will lie in it.
pub(in crate::commands) fn fill(slot: &mut [u8], config: &Config) {
    let sample_bytes = slot_bytes(1, config.data.crop, Element::F32);
    for (i, sample) in slot.chunks_exact_mut(sample_bytes).enumerate() {
        let mut draws = Draws::new(1, 0, 0, i as u64);
        let pixels: &mut [f32] = bytemuck::cast_slice_mut(sample);
        pixels.fill_with(|| (PIXEL_SIGMA * 3.46 * (draws.unit() - 0.5)) as f32);
    }
}

/// A batch of the noise in the next free slot.
pub(in crate::commands) fn made_up<M: Memory>(
    ring: &Ring<M>, step: u64, config: &Config,
) -> Result<Ready<M>> {
    let (_alive, abort) = bounded(0);
    let mut filling = ring.acquire(&abort).context("nobody aborts")?;
    let batch = filling.batch_mut();
    (batch.step, batch.valid) = (step, config.train.batch);
    for (i, label) in batch.labels.iter_mut().enumerate() {
        *label = (i * 37 % CLASSES) as u32;
    }
    let cells = filling.into_cells(slot_bytes(1, config.data.crop, Element::F32));
    cells.filter_map(Cell::finish).last().context("all cells are finished")
}
