//! Builds in one go, after a kill, and in parts: the same bytes.

use super::*;
use crate::{
    dataset::{Encoding, MANIFEST, Split},
    source::{self, testing::*},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Two pictures a shard, so that there are many.
fn config(source: &Path, out: &Path) -> PackConfig {
    PackConfig { size: 8, jobs: 2, shard_records: 2, ..PackConfig::new(source, out) }
}

fn pack(config: &PackConfig) -> PackReport {
    build(config, &|_| ()).expect("a sound source")
}

/// All files of a folder.
fn bytes(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry"));
    entries
        .map(|e| {
            (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).expect("a file"))
        })
        .collect()
}

/// A tree with files that are no pictures: the second, and all of a shard.
fn damaged(dir: &Path) {
    kaggle(dir);
    let train = dir.join("ILSVRC/Data/CLS-LOC/train");
    for name in ["n00000010_001", "n00000010_002", "n00000020_060"] {
        write(&train.join(&name[..9]).join(format!("{name}.JPEG")), "no picture");
    }
}

#[test]
fn any_jobs_write_the_same_bytes_in_every_encoding() {
    let dir = folder();
    damaged(dir.path());
    for encoding in Encoding::ALL {
        let build = |jobs: usize| {
            let out = dir.path().join(format!("{}-{jobs}", encoding.name()));
            let report = pack(&PackConfig { encoding, jobs, ..config(dir.path(), &out) });
            (report, bytes(&out))
        };
        let (one, written) = build(1);
        assert!(build(2) == (one.clone(), written.clone()));
        assert!(build(5) == (one.clone(), written.clone()));
        let train = &one.dataset.splits[0];
        let records: Vec<_> = train.shards.iter().map(|shard| shard.records).collect();
        assert_eq!(records, [1, 0, 2, 2], "cut by place in the source");
        assert_eq!((train.records, one.dataset.statistics.images), (5, 5));
        assert_eq!(
            train.skipped[0].path,
            "ILSVRC/Data/CLS-LOC/train/n00000010/n00000010_001.JPEG"
        );
        let folder = dir.path().join("train/n00000010");
        assert_eq!(one.incomplete[0], Incomplete { folder, lost: 2, files: 3 });
        assert_eq!(written.len(), 4 + 3 + 1, "shards and dataset.json");
        let out = dir.path().join(format!("{}-1", encoding.name()));
        let set = source::open(&out, 8, 1).expect("its own folder");
        let labels: Vec<_> = (0..5).map(|i| set.label(Split::Train, i)).collect();
        assert_eq!(labels, [0, 1, 2, 2, 2]);
        assert!(
            set.describe().contains("5 train, 5 val images; 3 classes"),
            "{}",
            set.describe()
        );
        assert_eq!(verify(&out, &|_| ()).expect("whole").problems, [""; 0]);
    }
}

#[test]
fn archives_and_folders_of_the_same_pictures_make_the_same_shards() {
    let (tars, tree) = (folder(), folder());
    archives(tars.path());
    kaggle(tree.path());
    let (one, two) = (tars.path().join("out"), tree.path().join("out"));
    let report = pack(&config(tars.path(), &one));
    assert_eq!(report.dataset.ilsvrc_ids, [2, 3, 1]);
    assert_eq!(report.notes, ["2 test images were left out: no ground truth"]);
    let with_names = pack(&config(tree.path(), &two)).dataset;
    assert_eq!(with_names.classes, report.dataset.classes);
    assert_eq!(with_names.statistics, report.dataset.statistics);
    let shards = |dir: &Path| {
        let mut all = bytes(dir);
        all.remove("dataset.json");
        all
    };
    assert!(shards(&one) == shards(&two));
    assert_eq!(shards(&one).len(), 4 + 3);
}

/// The test runs itself as another process, which packs slowly, and kills that.
#[test]
fn a_build_that_is_killed_goes_on_where_it_was() {
    const CHILD: &str = "PACK_TEST_CHILD";
    if let Some(dir) = std::env::var_os(CHILD) {
        let dir = PathBuf::from(dir);
        let slow = |_| std::thread::sleep(Duration::from_millis(30));
        build(&config(&dir, &dir.join("out")), &slow).expect("a sound source");
        return;
    }
    let dir = folder();
    damaged(dir.path());
    let whole = dir.path().join("whole");
    let wanted = pack(&config(dir.path(), &whole));
    let name = "pack::tests::a_build_that_is_killed_goes_on_where_it_was";
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", name])
        .env(CHILD, dir.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("a process");
    let out = dir.path().join("out");
    let partial = dir.path().join("out.partial");
    let began = Instant::now();
    let entered = || manifest::Manifest::load(&partial).map_or(0, |found| found.shards.len());
    while entered() < 3 {
        assert!(began.elapsed() < Duration::from_secs(60), "the child packs nothing");
        assert!(!out.exists(), "the child was faster than the kill");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("a process that runs");
    child.wait().expect("a process that was killed");
    assert!(!out.exists() && partial.exists());
    let report = pack(&config(dir.path(), &out));
    let shards = wanted.dataset.splits.iter().map(|split| split.shards.len()).sum();
    assert!((3..=shards).contains(&report.resumed), "{} shards were there", report.resumed);
    assert!(bytes(&out) == bytes(&whole));
    assert_eq!(PackReport { resumed: 0, ..report }, wanted);
    assert!(!partial.exists());
}

#[test]
fn a_build_that_failed_goes_on_once_it_may_leave_the_file_out() {
    let dir = folder();
    for (class, first) in [("n1", 0), ("n2", 10)] {
        for i in first..first + 10 {
            let path = dir.path().join(format!("train/{class}/{i:02}.JPEG"));
            write(&path, if i == 19 { b"no picture".to_vec() } else { picture(i) });
        }
    }
    let (out, partial) = (dir.path().join("out"), dir.path().join("out.partial"));
    let skips = PackConfig { jobs: 1, ..config(dir.path(), &out) };
    let fails = PackConfig { on_corrupt: PackPolicy::Fail, ..skips.clone() };
    let error = build(&fails, &|_| ()).expect_err("a corrupt file").to_string();
    assert!(error.contains("train/n2/19.JPEG: not a JPEG"), "{error}");
    assert_eq!(manifest::Manifest::load(&partial).expect("kept").shards.len(), 9);
    let report = pack(&skips);
    assert_eq!((report.resumed, report.dataset.splits[0].records), (9, 19));
    let whole = dir.path().join("whole");
    let wanted = pack(&config(dir.path(), &whole));
    assert_eq!(report.dataset, wanted.dataset);
    assert!(bytes(&out) == bytes(&whole));
}

/// A build's folder as it stands after its first shards.
fn interrupted(dir: &Path, out: &Path) -> PathBuf {
    let config = PackConfig { jobs: 1, ..config(dir, out) };
    let stop = |progress: Progress| assert!(progress.done < 11, "as if it was killed");
    let outcome = std::panic::catch_unwind(|| build(&config, &stop));
    assert!(outcome.is_err());
    out.with_file_name("out.partial")
}

#[test]
fn what_an_interrupted_build_has_is_checked_before_it_goes_on() {
    let dir = folder();
    kaggle(dir.path());
    let out = dir.path().join("out");
    let partial = interrupted(dir.path(), &out);
    let entered = manifest::Manifest::load(&partial).expect("kept").shards.len();
    assert!(entered >= 3, "{entered} shards");
    let other = PackConfig { size: 9, ..config(dir.path(), &out) };
    let before = bytes(&partial);
    let error = build(&other, &|_| ()).expect_err("other settings").to_string();
    assert!(
        error.contains(&format!("holds {entered} shards of a build with other")),
        "{error}"
    );
    assert!(bytes(&partial) == before, "nothing is lost");
    let shard = partial.join("train-00001.shard");
    let mut flipped = fs::read(&shard).expect("a shard");
    flipped[100] ^= 1;
    write(&shard, &flipped);
    let error = build(&config(dir.path(), &out), &|_| ()).expect_err("damaged");
    let PackError::DamagedBuild { path, source } = error else { panic!("{error}") };
    let source = source.to_string();
    assert!(source.contains("train-00001.shard: record 0 at byte 64: checksum"), "{source}");
    assert_eq!(path, partial);
    flipped[100] ^= 1;
    write(&shard, &flipped);
    let manifest = partial.join(MANIFEST);
    let text = fs::read_to_string(&manifest).expect("the manifest");
    write(&manifest, text.replacen("\"size\":8", "\"size\":9", 1));
    let error = build(&config(dir.path(), &out), &|_| ()).expect_err("damaged").to_string();
    assert!(error.contains("manifest: no sound manifest: checksum"), "{error}");
    write(&manifest, text);
    write(&partial.join("train-00099.shard"), "what was being written");
    assert_eq!(pack(&config(dir.path(), &out)).resumed, entered);
}

#[test]
fn parts_of_several_machines_merge_to_the_bytes_of_one_build() {
    let dir = folder();
    damaged(dir.path());
    let whole = dir.path().join("whole");
    let wanted = pack(&config(dir.path(), &whole));
    for of in [1, 2, 3, 9] {
        let part = |index| {
            let out = dir.path().join(format!("part-{index}-{of}"));
            let config = PackConfig { jobs: 1 + of as usize % 3, ..config(dir.path(), &out) };
            let report = build_part(&config, Part { index, of }, &|_| ()).expect("sound");
            assert_eq!(report.shards_of_all, 7);
            let error = source::open(&out, 8, 1).expect_err("a part").to_string();
            assert!(error.contains("a part of a data set"), "{error}");
            out
        };
        let parts: Vec<_> = (1..=of).rev().map(part).collect();
        let out = dir.path().join(format!("merged-{of}"));
        let mut report = merge(&parts, &out, 2).expect("whole");
        for class in &mut report.incomplete {
            class.folder = dir.path().join(&class.folder); // which a part does not know
        }
        assert!(report == wanted, "{report:?}");
        assert!(bytes(&out) == bytes(&whole), "{of} parts");
    }
}

#[test]
fn parts_that_do_not_make_a_whole_are_refused() {
    let dir = folder();
    kaggle(dir.path());
    let part = |name: &str, index, of, size| {
        let out = dir.path().join(name);
        let config = PackConfig { size, ..config(dir.path(), &out) };
        build_part(&config, Part { index, of }, &|_| ()).expect("sound");
        out
    };
    let (one, two) = (part("a", 1, 3, 8), part("b", 2, 3, 8));
    let (other, three) = (part("c", 3, 3, 9), part("d", 3, 3, 8));
    let out = dir.path().join("merged");
    let fails = |parts: &[&PathBuf]| {
        let parts: Vec<_> = parts.iter().map(|part| (*part).clone()).collect();
        merge(&parts, &out, 1).expect_err("no whole").to_string()
    };
    assert!(fails(&[]).ends_with("there are none"));
    assert!(fails(&[&one, &two]).ends_with("part 3/3 is missing"));
    assert!(fails(&[&three, &two]).ends_with("part 1/3 is missing"));
    assert!(fails(&[&one, &one, &two]).contains("is part 1/3, which is there already"));
    assert!(fails(&[&one, &two, &other]).contains("are of different builds"));
    let shard = three.join("val-00002.shard");
    let mut flipped = fs::read(&shard).expect("a shard");
    flipped[70] ^= 1;
    write(&shard, flipped);
    assert!(fails(&[&one, &two, &three]).contains("val-00002.shard: record 0 at byte 64"));
    assert!(!out.exists() && !dir.path().join("merged.partial").exists());
    let error = build_part(&config(dir.path(), &out), Part { index: 4, of: 3 }, &|_| ());
    assert!(error.expect_err("no such part").to_string().ends_with("no part 4/3"));
}

#[test]
fn copies_are_reported_or_dropped_from_training_only() {
    let dir = folder();
    let base = dir.path().join("ILSVRC/Data/CLS-LOC");
    kaggle(dir.path());
    let train = |name: &str| base.join("train").join(&name[..9]).join(name);
    write(&train("n00000020_060.JPEG"), picture(0)); // of another class
    write(&train("n00000030_121.JPEG"), picture(120));
    write(&train("n00000030_122.JPEG"), picture(203)); // of val
    write(&base.join("val/ILSVRC2012_val_00000005.JPEG"), picture(200)); // within val
    let build = |name: &str, dedupe| {
        let out = dir.path().join(name);
        let report = pack(&PackConfig { dedupe, ..config(dir.path(), &out) });
        (report, out)
    };
    let (kept, kept_out) = build("kept", Dedupe::Keep);
    assert_eq!((kept.duplicates.len(), kept.dataset.splits[0].records), (0, 8));
    let (reported, reported_out) = build("reported", Dedupe::Report);
    assert!(bytes(&kept_out) == bytes(&reported_out));
    let leaf = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let pairs: Vec<_> =
        reported.duplicates.iter().map(|copy| (leaf(&copy.path), leaf(&copy.of))).collect();
    let pair = |a: &str, b: &str| (format!("{a}.JPEG"), format!("{b}.JPEG"));
    let wanted = [
        pair("n00000020_060", "n00000010_000"),
        pair("n00000030_121", "n00000030_120"),
        pair("n00000030_122", "ILSVRC2012_val_00000004"),
        pair("ILSVRC2012_val_00000005", "ILSVRC2012_val_00000001"),
    ];
    assert_eq!(pairs, wanted);
    let (dropped, out) = build("dropped", Dedupe::Drop);
    assert_eq!(dropped.duplicates, reported.duplicates);
    let [train, val] = dropped.dataset.splits.as_slice() else { panic!("two splits") };
    assert_eq!((train.records, val.records), (5, 5));
    assert_eq!(train.duplicates, reported.duplicates[..3]);
    assert_eq!((train.skipped.len(), dropped.incomplete.len()), (0, 0));
    let parts: Vec<_> = (1..=2)
        .map(|index| {
            let out = dir.path().join(format!("dropped-{index}"));
            let config = PackConfig { dedupe: Dedupe::Drop, ..config(dir.path(), &out) };
            build_part(&config, Part { index, of: 2 }, &|_| ()).expect("sound");
            out
        })
        .collect();
    let merged = dir.path().join("merged");
    merge(&parts, &merged, 1).expect("whole");
    assert!(bytes(&merged) == bytes(&out));
}

#[test]
fn a_split_that_loses_all_is_an_error() {
    let dir = folder();
    tree(dir.path(), &["n1", "n2"]);
    for class in ["n1", "n2"] {
        write(&dir.path().join("val").join(class).join("0.JPEG"), "no picture");
    }
    let error = build(&config(dir.path(), &dir.path().join("out")), &|_| ());
    let error = error.expect_err("an empty split").to_string();
    assert_eq!(error, "val: none of the 2 files can be decoded");
}
