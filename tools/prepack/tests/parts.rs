//! Parts and their merging, copies, halves, and what is asked of archives.

use crate::common::{Ran, build, class, command, files, flat_png, skip, tree};
use pipeline::dataset::{Dataset, Split};
use std::{fs, path::Path, process::Command};

fn merge(parts: &[&Path], out: &Path) -> Ran {
    Ran::of(command().arg("merge").arg("--out").arg(out).args(parts))
}

#[test]
fn any_number_of_parts_merges_to_the_bytes_of_one_build() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 3, 5, 2);
    fs::write(class(&tree, "train", 1).join("000001.jpg"), "no picture").expect("room");
    let whole = dir.path().join("whole");
    // One of five of a class is left out: that is told, and the set is written.
    build(&tree, &whole, "--shard-records 4").failed(&["lost more than 0.1 %"]);
    for count in [1, 2, 5] {
        let parts: Vec<_> = (1..=count)
            .map(|part| {
                let out = dir.path().join(format!("part-{part}-of-{count}"));
                let ran =
                    build(&tree, &out, &format!("--shard-records 4 --part {part}/{count}"));
                assert!(ran.well().out.contains(&format!("part {part}/{count}")));
                out
            })
            .collect();
        let merged = dir.path().join(format!("merged-{count}"));
        let mut parts: Vec<_> = parts.iter().map(std::path::PathBuf::as_path).collect();
        parts.reverse(); // in any order
        merge(&parts, &merged).failed(&["lost more than 0.1 %"]);
        assert!(files(&merged) == files(&whole), "{count} parts");
        if count > 1 {
            let some = dir.path().join("some");
            merge(&parts[1..], &some).failed(&["cannot merge"]);
            assert!(!some.exists());
        }
    }
    for bad in ["0/2", "3/2", "2", "a/b"] {
        let ran = build(&tree, &dir.path().join("bad"), &format!("--part {bad}"));
        assert_eq!(ran.code, Some(2), "{bad}: {ran:?}");
    }
}

#[test]
fn copies_are_listed_or_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 2, 1);
    let (first, second) = (class(&tree, "train", 0), class(&tree, "val", 1));
    flat_png(&first.join("a.jpg"), 9);
    flat_png(&second.join("b.jpg"), 9);
    let kept = dir.path().join("kept");
    let ran = build(&tree, &kept, "--dedupe report").well();
    assert!(ran.err.contains("copy: ") && ran.err.contains("a.jpg"), "{}", ran.err);
    assert_eq!(Dataset::load(&kept).expect("written").splits[0].per_class, [3, 2]);
    let dropped = dir.path().join("dropped");
    build(&tree, &dropped, "--dedupe drop").well();
    let dataset = Dataset::load(&dropped).expect("written");
    assert_eq!(dataset.splits[0].per_class, [2, 2], "the training picture is the copy");
    assert_eq!(dataset.split(Split::Val).expect("there").per_class, [1, 2]);
}

#[test]
fn a_tar_for_each_synset_is_split_in_halves() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 6, 0);
    let release = dir.path().join("release");
    fs::create_dir(&release).expect("room");
    for (i, wnid) in ["n00000001", "n00000002"].into_iter().enumerate() {
        let tar = Command::new("tar")
            .arg("cf")
            .arg(release.join(format!("{wnid}.tar")))
            .arg("-C")
            .arg(class(&tree, "train", i))
            .arg(".")
            .status();
        if !tar.is_ok_and(|status| status.success()) {
            return skip("there is no tar");
        }
    }
    let halves = |seed: u32, out: &str| {
        let out = dir.path().join(out);
        let ran = build(&release, &out, &format!("--split half --seed {seed}")).well();
        assert!(ran.err.contains("release: "), "{}", ran.err);
        let dataset = Dataset::load(&out).expect("written");
        assert_eq!(dataset.classes[1].wnid, "n00000002");
        for split in [Split::Train, Split::Val] {
            assert_eq!(dataset.split(split).expect("there").per_class, [3, 3], "{split}");
        }
        files(&out)
    };
    assert!(halves(1, "a") == halves(1, "b"));
    assert!(halves(1, "c") != halves(2, "d"));
    let ran = build(&release, &dir.path().join("e"), "--split half");
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn archives_are_held_against_their_published_sums() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 1, 0);
    let out = dir.path().join("out");
    build(&tree, &out, "--verify-source").failed(&["cannot verify", "none of the archives"]);
    fs::write(tree.join("ILSVRC2012_img_val.tar"), [0; 1024]).expect("room");
    let words = ["ILSVRC2012_img_val.tar: MD5", "hint: download it again"];
    build(&tree, &out, "--verify-source").failed(&words);
    assert!(!out.exists());
}
