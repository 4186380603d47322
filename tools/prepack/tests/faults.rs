//! Full disks, places that cannot be written, and runs that are killed: `out` is whole or absent, and
//! what stays is cleared by the next run.

use crate::common::{Ran, build, command, entries, files, prepack, skip, tree};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

#[test]
fn what_exists_is_not_touched() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 1, 0), dir.path().join("out"));
    build(&tree, &out, "").well();
    let before = files(&out);
    let words = ["out exists already", "hint: pass another --out, or remove"];
    build(&tree, &out, "--encoding jpeg").failed(&words);
    assert!(files(&out) == before);
    let file = dir.path().join("file");
    fs::write(&file, "precious").expect("room");
    build(&tree, &file, "").failed(&["file exists already"]);
    assert_eq!(fs::read(&file).expect("a file"), b"precious");
    build(&tree, &tree, "").failed(&["tree exists already"]);
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).expect("room");
    build(&tree, &empty, "").well();
    assert!(files(&empty) == before);
}

#[test]
fn a_place_that_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 1, 0);
    fs::write(dir.path().join("file"), "").expect("room");
    let under = dir.path().join("file/out");
    let words = ["cannot write", "file/out", "Not a directory", "hint: make room"];
    build(&tree, &under, "").failed(&words);
    if cfg!(target_os = "linux") {
        build(&tree, Path::new("/proc/nobody/out"), "")
            .failed(&["cannot write /proc/nobody/out"]);
    }
    let words = ["cannot write", "a folder without a name"];
    build(&tree, &dir.path().join("file/.."), "").failed(&["cannot write"]);
    build(&tree, Path::new("/nowhere/.."), "").failed(&words);
    assert_eq!(entries(dir.path()).len(), 2);
}

/// Runs `prepack` with files limited to `blocks` of 512 or 1024 bytes, whichever the shell counts in:
/// a longer write is an error, as on a full disk.
#[cfg(unix)]
fn limited(blocks: usize) -> Command {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script]).arg(env!("CARGO_BIN_EXE_prepack")).env("RUST_BACKTRACE", "0");
    limited
}

#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 6, 0), dir.path().join("out"));
    let fails = |blocks, flags: &str, file: &str| {
        let mut command = limited(blocks);
        command.arg("build").arg("--source").arg(&tree).arg("--out").arg(&out);
        let words = ["cannot pack", file, "because: File too large", "hint: make room"];
        Ran::of(command.args(flags.split_whitespace())).failed(&words);
        assert_eq!(entries(dir.path()), std::slice::from_ref(&tree), "{flags}");
    };
    fails(40, "--size 256", "cannot write"); // among the records: they do not fit the buffer
    fails(40, "--size 64", "out.partial/train-00000.shard"); // at the end of the shard
    // Small shards, and sums over their pixels that take more room as text.
    fails(60, "--size 64 --encoding jpeg --quality 5", "out.partial/manifest");
    build(&tree, &out, "").well();
}

#[cfg(unix)]
#[test]
fn procedural_pictures_that_do_not_fit_leave_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut command = limited(1);
    command.args(["synth", "--per-class", "3", "--side", "200", "--out"]);
    let words = ["cannot make the procedural images", "cannot write", "hint: make room"];
    Ran::of(command.arg(dir.path().join("out"))).failed(&words);
    assert_eq!(entries(dir.path()).len(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_that_is_too_small_is_told_before_anything_is_packed() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, disk) = (tree(dir.path(), 2, 12, 0), dir.path().join("disk"));
    fs::create_dir(&disk).expect("room");
    // A mount of its own that goes with the process; 77 if that is not allowed.
    let script = "mount -t tmpfs -o size=200k none \"$1\" 2>/dev/null || exit 77
        \"$0\" build --source \"$2\" --out \"$1/out\" --size 64; code=$?
        ls -A \"$1\"; exit $code";
    let run = |unshare: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(unshare).args(["sh", "-c", script]).arg(env!("CARGO_BIN_EXE_prepack"));
        let ran = Ran::try_of(command.args([&disk, &tree]).env("RUST_BACKTRACE", "0")).ok()?;
        (ran.code != Some(77) && !ran.err.starts_with("unshare")).then_some(ran)
    };
    let ran = run(&["--mount"]).or_else(|| run(&["--user", "--map-root-user", "--mount"]));
    let Some(ran) = ran else { return skip("this user cannot mount a small file system") };
    let ran = ran.failed(&["out.partial: 29", "bytes are needed, and", "hint: make room"]);
    assert_eq!(ran.out, "", "nothing stays on the disk");
}

#[cfg(unix)]
#[test]
fn a_killed_run_leaves_what_the_next_one_clears() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 60, 0), dir.path().join("out"));
    let partial = dir.path().join("out.partial");
    let mut command = command();
    command.arg("build").arg("--source").arg(&tree).arg("--out").arg(&out);
    // Seconds of work, of which it gets to do very little.
    command.args(["--jobs", "1", "--size", "2048", "--encoding", "original"]);
    let mut child = command.stderr(Stdio::null()).spawn().expect("it starts");
    let begun = Instant::now();
    while !partial.join("train-00000.shard").exists()
        && begun.elapsed() < Duration::from_secs(20)
    {
        thread::sleep(Duration::from_millis(1));
    }
    let busy = build(&tree, &out, "");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(partial.exists() && !out.exists(), "killed half-way");
    busy.failed(&["another process is writing", "hint: wait for the other process"]);
    build(&tree, &out, "").well();
    assert!(!partial.exists());
    prepack("verify", &out, "").well();
}
