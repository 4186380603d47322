//! `prepack inspect`: what is in a packed set, in words, numbers and pictures.

use super::{count, say};
use crate::{cli::InspectArgs, progress::Screen};
use anyhow::{Context as _, Result};
use pipeline::{
    dataset::{Dataset, Split, Statistics},
    pack::contact_sheet,
    source::{Shards, Source as _},
};
use std::{
    fmt::Write as _,
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

/// Files left out are listed up to here; `dataset.json` has them all.
const LISTED_MAX: usize = 20;

/// Standard deviations along the principal components of ILSVRC's training pixels, grey levels, as
/// the 2012 source has them (cuda-convnet2, `input_meta`, `color_pca`).
const DEVIATIONS_2012: [f64; 3] = [121.7801, 37.0939, 19.7208];
/// The same as eigenvalues of pixels scaled to 0..1, as Torch's recipes have them.
const EIGENVALUES_TORCH: [f64; 3] = [0.2175, 0.0188, 0.0045];

/// Tells.
///
/// # Errors
/// If the set cannot be opened, or the sheet cannot be drawn or written.
pub(crate) fn run(args: &InspectArgs, screen: &Screen) -> Result<()> {
    let path = args.path.display();
    let set = Shards::open(&args.path).with_context(|| format!("cannot inspect {path}"))?;
    say(&describe(&args.path, set.dataset()))?;
    if let Some(png) = &args.png {
        let sheet = contact_sheet(&set).context("cannot draw the sheet")?;
        let (width, height) = (sheet.image.width as u32, sheet.image.height as u32);
        let picture = image::RgbImage::from_raw(width, height, sheet.image.rgb);
        write(png, &picture.context("a sheet has three bytes a pixel")?)
            .with_context(|| format!("cannot write {}", png.display()))?;
        let classes = match set.classes().len() {
            all if all > sheet.rows => format!("the first {} of {all} classes", sheet.rows),
            all => format!("{all} classes"),
        };
        screen.remark(&format!(
            "{}: up to {} training pictures of each of {classes}",
            png.display(),
            sheet.columns
        ));
    }
    Ok(())
}

/// Everything that `dataset.json` knows, for people.
fn describe(path: &Path, dataset: &Dataset) -> String {
    let mut text = format!("{}: {}", path.display(), dataset.encoding.name());
    if let Some(quality) = dataset.quality {
        text += &format!(" (quality {quality})");
    }
    let classes = dataset.classes.len();
    text += &format!(", {} px, {classes} classes\n", dataset.size);
    line(&mut text, &format!("rescaled: {}", dataset.filter));
    for info in &dataset.splits {
        let (images, shards) = (count(info.records, "image"), info.shards.len() as u64);
        let (shards, left_out) = (count(shards, "shard"), info.skipped.len());
        let copies = match info.duplicates.len() {
            0 => String::new(),
            copies => format!(", {copies} copies"),
        };
        let bytes: u64 = info.shards.iter().map(|shard| shard.bytes).sum();
        let megabytes = bytes as f64 / 1e6;
        line(
            &mut text,
            &format!(
                "{}: {images} in {shards} ({megabytes:.1} MB), {left_out} left out{copies}",
                info.split
            ),
        );
    }
    line(&mut text, "\nlabel    train      val  class");
    let of = |split, class: usize| dataset.split(split).map_or(0, |info| info.per_class[class]);
    for (label, class) in dataset.classes.iter().enumerate() {
        let (train, val) = (of(Split::Train, label), of(Split::Val, label));
        let name = if class.name == class.wnid { "" } else { &class.name };
        let row = format!("{label:>5} {train:>8} {val:>8}  {}  {name}", class.wnid);
        line(&mut text, row.replace(char::is_control, "?").trim_end());
    }
    statistics(&mut text, &dataset.statistics);
    let skipped: Vec<_> = dataset.splits.iter().flat_map(|info| &info.skipped).collect();
    if !skipped.is_empty() {
        line(&mut text, "\nleft out");
    }
    for file in skipped.iter().take(LISTED_MAX) {
        line(
            &mut text,
            &format!("  {}: {}", file.path, file.reason).replace(char::is_control, "?"),
        );
    }
    if skipped.len() > LISTED_MAX {
        line(&mut text, &format!("  and {} more in dataset.json", skipped.len() - LISTED_MAX));
    }
    text.truncate(text.trim_end().len());
    text
}

/// Ours beside the published ones: pictures that are far off are not ILSVRC's, or not RGB.
fn statistics(text: &mut String, statistics: &Statistics) {
    let area = statistics.mean.len() / 3;
    let mean = |channel: usize| {
        let plane = statistics.mean[channel * area..][..area].iter();
        plane.map(|value| f64::from(*value)).sum::<f64>() / area as f64
    };
    line(
        text,
        &format!(
            "\nstatistics over {}, grey levels",
            count(statistics.images, "training image")
        ),
    );
    line(text, &format!("mean R {:.2}, G {:.2}, B {:.2}", mean(0), mean(1), mean(2)));
    line(
        text,
        "                                                  ILSVRC, 2012 source      ILSVRC, Torch",
    );
    line(
        text,
        "eigenvalue  deviation  along R, G, B            eigenvalue  deviation  eigenvalue  deviation",
    );
    for i in 0..3 {
        let (ours, [r, g, b]) = (statistics.eigenvalues[i], statistics.eigenvectors[i]);
        let (source, torch) =
            (DEVIATIONS_2012[i].powi(2), EIGENVALUES_TORCH[i] * 255.0 * 255.0);
        line(
            text,
            &format!(
                "{ours:>10.1} {:>10.2}  {r:>7.4} {g:>7.4} {b:>7.4}  {source:>10.1} {:>10.2}  \
                 {torch:>10.1} {:>10.2}",
                ours.sqrt(),
                source.sqrt(),
                torch.sqrt()
            ),
        );
    }
}

fn line(text: &mut String, line: &str) {
    let _ = writeln!(text, "{line}"); // writing to a String cannot fail
}

/// Beside and renamed: a sheet is whole, or the one that was there before.
fn write(path: &Path, picture: &image::RgbImage) -> Result<()> {
    let mut bytes = Vec::new();
    picture.write_to(&mut Cursor::new(&mut bytes), image::ImageFormat::Png)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside); // best effort
    }
    Ok(written?)
}
