use super::*;
use crate::{
    source::{Shards, Source as _},
    synth::{SynthConfig, synth},
};
use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

/// 2 classes of 9 training and 3 validation pictures.
fn tree(dir: &Path) -> PathBuf {
    let config = SynthConfig {
        classes: 2,
        per_class: 9,
        val_per_class: 3,
        seed: 1,
        jobs: 2,
        shorter_side: Some(40),
    };
    let tree = dir.join("tree");
    synth(&config, &tree, &|_| ()).expect("room");
    tree
}

fn config(source: &Path, out: PathBuf) -> PackConfig {
    PackConfig {
        source: source.into(),
        out,
        size: 16,
        encoding: Encoding::Raw,
        quality: None,
        jobs: 2,
        on_corrupt: PackPolicy::Skip,
        shard_records: 5,
    }
}

#[test]
fn records_keep_the_order_of_the_paths_across_shards() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = tree(dir.path());
    let config = config(&source, dir.path().join("out"));
    let report = build(&config, &|_| ()).expect("a sound tree");
    let records = |split| {
        let info = report.dataset.split(split).expect("packed");
        info.shards.iter().map(|shard| shard.records).collect::<Vec<_>>()
    };
    assert_eq!(records(Split::Train), [5, 5, 5, 3]);
    assert_eq!(records(Split::Val), [5, 1]);
    assert_eq!(report.incomplete, []);
    let set = Shards::open(&config.out).expect("its own folder");
    let (_, files) = source::list(&source).expect("a tree");
    let (mut scratch, mut stored, mut square) = (vec![], Stored::new(), vec![]);
    for split in Split::ALL {
        assert_eq!(set.len(split), files[split as usize].len() as u64);
        for (index, file) in files[split as usize].iter().enumerate() {
            let bytes = fs::read(&file.path).expect("a file");
            let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
            stored.square(encoded, 16, &mut square).expect("a picture");
            assert_eq!(set.label(split, index as u64), file.label);
            let found = set.read(split, index as u64, &mut scratch).expect("whole");
            assert!(found.bytes == square, "{split} {index}");
        }
    }
    let statistics = report.dataset.statistics;
    assert_eq!((statistics.images, statistics), (18, set.statistics().clone()));
}

#[test]
fn what_is_left_out_is_told_by_class_with_the_reason() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = tree(dir.path());
    let classes: Vec<_> = (0..2).map(crate::synth::class_name).collect();
    let folder = source.join("train").join(&classes[1]);
    fs::write(folder.join("000002.jpg"), "no picture").expect("room");
    fs::write(source.join("val").join(&classes[0]).join("a.jpg"), "").expect("room");
    let config = config(&source, dir.path().join("out"));
    let told = AtomicU64::new(0);
    let report = build(&config, &|progress| {
        assert_eq!(progress.total, 25);
        told.fetch_max(progress.done, Ordering::Relaxed);
    });
    let report = report.expect("the rest is sound");
    assert_eq!(told.into_inner(), 25);
    let skipped = |split| &report.dataset.split(split).expect("packed").skipped;
    let [train] = skipped(Split::Train).as_slice() else { panic!("one file") };
    assert_eq!(train.path, format!("train/{}/000002.jpg", classes[1]));
    assert!(train.reason.contains("not a JPEG"), "{}", train.reason);
    let [val] = skipped(Split::Val).as_slice() else { panic!("one file") };
    assert_eq!(val.reason, "an empty file");
    assert_eq!(report.dataset.splits[0].per_class, [9, 8]);
    assert_eq!(report.dataset.splits[1].per_class, [3, 3]);
    let lost: Vec<_> =
        report.incomplete.iter().map(|class| (class.lost, class.files)).collect();
    assert_eq!(lost, [(1, 9), (1, 4)]);
    assert_eq!(report.incomplete[0].folder, folder);
}

#[test]
fn a_loss_up_to_a_thousandth_is_borne() {
    let lost = |lost: u64, files: u64| {
        let config = config(Path::new("tree"), PathBuf::new());
        let mut packer = Packer::new(&config, Path::new(""), Split::Train, 1);
        (packer.per_class[0], packer.lost[0]) = (files - lost, lost);
        !packer.incomplete(&[Class { wnid: "n1".into(), name: String::new() }]).is_empty()
    };
    assert_eq!([lost(0, 0), lost(0, 9), lost(1, 1000), lost(2, 2000)], [false; 4]);
    assert_eq!([lost(1, 1), lost(1, 999), lost(3, 2000)], [true; 3]);
}

#[test]
fn one_bad_file_ends_the_work_where_that_is_asked_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = tree(dir.path());
    let bad = source.join("train").join(crate::synth::class_name(0)).join("000004.jpg");
    fs::write(&bad, "").expect("room");
    let config =
        PackConfig { on_corrupt: PackPolicy::Fail, ..config(&source, dir.path().join("out")) };
    let error = build(&config, &|_| ()).expect_err("an empty file").to_string();
    assert_eq!(error, format!("{}: an empty file", bad.display()));
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "the tree alone");
}

#[test]
fn a_set_of_which_nothing_is_left_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    for class in ["n1", "n2"] {
        let folder = dir.path().join("tree/train").join(class);
        fs::create_dir_all(&folder).expect("room");
        fs::write(folder.join("a.jpg"), "").expect("room");
    }
    let config = config(&dir.path().join("tree"), dir.path().join("out"));
    let error = build(&config, &|_| ()).expect_err("nothing").to_string();
    assert_eq!(error, "train: none of the 2 files can be decoded");
    assert!(!config.out.exists());
}

#[test]
fn what_is_out_of_range_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let sound = config(dir.path(), dir.path().join("out"));
    for size in [0, SIZE_MAX + 1] {
        let error = build(&PackConfig { size, ..sound.clone() }, &|_| ()).expect_err("a size");
        assert!(error.to_string().contains("expected 1 to 4096"), "{error}");
    }
    for quality in [0, 101] {
        let config = PackConfig { quality: Some(quality), ..sound.clone() };
        let error = build(&config, &|_| ()).expect_err("a quality");
        assert!(error.to_string().contains("expected 1 to 100"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_told_byte_by_byte() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let path = Path::new(OsStr::from_bytes(b"train/n1/caf\xe9 \xff.jpg"));
    assert_eq!(text(path), "train/n1/caf\\xe9 \\xff.jpg");
    assert_eq!(text(Path::new("val/n1/caf\u{e9}.jpg")), "val/n1/caf\u{e9}.jpg");
}
