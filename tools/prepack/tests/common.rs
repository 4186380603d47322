//! Running the binary, making trees, comparing folders.

use pipeline::synth::{SynthConfig, synth};
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Runs to the end what must be there.
    pub(crate) fn of(command: &mut Command) -> Self {
        Self::try_of(command).expect("it starts")
    }

    /// Runs to the end what may not be there, or not be allowed.
    pub(crate) fn try_of(command: &mut Command) -> io::Result<Self> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        command.output().map(|output| Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        })
    }

    /// The run succeeded.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    /// The run failed with 1 and said all of `words` on stderr.
    #[track_caller]
    pub(crate) fn failed(self, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.err.contains("error: "), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in:\n{}", self.err);
        }
        self
    }
}

/// The binary, with nothing of the environment that would change what it says.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prepack"));
    command.env_remove("RUST_LOG").env_remove("NO_COLOR").env("RUST_BACKTRACE", "0");
    command
}

/// `prepack <name> <path> <flags>`, the flags apart by spaces.
pub(crate) fn prepack(name: &str, path: &Path, flags: &str) -> Ran {
    Ran::of(command().arg(name).arg(path).args(flags.split_whitespace()))
}

/// `prepack build`, to small pictures unless `flags` say otherwise.
pub(crate) fn build(source: &Path, out: &Path, flags: &str) -> Ran {
    let size = if flags.contains("--size") { "" } else { "--size 16" };
    let flags = size.split_whitespace().chain(flags.split_whitespace());
    let (source, out) =
        ([OsStr::new("--source"), source.as_ref()], [OsStr::new("--out"), out.as_ref()]);
    Ran::of(command().arg("build").args(source).args(out).args(flags))
}

/// A tree of procedural JPEGs with a shorter side of 40 pixels.
pub(crate) fn tree(
    dir: &Path, classes: usize, per_class: usize, val_per_class: usize,
) -> PathBuf {
    let tree = dir.join("tree");
    let shorter_side = Some(40);
    let config =
        SynthConfig { classes, per_class, val_per_class, seed: 1, jobs: 2, shorter_side };
    synth(&config, &tree, &|_| ()).expect("room");
    tree
}

/// The folder of a class of such a tree.
pub(crate) fn class(tree: &Path, split: &str, class: usize) -> PathBuf {
    tree.join(split).join(pipeline::synth::class_name(class))
}

/// A PNG of one colour, 12 x 9, whatever its name.
pub(crate) fn flat_png(path: &Path, level: u8) {
    let picture = image::RgbImage::from_pixel(12, 9, image::Rgb([level; 3]));
    picture.save_with_format(path, image::ImageFormat::Png).expect("room");
}

/// All files below a folder with their bytes, by path.
pub(crate) fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).expect("readable");
                found.insert(path.strip_prefix(root).expect("below").into(), bytes);
            }
        }
    }
    found
}

/// What is in a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("readable");
    let mut entries: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    entries.sort();
    entries
}

/// The real pictures that tests may use where they are; else says why they are skipped.
pub(crate) fn test_data(file: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("ALEXNET_DATA").map_or(default, PathBuf::from);
    let path = dir.join(file);
    if path.exists() {
        return Some(path);
    }
    skip(&format!("{} is not there", path.display()));
    None
}

/// Says why a test cannot run here.
#[expect(clippy::print_stdout, reason = "a skipped test says so in the test's own output")]
pub(crate) fn skip(why: &str) {
    println!("SKIP: {why}");
}
