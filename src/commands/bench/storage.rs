//! `alexnet bench storage`: records read in a training order, beside a copy of as many bytes within
//! memory. What is far below it waits for a disk or a network.

use super::{report::Row, rounds::by_turns, set::Set};
use crate::{cli::BenchStageArgs, config::Config, render::Done};
use anyhow::Result;
use pipeline::{
    dataset::Split,
    order::{Order, Shuffle},
};
use std::hint::black_box;

/// Measures reading.
pub(super) fn run(args: &BenchStageArgs) -> Result<Done> {
    let stored = Config::load("two-tower-2012", None)?.data.stored;
    let set = Set::read(args, stored)?;
    let (source, images) = (set.source.as_ref(), set.records.len());
    let order = Order::new(Shuffle::Global, 1, images as u64);
    let read = |_| {
        let mut scratch = vec![];
        move |i: usize| {
            scratch.clear();
            let index = order.at(0, i as u64);
            let encoded = source.read(Split::Train, index, &mut scratch);
            touch(encoded.expect("it was read before").bytes);
        }
    };
    let copy = |_| {
        let mut scratch = vec![];
        let records = &set.records;
        move |i: usize| {
            scratch.clear();
            scratch.extend_from_slice(&records[i]);
            touch(&scratch);
        }
    };
    let rates = by_turns(set.threads, images, args.seconds, &read, &copy);
    let row = Row::new("read", rates, set.threads, "a copy within memory");
    set.report("storage", vec![row]).tell(args.json)?;
    Ok(Done::All)
}

/// Reads a byte of each cache line: a mapped page is there only then.
fn touch(bytes: &[u8]) {
    black_box(bytes.iter().step_by(64).fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
}
