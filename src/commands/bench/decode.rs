//! `alexnet bench decode`: whole pictures and the regions of training crops, beside entropy decoding
//! alone, which no decoder can leave out.

use super::{
    report::Row,
    rounds::by_turns,
    set::{Set, Windows},
};
use crate::{cli::BenchStageArgs, render::Done};
use anyhow::{Context as _, Result, ensure};
use pipeline::{
    decode::{Decoder, Image},
    jpeg,
    resize::{Resizer, region},
};

/// What bounds decoding.
const ENTROPY: &str = "entropy decoding alone";

/// Measures decoding.
pub(super) fn run(args: &BenchStageArgs) -> Result<Done> {
    let windows = Windows::new()?;
    let set = Set::of_files(args, windows.stored)?;
    check(&set, &windows)?;
    let (records, threads) = (&set.records, set.threads);
    let whole = |_| {
        let (mut decoder, mut image) = (Decoder::new(), Image::default());
        move |i: usize| decoder.decode(&records[i], &mut image).expect("checked")
    };
    let part = |_| {
        let (mut decoder, mut image) = (Decoder::new(), Image::default());
        let (windows, stored) = (&windows, windows.stored);
        move |i: usize| {
            let choose = |width, height| region(width, height, stored, windows.of(i));
            decoder.decode_part(&records[i], choose, &mut image).expect("checked");
        }
    };
    let entropy = |_| {
        let mut decoder = jpeg::Decoder::new();
        // What it does not take costs nothing here: the bound is on the safe side.
        move |i: usize| drop(decoder.decode_coefficients(&records[i]))
    };
    let row = |name, rates| Row::new(name, rates, threads, ENTROPY);
    let rows = vec![
        row("whole picture", by_turns(threads, records.len(), args.seconds, &whole, &entropy)),
        row(
            "region of a crop",
            by_turns(threads, records.len(), args.seconds, &part, &entropy),
        ),
    ];
    set.report("decode", rows).tell(args.json)?;
    Ok(Done::All)
}

/// All pictures can be decoded, and a region's pixels are those of the whole.
pub(super) fn check(set: &Set, windows: &Windows) -> Result<()> {
    let (mut decoder, mut whole, mut part) =
        (Decoder::new(), Image::default(), Image::default());
    let (mut resizer, mut square, mut window) = (Resizer::new(), vec![], vec![]);
    for (i, bytes) in set.records.iter().enumerate() {
        let at = || set.source.place(pipeline::dataset::Split::Train, i as u64);
        decoder.decode(bytes, &mut whole).with_context(at)?;
        let wanted = windows.of(i);
        let choose = |width, height| region(width, height, windows.stored, wanted);
        let placed = decoder.decode_part(bytes, choose, &mut part).with_context(at)?;
        resizer.square(&whole, windows.stored, &mut square).with_context(at)?;
        resizer.window(&part, &placed, windows.stored, wanted, &mut window).with_context(at)?;
        let rows = square.chunks_exact(3 * windows.stored).skip(wanted.y).take(wanted.side);
        let exact = rows.flat_map(|row| &row[3 * wanted.x..][..3 * wanted.side]);
        let worst = exact.zip(&window).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0);
        ensure!(worst <= 2, "{}: a region is {worst} levels off its picture", at());
    }
    Ok(())
}
