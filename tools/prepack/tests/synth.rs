//! `prepack synth`: a tree as ILSVRC's, the same for any number of jobs.

use crate::common::{Ran, build, command, entries, files};
use pipeline::decode::{Decoder, Image};
use std::path::Path;

fn synth(out: &Path, flags: &str) -> Ran {
    Ran::of(command().args(["synth", "--out"]).arg(out).args(flags.split_whitespace()))
}

#[test]
fn any_number_of_jobs_writes_the_same_bytes_in_the_layout_of_ilsvrc() {
    let dir = tempfile::tempdir().expect("a folder");
    let written = |jobs: usize| {
        let out = dir.path().join(format!("{jobs}"));
        let flags = "--classes 3 --per-class 5 --val-per-class 2 --seed 6 --side 40";
        let ran = synth(&out, &format!("{flags} --jobs {jobs}")).well();
        assert!(ran.out.ends_with("3 classes of 5 train and 2 val images\n"), "{}", ran.out);
        files(&out)
    };
    let one = written(1);
    assert!(one == written(2) && one == written(7));
    assert_eq!(one.len(), 3 * (5 + 2));
    let names: Vec<_> = one.keys().filter_map(|path| path.to_str()).collect();
    assert_eq!(names[0], "train/n90000000_disc_plain/000000.jpg");
    assert_eq!(names[20], "val/n90000002_triangle_checks/000001.jpg");
    assert!(one.values().all(|bytes| bytes.starts_with(&[0xFF, 0xD8])));
}

#[test]
fn sizes_are_as_in_ilsvrc_unless_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    synth(&out, "--classes 4 --per-class 10").well();
    let (mut decoder, mut image) = (Decoder::new(), Image::default());
    let (mut longer, mut shorter) = (vec![], vec![]);
    for bytes in files(&out).values() {
        decoder.decode(bytes, &mut image).expect("a JPEG");
        longer.push(image.width.max(image.height));
        shorter.push(image.width.min(image.height));
    }
    longer.sort_unstable();
    shorter.sort_unstable();
    assert_eq!((longer.len(), longer[20], shorter[20]), (40, 500, 375), "the medians");
    assert!(shorter[0] >= 256 && longer[39] <= 640 && longer[0] < longer[39]);
    assert_eq!(entries(&out.join("val")).len(), 4, "empty folders");
    build(&out, &dir.path().join("packed"), "").well();
}

#[test]
fn bad_usage_is_told_from_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().join("out");
    for flags in [
        "",
        "--per-class 0",
        "--per-class 1000000",
        "--per-class 1 --classes 0",
        "--per-class 1 --classes 49",
        "--per-class 1 --side 15",
        "--per-class 1 --side 8193",
        "--per-class 1 --seed -1",
        "--per-class 1 --val-per-class 1000000",
    ] {
        assert_eq!(synth(&out, flags).code, Some(2), "{flags}");
    }
    std::fs::write(&out, "precious").expect("room");
    let ran = synth(&out, "--per-class 1 --side 16");
    ran.failed(&["cannot make the procedural images", "exists already", "hint: pass another"]);
}
