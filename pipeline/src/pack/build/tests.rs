use super::*;
use crate::{
    decode::{Decoder, Image},
    jpeg,
    resize::{Resizer, Stored},
    source::{Encoded, Listing, Shards, Source as _},
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
    PackConfig { size: 16, jobs: 2, shard_records: 5, ..PackConfig::new(source, out) }
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
    let listing = Listing::open(&source, &ListConfig::default()).expect("a tree");
    let (mut scratch, mut stored, mut square) = (vec![], Stored::new(), vec![]);
    for split in Split::ALL {
        assert_eq!(set.len(split), listing.len(split));
        for index in 0..listing.len(split) {
            let bytes = fs::read(source.join(listing.name(split, index))).expect("a file");
            let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
            stored.square(encoded, 16, &mut square).expect("a picture");
            assert_eq!(set.label(split, index), listing.label(split, index));
            let found = set.read(split, index, &mut scratch).expect("whole");
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
    let lost = is_too_many;
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

/// `orient6.jpg` is `base.jpg` and says that it lies on its side: its rows are seen as columns.
#[test]
fn pictures_are_turned_upright_on_request_and_the_set_says_so() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus/made");
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    for class in ["n00000001", "n00000002"] {
        let class = tree.join("train").join(class);
        fs::create_dir_all(&class).expect("room");
        fs::copy(corpus.join("orient6.jpg"), class.join("1.jpg")).expect("part of the project");
    }
    let (mut base, mut turned) = (Image::default(), Image::default());
    let bytes = fs::read(corpus.join("base.jpg")).expect("part of the project");
    Decoder::new().decode(&bytes, &mut base).expect("sound");
    (turned.width, turned.height) = (base.height, base.width);
    for y in 0..turned.height {
        for x in 0..turned.width {
            let at = 3 * ((base.height - 1 - x) * base.width + y);
            turned.rgb.extend_from_slice(&base.rgb[at..at + 3]);
        }
    }
    for (upright, picture) in [(false, &base), (true, &turned)] {
        let config =
            PackConfig { upright, ..config(&tree, dir.path().join(upright.to_string())) };
        let report = build(&config, &|_| ()).expect("a sound tree");
        assert_eq!(report.dataset.filter.contains("EXIF"), upright);
        let set = Shards::open(&config.out).expect("its own folder");
        let mut scratch = vec![];
        let found = set.read(Split::Train, 0, &mut scratch).expect("whole");
        let mut square = vec![];
        Resizer::new().square(picture, 16, &mut square).expect("pixels");
        assert!(found.bytes == square, "upright: {upright}");
    }
    let encoding = Encoding::Original;
    let out = dir.path().join("original");
    let config = PackConfig { upright: true, encoding, ..config(&tree, out) };
    let error = build(&config, &|_| ()).expect_err("no such thing").to_string();
    assert!(error.contains("none can be turned upright"), "{error}");
}

#[test]
fn rewritten_originals_have_the_same_pixels_and_a_marker_after_each_row() {
    let dir = tempfile::tempdir().expect("a folder");
    let source = tree(dir.path());
    let set = |row_markers| {
        let (encoding, name) = (Encoding::Original, format!("{row_markers}"));
        let config =
            PackConfig { encoding, row_markers, ..config(&source, dir.path().join(name)) };
        let report = build(&config, &|_| ()).expect("a sound tree");
        (Shards::open(&config.out).expect("its own folder"), report.dataset.statistics)
    };
    let ((plain, sums), (rewritten, same)) = (set(false), set(true));
    assert_eq!(sums, same);
    let (mut decoder, mut before, mut after) = (jpeg::Decoder::new(), vec![], vec![]);
    let (mut one, mut other) = (vec![], vec![]);
    for index in 0..plain.len(Split::Train) {
        let old = plain.read(Split::Train, index, &mut one).expect("whole");
        let new = rewritten.read(Split::Train, index, &mut other).expect("whole");
        decoder.decode(old.bytes, &mut before).expect("sound");
        let header = decoder.decode(new.bytes, &mut after).expect("sound");
        assert!(before == after && header.restart_interval > 0, "{index}");
    }
}
