//! Trees that are none, and trees with odd things in them.

use crate::common::{Ran, build, class, command, entries, flat_png, prepack, skip, tree};
use pipeline::dataset::{Dataset, Skipped};
use std::{fs, path::Path};

#[test]
fn what_is_no_tree_is_told_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    let fails = |words: &[&str]| {
        build(&source, &out, "").failed(words);
        assert!(!out.exists() && !dir.path().join("out.partial").exists());
    };
    fails(&["source: there is no such folder", "hint: pass --source DIR"]);
    fs::write(&source, "a file").expect("room");
    fails(&["source: there is no such folder"]);
    fs::remove_file(&source).expect("it is there");
    fs::create_dir(&source).expect("room");
    fails(&["source: no folder `train` is in it", "hint: pass --source DIR"]);
    fs::create_dir_all(source.join("train")).expect("room");
    fails(&["source: no train images"]);
    flat_png(&source.join("train/a.JPEG"), 1); // not in a class's folder
    fails(&["source: no train images"]);
    fs::create_dir(source.join("train/n1")).expect("room");
    flat_png(&source.join("train/n1/a.JPEG"), 1);
    fails(&["one class only (n1)", "two classes or more"]);
    fs::create_dir(source.join("train/n2")).expect("room");
    fs::create_dir_all(source.join("val/n3")).expect("room");
    fails(&["val/n3: class n3 is not in `train`", "hint: give `val` the same class folders"]);
    fs::remove_dir(source.join("val/n3")).expect("it is empty");
    let ran = build(&source, &out, "").well();
    assert!(ran.err.contains("a class without training images"), "{}", ran.err);
}

#[test]
fn a_set_of_which_nothing_can_be_decoded_is_none() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 1, 1), dir.path().join("out"));
    for label in 0..2 {
        fs::write(class(&tree, "val", label).join("000000.jpg"), "text").expect("room");
    }
    let words = ["val: none of the 2 files can be decoded", "hint: expected JPEG, PNG"];
    build(&tree, &out, "").failed(&words);
    assert_eq!(entries(dir.path()), [tree]);
}

#[test]
fn bad_usage_is_told_from_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 1, 0);
    let out = dir.path().join("out");
    let flags = [
        "--quality 80",
        "--quality 80 --encoding raw",
        "--quality 80 --encoding original",
        "--quality 0 --encoding jpeg",
        "--quality 101 --encoding jpeg",
        "--size 0",
        "--size 4097",
        "--size many",
        "--jobs 0",
        "--encoding png",
        "--on-corrupt ignore",
        "--unknown",
    ];
    for flags in flags {
        let ran = build(&tree, &out, flags);
        assert_eq!(ran.code, Some(2), "{flags}: {ran:?}");
        assert!(ran.err.starts_with("error: ") && ran.out.is_empty(), "{flags}: {ran:?}");
    }
    let ran = build(&tree, &out, "--quality 80");
    assert!(ran.err.contains("--quality needs --encoding jpeg"), "{}", ran.err);
    assert!(ran.err.contains("Usage: prepack build"), "{}", ran.err);
    assert_eq!(Ran::of(&mut command()).code, Some(2));
    assert!(!out.exists());
    let help = Ran::of(command().args(["build", "--help"])).well();
    assert!(help.out.contains("[default: 256]") && help.out.contains("[default: 90]"));
}

#[test]
fn a_class_with_the_longest_name_there_is_is_packed_and_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 2, 1), dir.path().join("out"));
    let name = "n".repeat(255); // what file systems allow
    fs::create_dir(tree.join("train").join(&name)).expect("room");
    let file = "f".repeat(255);
    flat_png(&tree.join("train").join(&name).join(&file), 3);
    fs::write(tree.join("train").join(&name).join("bad"), "").expect("room");
    build(&tree, &out, "").failed(&[&name, "1 of 2"]);
    assert_eq!(Dataset::load(&out).expect("written").classes[2].wnid, name);
    let shown = prepack("inspect", &out, "").well().out;
    assert!(shown.contains(&format!("2        1        0  {name}\n")), "{shown}");
}

#[cfg(target_os = "linux")] // others know UTF-8 names only
#[test]
fn files_whose_names_are_no_text_are_packed_and_told_byte_by_byte() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 1, 0), dir.path().join("out"));
    let folder = class(&tree, "train", 0);
    flat_png(&folder.join(OsStr::from_bytes(b"caf\xe9.JPEG")), 3);
    fs::write(folder.join(OsStr::from_bytes(b"bad\xff\n.JPEG")), "").expect("room");
    build(&tree, &out, "").failed(&["1 of 3"]);
    let train = &Dataset::load(&out).expect("written").splits[0];
    let path = "train/n90000000_disc_plain/bad\\xff\n.JPEG".into();
    assert_eq!(train.skipped, [Skipped { path, reason: "an empty file".into() }]);
    assert_eq!(train.per_class, [2, 1]);
    let shown = prepack("inspect", &out, "").well().out;
    assert!(shown.ends_with("bad\\xff?.JPEG: an empty file\n"), "{shown}");
    fs::create_dir(tree.join("train").join(OsStr::from_bytes(b"n\xff"))).expect("room");
    let again = dir.path().join("again");
    build(&tree, &again, "").failed(&["not UTF-8", "hint: rename the folder"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_one_that_leads_nowhere_is_left_out() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 3, 2, 0), dir.path().join("out"));
    let moved = dir.path().join("moved");
    fs::rename(class(&tree, "train", 2), &moved).expect("the same file system");
    symlink(&moved, class(&tree, "train", 2)).expect("room");
    symlink(moved.join("000001.jpg"), class(&tree, "train", 0).join("link.jpg")).expect("room");
    symlink(moved.join("gone"), class(&tree, "train", 1).join("nowhere.jpg")).expect("room");
    build(&tree, &out, "").failed(&["square_stripes 1 of 3"]);
    let train = &Dataset::load(&out).expect("written").splits[0];
    assert_eq!(train.per_class, [3, 2, 2]);
    let [skipped] = &train.skipped[..] else { panic!("{:?}", train.skipped) };
    assert!(skipped.path.ends_with("nowhere.jpg"), "{}", skipped.path);
    assert!(skipped.reason.contains("No such file"), "{}", skipped.reason);
}

/// Runs the binary as a user whom permissions bind; `None` where that cannot be.
#[cfg(unix)]
fn bound(dir: &Path, flags: &[&std::ffi::OsStr]) -> Option<Ran> {
    use std::os::unix::{fs::PermissionsExt as _, process::CommandExt as _};
    /// The user and group `nobody`.
    const NOBODY: u32 = 65_534;
    let open = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("our own");
    };
    open(dir); // temporary folders are their owner's alone
    let root = Ran::of(std::process::Command::new("id").arg("-u")).out.trim() == "0";
    let mut command = command();
    command.args(flags);
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let ran = Ran::try_of(&mut command);
    if let Err(error) = &ran {
        skip(&format!("another user cannot start the binary: {error}"));
    }
    ran.ok()
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_or_written_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 2, 1);
    let open = dir.path().join("open");
    fs::create_dir(&open).expect("room");
    let mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own");
    };
    mode(&open, 0o777);
    let out = open.join("out");
    let run = |out: &Path| {
        let flags = ["build".as_ref(), "--source".as_ref(), tree.as_os_str()];
        let more = ["--size".as_ref(), "8".as_ref(), "--out".as_ref(), out.as_os_str()];
        bound(dir.path(), &[&flags[..], &more[..]].concat())
    };
    // A folder that may be read but not written to.
    let closed = dir.path().join("closed");
    fs::create_dir(&closed).expect("room");
    mode(&closed, 0o555);
    let Some(ran) = run(&closed.join("out")) else { return };
    ran.failed(&["cannot write", "out.partial", "Permission denied", "hint: make room"]);
    assert!(entries(&closed).is_empty());
    // A class that may not be listed.
    let folder = class(&tree, "train", 1);
    mode(&folder, 0o000);
    let ran = run(&out).expect("as before");
    ran.failed(&["cannot read", folder.to_str().expect("UTF-8"), "Permission denied"]);
    // One that may be listed but not entered: each file is told.
    mode(&folder, 0o444);
    let ran = run(&out).expect("as before").failed(&["square_stripes 2 of 2"]);
    assert_eq!(ran.err.matches(".jpg: Permission denied").count(), 2, "{}", ran.err);
    mode(&folder, 0o755);
    assert_eq!(Dataset::load(&out).expect("written").splits[0].per_class, [2, 0]);
}
