//! The built program as a user meets it, a recipe that trains in a blink, and data for it.

use pipeline::{
    pack::{self, PackConfig, PackPolicy},
    synth::{SynthConfig, synth},
};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long a test waits for what takes a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// The eight layers at a width of eight kernels, on crops of 20 px, over `demo`.
const TINY: &str = r"
[data]
stored = 24
crop = 20
[train]
batch = 8
epochs = 3
drop_epochs = []
flat_after = 1000
";

/// A folder with a packed set of three classes, 16 training and 4 validation pictures each, and
/// the recipe `tiny.toml`.
pub(crate) struct Bench {
    dir: TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { dir: tempfile::tempdir().expect("a folder") };
        let config = SynthConfig {
            classes: 3,
            per_class: 16,
            val_per_class: 4,
            seed: 1,
            jobs: 2,
            shorter_side: Some(32),
        };
        synth(&config, &bench.path("tree"), &|_| ()).expect("a tree");
        bench.pack("shards");
        std::fs::write(bench.path("tiny.toml"), tiny()).expect("room");
        bench
    }

    /// Packs the tree into `name`.
    pub(crate) fn pack(&self, name: &str) -> PathBuf {
        let out = self.path(name);
        let config = PackConfig {
            size: 24,
            jobs: 2,
            on_corrupt: PackPolicy::Fail,
            shard_records: 20,
            ..PackConfig::new(self.path("tree"), &out)
        };
        pack::build(&config, &|_| ()).expect("packed");
        out
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `alexnet run` on the packed set with the tiny recipe, to `out`.
    pub(crate) fn run(&self, out: &str, more: &[&str]) -> Command {
        let mut command = self.alexnet(&["run", "--preset", "demo", "--threads", "2"]);
        command.arg("--config").arg(self.path("tiny.toml"));
        command.arg("--data").arg(self.path("shards")).arg("--out").arg(self.path(out));
        if !more.iter().any(|flag| flag.starts_with("--tune")) {
            command.arg("--tune=off"); // emulated GPUs are slow
        }
        command.args(more);
        command
    }

    /// The program, in this folder.
    pub(crate) fn alexnet(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
        command.current_dir(self.dir.path()).args(args).env_remove("RUST_LOG");
        command
    }
}

/// `demo` with eight kernels a layer. Writing to a String cannot fail.
fn tiny() -> String {
    let mut text = TINY.to_owned();
    let conv = [
        ("conv1", 5, 1, false, true),
        ("conv2", 3, 1, false, true),
        ("conv3", 3, 1, true, false),
        ("conv4", 3, 1, false, false),
        ("conv5", 3, 1, false, false),
    ];
    for (name, window, pad, across, pool) in conv {
        let sigma = if name == "conv1" { 0.01 } else { 0.2 };
        let _ = write!(
            text,
            "[[conv]]\nname = \"{name}\"\nkernels = 8\nwindow = {window}\nstride = 1\n\
             pad_before = {pad}\npad_after = {pad}\nacross = {across}\nlrn = {pool}\n\
             pool = {pool}\nsigma = {sigma}\nbias = 0.1\n"
        );
    }
    for name in ["fc6", "fc7"] {
        let _ =
            write!(text, "[[fc]]\nname = \"{name}\"\nunits = 32\nsigma = 0.1\nbias = 0.1\n");
    }
    text
}

/// What a finished program said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs to the end and expects success.
pub(crate) fn succeeds(command: &mut Command) -> Output {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

/// Runs to the end and expects exit code `code`; returns what it said on stderr, where each of
/// `says` must stand.
pub(crate) fn fails(command: &mut Command, code: i32, says: &[&str]) -> String {
    let output = command.output().expect("the program starts");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    for part in says {
        assert!(text.contains(part), "{command:?}: {part:?} is missing in: {text}");
    }
    assert!(!text.contains("panicked"), "{command:?}: {text}");
    text
}

/// Starts the program, with nothing to say.
pub(crate) fn start(command: &mut Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

/// Looks until `there` is true.
pub(crate) fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let began = Instant::now();
    while !there() {
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The checkpoints of a run by step, oldest first.
pub(crate) fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return vec![] };
    let mut steps: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .filter(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("step-"))
        })
        .collect();
    steps.sort();
    steps
}
