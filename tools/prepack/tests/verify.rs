//! `prepack verify` finds what is wrong, all of it.

use crate::common::{build, prepack, tree};
use pipeline::{
    dataset::{Dataset, Encoding, ShardInfo},
    shard::ShardWriter,
};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// 2 classes of 3 training and 2 validation pictures, raw at 16 pixels.
fn packed() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 3, 2), dir.path().join("out"));
    build(&tree, &out, "").well();
    (dir, out)
}

/// Bytes of a record.
const RECORD: usize = 16 * 16 * 3;

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    with(&mut bytes);
    fs::write(path, bytes).expect("room");
}

/// The problems that `verify` prints, one a line; it fails if there are any.
fn problems(path: &Path) -> Vec<String> {
    let ran = prepack("verify", path, "");
    if ran.code == Some(0) {
        assert!(ran.out.ends_with("all whole\n"), "{}", ran.out);
        return vec![];
    }
    let lines: Vec<_> = ran.out.lines().map(str::to_owned).collect();
    let count = lines.len();
    let says =
        format!("{}: {count} problem{}", path.display(), if count == 1 { "" } else { "s" });
    ran.failed(&[&says, "hint: restore the files from a copy, or pack the images again"]);
    lines
}

#[test]
fn a_whole_set_and_a_whole_shard_pass() {
    let (_dir, out) = packed();
    let ran = prepack("verify", &out, "").well();
    assert!(ran.out.ends_with("out: 2 shards with 10 records, all whole\n"), "{}", ran.out);
    let ran = prepack("verify", &out.join("val-00000.shard"), "").well();
    assert!(ran.out.contains("1 shard with 4 records"), "{}", ran.out);
}

#[test]
fn flipped_bytes_are_found_where_they_are() {
    let (_dir, out) = packed();
    let shard = out.join("train-00000.shard");
    change(&shard, |bytes| {
        bytes[64 + RECORD + 5] ^= 1;
        bytes[64 + 4 * RECORD] ^= 0x80;
    });
    for path in [&out, &shard] {
        let found = problems(path);
        assert_eq!(found.len(), 2, "{found:?}");
        let at = format!("train-00000.shard: record 1 at byte {}: checksum", 64 + RECORD);
        assert!(found[0].contains(&at), "{found:?}");
        assert!(found[1].contains("record 4 at byte"), "{found:?}");
    }
}

#[test]
fn one_damaged_shard_does_not_hide_another() {
    let (_dir, out) = packed();
    change(&out.join("train-00000.shard"), |bytes| bytes.truncate(bytes.len() - 1));
    change(&out.join("val-00000.shard"), |bytes| bytes[64] ^= 1);
    let found = problems(&out);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("train-00000.shard") && found[0].contains("is truncated"),
        "{found:?}"
    );
    assert!(found[1].contains("val-00000.shard: record 0"), "{found:?}");
    assert!(problems(&out.join("train-00000.shard"))[0].contains("is truncated"));
    fs::remove_file(out.join("val-00000.shard")).expect("it is there");
    let found = problems(&out);
    assert!(found[1].contains("cannot open") && found[1].contains("No such file"), "{found:?}");
}

#[test]
fn a_newer_version_is_told_from_damage() {
    let (_dir, out) = packed();
    let shard = out.join("train-00000.shard");
    change(&shard, |bytes| bytes[8] = 2);
    for path in [&out, &shard] {
        let found = problems(path);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("shard version 2, and this program reads up to 1"),
            "{found:?}"
        );
    }
    change(&out.join("dataset.json"), |bytes| {
        let text = String::from_utf8_lossy(bytes).replacen("\"format\":1", "\"format\":2", 1);
        *bytes = text.into_bytes();
    });
    let ran = prepack("verify", &out, "");
    ran.failed(&["format 2, and this version reads up to 1", "hint: update this program"]);
}

#[test]
fn labels_out_of_range_and_wrong_counts_are_found() {
    let (_dir, out) = packed();
    let write = |labels: [u32; 4], len: usize| {
        let path = out.join("val-00000.shard");
        let mut writer = ShardWriter::create(&path, Encoding::Raw, 16).expect("room");
        for label in labels {
            writer.push(label, &vec![7; len]).expect("room");
        }
        let info = writer.finish().expect("room");
        let mut dataset = Dataset::load(&out).expect("sound");
        dataset.splits[1].shards = vec![info];
        dataset.store(&out).expect("room");
    };
    write([0, 1, 2, 1], RECORD);
    let found = problems(&out);
    assert!(found[0].contains("record 2 has label 2, and there are 2 classes"), "{found:?}");
    assert!(found[1].contains("disc_plain has 1 records, expected 2"), "{found:?}");
    assert_eq!(found.len(), 2);
    write([0, 0, 0, 1], RECORD);
    let found = problems(&out);
    assert!(found[0].contains("has 3 records, expected 2"), "{found:?}");
    write([0, 0, 1, 1], RECORD - 1);
    let found = problems(&out);
    assert_eq!(found.len(), 4);
    assert!(
        found[3].contains("record 3 at byte") && found[3].contains("767 bytes, expected 768")
    );
}

#[test]
fn another_set_s_shard_is_told() {
    let (_dir, out) = packed();
    let mut dataset = Dataset::load(&out).expect("sound");
    let ShardInfo { crc32, .. } = dataset.splits[0].shards[0];
    dataset.splits[0].shards[0].crc32 = !crc32;
    dataset.store(&out).expect("room");
    let found = problems(&out);
    assert_eq!(found.len(), 1, "{found:?}");
    let says = format!("the checksum is {crc32:08x} of 6 records, and dataset.json says");
    assert!(found[0].contains(&says), "{found:?}");
}

#[test]
fn what_is_no_set_is_told() {
    let (dir, out) = packed();
    let hint = "hint: pass a folder that `prepack build` wrote";
    let fails = |path: &Path, words: &[&str]| drop(prepack("verify", path, "").failed(words));
    fails(&dir.path().join("nowhere"), &["nowhere: there is no such folder", hint]);
    fails(&dir.path().join("tree"), &["cannot read", "dataset.json", "No such file", hint]);
    let found = problems(&out.join("dataset.json"));
    assert!(found[0].contains("dataset.json: not a shard"), "{found:?}");
    fs::write(out.join("dataset.json"), "{}").expect("room");
    fails(
        &out,
        &[
            "no sound data set: it does not begin with its checksum",
            "hint: pack the images again",
        ],
    );
}
