//! What copies to, from and between GPUs take.

use super::report::CopyLine;
use anyhow::Result;
use gpu::{cuda::Cuda, device::Device as _};
use std::time::Instant;

/// Bytes of a copy: some batches' worth, so that its start does not count.
const BYTES: usize = 32 << 20;
/// Parcels that are timed together.
const PARCELS: usize = 8;
/// Parcels under way, as in a run.
const UNDER_WAY: usize = 3;

/// Times them all.
pub(super) fn measure(gpus: &mut [Cuda]) -> Result<Vec<CopyLine>> {
    let mut lines = vec![];
    for gpu in &mut *gpus {
        let index = gpu.gpu().index;
        let [to, from] = gpu.copy_seconds(BYTES)?;
        lines.push(CopyLine::new(format!("host -> gpu {index}"), BYTES, to));
        lines.push(CopyLine::new(format!("gpu {index} -> host"), BYTES, from));
    }
    if let [a, b] = gpus {
        lines.push(parcels(a, b)?);
        lines.push(parcels(b, a)?);
    }
    Ok(lines)
}

/// Parcels as the exchange sends them.
fn parcels(from: &mut Cuda, to: &mut Cuda) -> Result<CopyLine> {
    let len = BYTES / from.activation_bytes();
    let mut parcels = Cuda::parcels(from, to, UNDER_WAY, len)?;
    let (source, mut target) = (from.activations(len)?, to.activations(len)?);
    let way = from.remarks().pop().unwrap_or_default();
    let mut one = [0.0];
    let mut start = Instant::now();
    for i in 0..UNDER_WAY + PARCELS {
        if i == UNDER_WAY {
            to.download(&target, &mut one); // all that were sent before have come
            start = Instant::now();
        }
        let parcel = &mut parcels[i % UNDER_WAY];
        from.pack(&source, len, parcel);
        to.unpack(parcel, len, &mut target);
    }
    to.download(&target, &mut one);
    let seconds = start.elapsed().as_secs_f64() / PARCELS as f64;
    from.progress()?;
    to.progress()?;
    Ok(CopyLine::new(way, BYTES, seconds))
}
