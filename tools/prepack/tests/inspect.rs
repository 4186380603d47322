//! `prepack inspect` tells what was packed.

use crate::common::{build, class, flat_png, prepack, tree};
use pipeline::{dataset::Dataset, pack::COLUMNS_MAX};
use std::fs;

#[test]
fn counts_statistics_and_left_out_files_are_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 3, 4, 2), dir.path().join("out"));
    flat_png(&class(&tree, "train", 2).join("a.JPEG"), 80);
    fs::write(class(&tree, "val", 1).join("000001.jpg"), "").expect("room");
    build(&tree, &out, "--encoding jpeg --quality 77").failed(&["square_stripes 1 of 2"]);
    let text = prepack("inspect", &out, "").well().out;
    let dataset = Dataset::load(&out).expect("its own");
    let statistics = &dataset.statistics;
    let mean = |channel: usize| {
        let plane = &statistics.mean[channel * 256..][..256];
        plane.iter().map(|level| f64::from(*level)).sum::<f64>() / 256.0
    };
    let [first, ..] = statistics.eigenvalues;
    for wanted in [
        "out: jpeg (quality 77), 16 px, 3 classes\n".into(),
        "rescaled: shorter side, antialiased bilinear, centre square\n".into(),
        "train: 13 images in 1 shard (0.0 MB), 0 left out\n".into(),
        "val: 5 images in 1 shard (0.0 MB), 1 left out\n".into(),
        "    1        4        1  n90000001_square_stripes\n".into(),
        "    2        5        2  n90000002_triangle_checks\n".into(),
        "statistics over 13 training images".into(),
        format!("mean R {:.2}, G {:.2}, B {:.2}\n", mean(0), mean(1), mean(2)),
        format!("{first:.1} {:>10.2}  ", first.sqrt()),
        "14830.4     121.78     14142.9     118.92\n".into(),
        "1376.0      37.09      1222.5      34.96\n".into(),
        "388.9      19.72       292.6      17.11\n".into(),
        "left out\n  val/n90000001_square_stripes/000001.jpg: an empty file\n".into(),
    ] {
        assert!(text.contains::<&str>(wanted.as_ref()), "no `{wanted}` in:\n{text}");
    }
}

#[test]
fn the_sheet_is_a_png_of_one_row_a_class() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 2, 0);
    for i in 0..=COLUMNS_MAX {
        flat_png(&class(&tree, "train", 1).join(format!("{i}.png")), 40);
    }
    for encoding in ["raw", "jpeg", "original"] {
        let (out, png) = (dir.path().join(encoding), dir.path().join("sheet.png"));
        build(&tree, &out, &format!("--encoding {encoding}")).well();
        let ran = prepack("inspect", &out, &format!("--png {}", png.display())).well();
        assert!(
            ran.err.contains("sheet.png: up to 8 training pictures of each"),
            "{}",
            ran.err
        );
        let sheet = image::open(&png).expect("a PNG").into_rgb8();
        assert_eq!(sheet.dimensions(), (8 * 16, 2 * 16));
        let flat =
            |x: u32, level: u8| sheet.get_pixel(x, 24).0.iter().all(|v| v.abs_diff(level) <= 1);
        assert!(flat(7 * 16 - 1, 40), "{encoding}: the seventh of class 1");
        assert_eq!(sheet.get_pixel(2 * 16, 8).0, [0; 3], "class 0 has two pictures only");
    }
    let ran = prepack("inspect", &dir.path().join("raw"), "--png /proc/nobody/sheet.png");
    ran.failed(&["cannot write /proc/nobody/sheet.png", "because:"]);
    assert!(!dir.path().join("sheet.png.partial").exists());
}

#[test]
fn damage_in_the_way_of_the_sheet_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 2, 0), dir.path().join("out"));
    build(&tree, &out, "").well();
    let shard = out.join("train-00000.shard");
    let mut bytes = fs::read(&shard).expect("a file");
    bytes[64] ^= 1;
    fs::write(&shard, bytes).expect("room");
    prepack("inspect", &out, "").well(); // the records are not looked at
    let png = dir.path().join("sheet.png");
    let ran = prepack("inspect", &out, &format!("--png {}", png.display()));
    ran.failed(&["cannot draw the sheet", "record 0 at byte 64: checksum", "prepack verify"]);
    assert!(!png.exists());
}
