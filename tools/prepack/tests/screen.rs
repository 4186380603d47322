//! What goes to stdout, what to stderr, and what a terminal sees.

use crate::common::{Ran, build, class, command, skip, tree};
use std::{fs, path::Path, process::Command};

#[test]
fn results_go_to_stdout_and_the_rest_to_stderr_without_colours() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 2, 1), dir.path().join("out"));
    fs::write(class(&tree, "train", 0).join("bad"), "").expect("room");
    let Ran { out: said, err, .. } = build(&tree, &out, "");
    let wanted = "out: 4 train, 2 val, 2 classes, 2 shards (raw, 16 px), 1 file left out\n";
    assert!(said.ends_with(wanted) && said.lines().count() == 1, "{said}");
    assert!(err.contains("packed 7 images in 0:0"), "{err}");
    assert!(!err.contains(['\x1b', '\r']), "{err:?}");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = tempfile::tempdir().expect("a folder");
    let (tree, out) = (tree(dir.path(), 2, 1, 0), dir.path().join("out"));
    let mut command = command();
    command
        .arg("build")
        .arg("--source")
        .arg(&tree)
        .arg("--out")
        .arg(&out)
        .args(["--size", "8"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let errors = writer.try_clone().expect("a pipe");
    let status = command.stdout(writer).stderr(errors).status().expect("it starts");
    assert_eq!(status.code(), Some(0));
    assert!(out.join("dataset.json").exists());
}

/// Runs `prepack build` on a terminal made by script(1).
#[cfg(target_os = "linux")]
fn on_a_terminal(tree: &Path, out: &Path, no_color: bool) -> Option<String> {
    let exe = env!("CARGO_BIN_EXE_prepack");
    let (tree, out) = (tree.display(), out.display());
    let line = format!("{exe} build --source {tree} --out {out} --size 8");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
    if no_color {
        command.env("NO_COLOR", "1");
    }
    let output = command.output();
    if output.is_err() {
        skip("there is no script(1) to make a terminal");
    }
    output.ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(target_os = "linux")]
#[test]
fn a_terminal_sees_a_bar_in_colours_unless_it_asks_for_none() {
    const COLOUR: &str = "\x1b[3"; // foreground colours
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 2, 30, 0);
    fs::write(class(&tree, "train", 0).join("bad"), "").expect("room");
    let Some(seen) = on_a_terminal(&tree, &dir.path().join("colours"), false) else { return };
    assert!(
        seen.contains("packing ") && seen.contains("/61") && seen.contains("ETA"),
        "{seen}"
    );
    assert!(seen.contains(COLOUR), "{seen}");
    let seen = on_a_terminal(&tree, &dir.path().join("plain"), true).expect("as before");
    assert!(seen.contains("packing ") && seen.contains("left out"), "{seen}");
    assert!(!seen.contains(COLOUR), "{seen}");
}
