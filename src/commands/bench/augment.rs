//! `alexnet bench augment`: stored squares to a slot, in each element type, beside filling the slot.

use super::{
    report::Row,
    rounds::by_turns,
    set::{Set, Windows},
};
use crate::{cli::BenchStageArgs, render::Done};
use anyhow::{Context as _, Result, ensure};
use gpu::{
    cpu::{Cpu, Slot},
    device::Device as _,
};
use pipeline::{
    augment::{Augment, Element, Lighting},
    dataset::Encoding,
    resize::Stored,
};
use std::sync::{Mutex, PoisonError};

/// What bounds it: each value is written once.
const FILL: &str = "filling the slot";
/// Samples of a slot, as in training.
const BATCH: usize = 128;
/// Slots that a thread writes by turns: more than any cache holds.
const SLOTS: usize = 2;

/// Measures augmentation.
pub(super) fn run(args: &BenchStageArgs) -> Result<Done> {
    let windows = Windows::new()?;
    let set = Set::read(args, windows.stored)?;
    let (crop, threads) = (windows.crop, set.threads);
    let mut stored = Stored::new();
    let mut squares = Vec::new();
    for i in 0..set.records.len() {
        let mut square = vec![];
        match set.encoding {
            Encoding::Raw => square.extend_from_slice(&set.records[i]),
            _ => stored.square(set.encoded(i), set.source.size(), &mut square)?,
        }
        squares.push(square);
    }
    let mut rows = vec![];
    for (name, element) in
        [("to f32", Element::F32), ("to f16", Element::F16), ("to bf16", Element::Bf16)]
    {
        let size = set.source.size();
        let statistics = set.source.statistics();
        ensure!(crop <= size, "crops of {crop} px do not fit pictures of {size} px");
        let augment = Augment::new(size, crop, element, Lighting::Stddev, statistics);
        let rates = measure(args, &squares, &augment, threads)?;
        rows.push(Row::new(name, rates, threads, FILL));
    }
    set.report("augment", rows).tell(args.json)?;
    Ok(Done::All)
}

fn measure(
    args: &BenchStageArgs, squares: &[Vec<u8>], augment: &Augment, threads: usize,
) -> Result<super::rounds::Rates> {
    let device = Cpu::new("bench", 1)?;
    let bytes = augment.sample_bytes();
    let slots =
        || (0..SLOTS).map(|_| device.slot(BATCH * bytes)).collect::<Result<Vec<_>, _>>();
    let slots: Vec<Mutex<Vec<Slot>>> = (0..threads)
        .map(|_| Ok(Mutex::new(slots()?)))
        .collect::<Result<_>>()
        .context("no memory for the slots")?;
    let crops = |thread: usize| {
        let mut slots = slots[thread].lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        move |i: usize| {
            let place = at % BATCH * bytes;
            let out = &mut slots[at / BATCH % SLOTS][place..place + bytes];
            augment.crop(out, &squares[i], &augment.draw(1, 0, i as u64));
            at += 1;
        }
    };
    // A slot at once: then the C library's fill streams past the caches.
    let fill = |thread: usize| {
        let mut slots = slots[thread].lock().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        move |i: usize| {
            if at % BATCH == 0 {
                slots[at / BATCH % SLOTS].fill(i as u8);
            }
            at += 1;
        }
    };
    Ok(by_turns(threads, squares.len(), args.seconds, &crops, &fill))
}
