//! What copies to, from and between GPUs take, and whether what comes is what was sent.

use super::report::CopyLine;
use crate::{log::remark, render::Hint};
use anyhow::Result;
use gpu::{cuda::Cuda, device::Device as _};
use std::time::Instant;

/// Bytes of a copy: some batches' worth, so that its start does not count.
const BYTES: usize = 32 << 20;
/// Parcels that are timed together.
const PARCELS: usize = 8;
/// Parcels under way, as in a run.
const UNDER_WAY: usize = 3;

/// Tries and times them all.
pub(super) fn measure(gpus: &mut [Cuda]) -> Result<Vec<CopyLine>> {
    let mut lines = vec![];
    for gpu in &mut *gpus {
        let index = gpu.gpu().index;
        let [to, from] = gpu.copy_seconds(BYTES)?;
        gpu.remarks().iter().for_each(|text| remark(text)); // of memory that is not pinned
        lines.push(CopyLine::new(format!("host -> gpu {index}"), BYTES, to));
        lines.push(CopyLine::new(format!("gpu {index} -> host"), BYTES, from));
    }
    if let [a, b] = gpus {
        lines.push(parcels(a, b)?);
        lines.push(parcels(b, a)?);
        lines.push(both_ways(a, b)?);
    }
    Ok(lines)
}

/// Parcels as the exchange sends them.
fn parcels(from: &mut Cuda, to: &mut Cuda) -> Result<CopyLine> {
    let len = BYTES / from.activation_bytes();
    let mut parcels = Cuda::parcels(from, to, UNDER_WAY, len)?;
    let (mut source, mut target) = (from.activations(len)?, to.activations(len)?);
    let way = from.remarks().pop().unwrap_or_default();
    // Each room by what no other holds; they have all been used before those that are timed.
    for (room, parcel) in parcels.iter_mut().enumerate() {
        let sent = words(room, len);
        from.upload(&mut source, &sent);
        from.pack(&source, len, parcel);
        to.unpack(parcel, len, &mut target);
        let mut come = vec![0.0; len];
        to.download(&target, &mut come);
        from.progress()?;
        to.progress()?;
        same(&way, &sent, &come)?;
    }
    let mut one = [0.0];
    let start = Instant::now();
    for i in 0..PARCELS {
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

/// The same in both directions at once, as towers exchange them.
fn both_ways(a: &mut Cuda, b: &mut Cuda) -> Result<CopyLine> {
    let len = BYTES / a.activation_bytes();
    let mut there = Cuda::parcels(a, b, UNDER_WAY, len)?;
    let mut back = Cuda::parcels(b, a, UNDER_WAY, len)?;
    let [mut from_a, mut to_a] = [a.activations(len)?, a.activations(len)?];
    let [mut from_b, mut to_b] = [b.activations(len)?, b.activations(len)?];
    let sent = [words(0, len), words(1, len)];
    a.upload(&mut from_a, &sent[0]);
    b.upload(&mut from_b, &sent[1]);
    let mut come = [vec![0.0; len], vec![0.0; len]];
    let mut cross = |count: usize| -> Result<f64> {
        let start = Instant::now();
        for i in 0..count {
            let [there, back] = [&mut there, &mut back].map(|rooms| &mut rooms[i % UNDER_WAY]);
            a.pack(&from_a, len, there);
            b.pack(&from_b, len, back);
            b.unpack(there, len, &mut to_b);
            a.unpack(back, len, &mut to_a);
        }
        let mut one = [0.0];
        b.download(&to_b, &mut one);
        a.download(&to_a, &mut one);
        let seconds = start.elapsed().as_secs_f64();
        b.download(&to_b, &mut come[0]);
        a.download(&to_a, &mut come[1]);
        a.progress()?;
        b.progress()?;
        Ok(seconds / count as f64)
    };
    cross(UNDER_WAY)?; // the first ones find clocks asleep
    let seconds = cross(PARCELS)?;
    let indices = [&*a, b].map(|gpu| gpu.gpu().index);
    let way = format!("gpu {} <-> gpu {}, both at once", indices[0], indices[1]);
    for (sent, come) in sent.iter().zip(&come) {
        same(&way, sent, come)?;
    }
    for gpu in [a, b] {
        gpu.remarks(); // how they reach one another is told already
    }
    Ok(CopyLine::new(way, 2 * BYTES, seconds))
}

/// `len` numbers that tell their place, from `first` on: no two are alike, and none is zero.
fn words(first: usize, len: usize) -> Vec<f32> {
    (1..=len).map(|place| (first + place) as f32).collect()
}

/// Holds that what has come is what was sent.
fn same(way: &str, sent: &[f32], come: &[f32]) -> Result<()> {
    let wrong = |i: &usize| sent[*i].to_bits() != come[*i].to_bits();
    let Some(first) = (0..sent.len()).find(wrong) else { return Ok(()) };
    let count = (first..sent.len()).filter(wrong).count();
    let (len, found, wanted) = (sent.len(), come[first], sent[first]);
    Err(Hint::new(
        format!(
            "{way}, and {count} of {len} numbers come changed: number {first} is {found}, and {wanted} was sent"
        ),
        "if these are peer copies, switch off the IOMMU or PCIe's ACS; train on one GPU until they are sound",
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_changes_a_word_is_told() {
        let sent = words(2, 5);
        assert_eq!(sent, [3.0, 4.0, 5.0, 6.0, 7.0]);
        assert!(same("way", &sent, &sent).is_ok());
        let mut come = sent.clone();
        come.swap(1, 3);
        let error = same("way", &sent, &come).expect_err("changed");
        assert_eq!(
            error.to_string(),
            "way, and 2 of 5 numbers come changed: number 1 is 6, and 4 was sent"
        );
        assert!(same("way", &sent, &[f32::NAN; 5]).is_err());
        // Of those that are sent, all are exact.
        let most = words(UNDER_WAY, BYTES / 4);
        assert!(most.windows(2).all(|pair| pair[1] == pair[0] + 1.0) && most[0] == 4.0);
    }
}
