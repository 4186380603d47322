//! `alexnet bench resize`: decoded pixels to the stored square and to crops of it, beside a copy of
//! the pixels that are read.

use super::{
    decode::check,
    report::Row,
    rounds::by_turns,
    set::{Set, Windows},
};
use crate::{cli::BenchStageArgs, render::Done};
use anyhow::Result;
use pipeline::{
    decode::{Decoder, Image, Placed},
    resize::{Resizer, region},
};
use std::hint::black_box;

/// What bounds it: each pixel is read once.
const COPY: &str = "a copy of what is read";

/// Measures rescaling.
pub(super) fn run(args: &BenchStageArgs) -> Result<Done> {
    let windows = Windows::new()?;
    let set = Set::of_files(args, windows.stored)?;
    check(&set, &windows)?;
    let (stored, threads, count) = (windows.stored, set.threads, set.records.len());
    let mut decoder = Decoder::new();
    let mut wholes = Vec::new();
    let mut parts: Vec<(Image, Placed)> = Vec::new();
    for (i, bytes) in set.records.iter().enumerate() {
        let (mut whole, mut part) = (Image::default(), Image::default());
        decoder.decode(bytes, &mut whole)?;
        let choose = |width, height| region(width, height, stored, windows.of(i));
        let placed = decoder.decode_part(bytes, choose, &mut part)?;
        wholes.push(whole);
        parts.push((part, placed));
    }
    let square = |_| {
        let (mut resizer, mut out, wholes) = (Resizer::new(), vec![], &wholes);
        move |i: usize| resizer.square(&wholes[i], stored, &mut out).expect("checked")
    };
    let window = |_| {
        let (mut resizer, mut out, windows, parts) = (Resizer::new(), vec![], &windows, &parts);
        move |i: usize| {
            let (part, placed) = &parts[i];
            resizer.window(part, placed, stored, windows.of(i), &mut out).expect("checked");
        }
    };
    let copy_whole = |_| copy(wholes.iter().map(|image| image.rgb.as_slice()).collect());
    let copy_part = |_| copy(parts.iter().map(|(image, _)| image.rgb.as_slice()).collect());
    let row = |name, rates| Row::new(name, rates, threads, COPY);
    let rows = vec![
        row("stored square", by_turns(threads, count, args.seconds, &square, &copy_whole)),
        row("crop of a region", by_turns(threads, count, args.seconds, &window, &copy_part)),
    ];
    set.report("resize", rows).tell(args.json)?;
    Ok(Done::All)
}

fn copy(of: Vec<&[u8]>) -> impl FnMut(usize) {
    let mut to = vec![];
    move |i| {
        to.clear();
        to.extend_from_slice(of[i]);
        black_box(&to);
    }
}
