//! Rules of the house that a compiler does not see.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where `unsafe` may stand: mapped files, the ring's cells, the files of vector instructions, what calls
/// the CUDA driver, the emulation of kernels and of the driver, and the allocator of a test that counts.
const UNSAFE: [&str; 49] = [
    "pipeline/src/shard.rs",
    "pipeline/src/ring.rs",
    "pipeline/src/jpeg/entropy/bmi2.rs",
    "pipeline/src/jpeg/idct/avx2.rs",
    "pipeline/src/jpeg/idct/avx512.rs",
    "pipeline/src/jpeg/upsample.rs",
    "pipeline/src/jpeg/colour/avx2.rs",
    "pipeline/src/jpeg/colour/avx512.rs",
    "pipeline/src/augment/avx2.rs",
    "pipeline/src/augment/avx512.rs",
    "gpu/src/cpu/amx/mod.rs",
    "gpu/src/cpu/amx/tasks.rs",
    "gpu/src/cpu/simd.rs",
    "gpu/src/cpu/tile.rs",
    "gpu/src/cpu/pairs.rs",
    "gpu/src/cpu/vector/mod.rs",
    "gpu/src/cpu/vector/avx2.rs",
    "gpu/src/cpu/vector/avx512.rs",
    "gpu/src/cuda/probe.rs",
    "gpu/src/cuda/context.rs",
    "gpu/src/cuda/memory.rs",
    "gpu/src/cuda/module.rs",
    "gpu/src/cuda/graph.rs",
    "gpu/src/cuda/parcel.rs",
    "gpu/src/cuda/board.rs",
    "gpu/src/cuda/steps.rs",
    "gpu/src/cuda/measure.rs",
    "gpu/src/cuda/libraries/load.rs",
    "gpu/src/cuda/libraries/cudnn.rs",
    "gpu/src/cuda/libraries/shapes.rs",
    "gpu/src/cuda/libraries/cublas.rs",
    "gpu/src/cuda/libraries/call.rs",
    "gpu/src/cuda/libraries/check.rs",
    "gpu/src/cuda/testing.rs",
    "gpu/hostemu/src/lib.rs",
    "gpu/hostemu/src/memory.rs",
    "gpu/hostemu/src/program.rs",
    "tools/emucuda/src/memory.rs",
    "tools/emucuda/src/module.rs",
    "tools/emucuda/src/image.rs",
    "tools/emucuda/src/calls.rs",
    "tools/emucuda/src/api_device.rs",
    "tools/emucuda/src/api_memory.rs",
    "tools/emucuda/src/api_module.rs",
    "tools/emucuda/src/api_cudnn.rs",
    "tools/emucuda/src/operands.rs",
    "tools/emucuda/src/cudnn.rs",
    "tools/emucuda/src/cublas.rs",
    "tests/memory.rs",
];
/// Lines of a file at most.
const LINES_MAX: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, relative to the workspace.
fn sources(folder: &str) -> Vec<(String, String)> {
    files(folder, &["rs"])
}

/// Every file below `folder` with one of these endings.
fn files(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let mut found = vec![];
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|found| endings.iter().any(|ending| found == *ending))
            {
                let name = path.strip_prefix(root()).expect("below the workspace");
                let text = fs::read_to_string(&path).expect("text");
                found.push((name.to_string_lossy().into_owned(), text));
            }
        }
    }
    found
}

fn all() -> Vec<(String, String)> {
    ["src", "pipeline", "gpu", "tools", "fuzz", "tests"].into_iter().flat_map(sources).collect()
}

/// The crates of ours that a manifest depends on.
fn ours(manifest: &str) -> Vec<&'static str> {
    let path: PathBuf = root().join(manifest);
    let text = fs::read_to_string(path).expect("a manifest");
    let table: toml::Table = text.parse().expect("TOML");
    let names = ["dependencies", "build-dependencies"].into_iter().filter_map(|kind| {
        let dependencies = table.get(kind)?.as_table()?;
        Some(dependencies.keys().cloned().collect::<Vec<_>>())
    });
    let names: Vec<String> = names.flatten().collect();
    let all = ["alexnet", "emucuda", "gpu", "hostemu", "pipeline", "prepack", "xtask"];
    all.into_iter().filter(|name| names.iter().any(|found| found == name)).collect()
}

#[test]
fn crates_depend_on_each_other_only_as_the_house_is_drawn() {
    assert_eq!(ours("gpu/Cargo.toml"), Vec::<&str>::new());
    assert_eq!(ours("gpu/hostemu/Cargo.toml"), Vec::<&str>::new());
    assert_eq!(ours("pipeline/Cargo.toml"), Vec::<&str>::new());
    assert_eq!(ours("Cargo.toml"), ["gpu", "pipeline"]);
    assert_eq!(ours("tools/emucuda/Cargo.toml"), ["hostemu"]);
    assert_eq!(ours("tools/prepack/Cargo.toml"), ["pipeline"]);
    assert_eq!(ours("tools/xtask/Cargo.toml"), Vec::<&str>::new());
}

#[test]
fn unsafe_stands_only_where_it_is_expected() {
    let keyword = concat!("uns", "afe");
    for (name, text) in all() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != '_'));
        let found = uses.into_iter().any(|word| word == keyword);
        assert!(!found || UNSAFE.contains(&name.as_str()), "{name}: {keyword}");
    }
}

#[test]
fn every_file_begins_by_saying_what_it_is_and_none_sprawls() {
    for (name, text) in all() {
        assert!(text.lines().count() <= LINES_MAX, "{name}: over {LINES_MAX} lines");
        // A test module in a file of its own is said where it is declared.
        let told = text.starts_with("//!") || name.ends_with("/tests.rs");
        assert!(told, "{name}: no module documentation");
    }
}

#[test]
fn every_kernel_file_says_what_it_is_none_sprawls_and_assembly_has_its_place() {
    for (name, text) in files("gpu", &["cu", "cuh", "cpp", "h"]) {
        assert!(text.lines().count() <= LINES_MAX, "{name}: over {LINES_MAX} lines");
        assert!(text.starts_with("//"), "{name}: does not say what it is");
        let assembly = ["gpu/src/cuda/prim.cuh", "gpu/hostemu/src/emu.cpp"];
        assert!(!text.contains("asm") || assembly.contains(&name.as_str()), "{name}: assembly");
    }
}

#[test]
fn the_data_plane_has_no_runtime_no_mutex_and_no_unbounded_channel() {
    for (name, text) in sources("pipeline/src").into_iter().chain(sources("gpu/src")) {
        for word in ["tokio::", "Mutex", "RwLock", "unbounded("] {
            assert!(!text.contains(word), "{name}: {word}");
        }
    }
    for (name, text) in sources("src") {
        let supervisor = ["src/supervisor.rs", "src/event.rs"].contains(&name.as_str());
        assert!(supervisor || !text.contains("async "), "{name}: async");
        assert!(!text.contains("unbounded_channel"), "{name}: an unbounded channel");
    }
}
