//! `alexnet doctor` on emulated GPUs.

use crate::{
    emulator::Emulator,
    program::{Bench, succeeds},
};
use std::process::Command;

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_finds_an_emulated_pair_sound() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let flags = ["doctor", "--gpus", "0,1", "--preset", "demo", "--batch", "2", "--steps", "1"];
    let mut command = bench.alexnet(&flags);
    command.args(["--dtype", "f32", "--json"]);
    // As users run it: a cubin, and PTX beside it.
    let command = emulator.on(&mut command, &[]).env_remove("ALEXNET_KERNELS");
    let output = succeeds(command);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "sound", "{report}");
    let ops = report["layers"].as_array().expect("layers");
    for (gpu, by) in
        [(0, "sm_80.cubin 128x64"), (0, "compute_80.ptx"), (1, "gpu 1, sm_80.cubin")]
    {
        let tried = ops.iter().filter(|op| op["gpu"] == gpu && op["by"] == by).count();
        assert!(tried > 10, "{by}: {report}");
    }
    assert!(
        ops.len() > 40
            && ops.iter().all(|op| op["apart"].as_f64().is_some_and(|apart| apart < 1e-5)),
        "{report}"
    );
    assert_eq!(report["copies"].as_array().map(Vec::len), Some(7), "{report}");
    assert_eq!(report["speeds"][0]["lines"].as_array().map(Vec::len), Some(8), "{report}");
    assert!(report["pinned"]["needed_bytes"].as_u64() > Some(0), "{report}");
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(0), "{report}");
    let towers = &report["towers"][0];
    assert!(towers["apart_all"].as_f64().is_some_and(|apart| apart < 1e-4), "{report}");
    for gradients in ["gradients_one", "gradients_all", "gradients_all_from_one"] {
        let apart = towers[gradients]["apart"].as_f64();
        assert!(apart.is_some_and(|apart| apart < 1e-4), "{report}");
        assert!(towers[gradients]["tensor"].is_string(), "{report}");
    }
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_tries_libraries_on_every_gpu() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let output = succeeds(emulator.on(&mut tiny(&bench), &[]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "sound", "{report}");
    let ops = report["layers"].as_array().expect("layers");
    for (gpu, by) in [(0, "libraries"), (1, "gpu 1, libraries")] {
        let tried = ops.iter().filter(|op| op["gpu"] == gpu && op["by"] == by).count();
        assert!(tried > 20, "{tried} by {by}: {report}");
    }
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_fails_where_parcels_come_changed() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // GPUs do not wait for what comes.
    let mut command = tiny(&bench);
    let output = emulator.on(&mut command, &[("DROP_WAITS", "1<3")]).output();
    let output = output.expect("the program starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "failed", "{report}");
    let failed = report["failed"].as_str().expect("why");
    assert!(failed.contains("numbers come changed: number"), "{failed}");
    assert_eq!((output.status.code(), &report["copies"]), (Some(1), &serde_json::json!([])));
}

/// `alexnet doctor` of a tiny net on two GPUs, in `f32`.
fn tiny(bench: &Bench) -> Command {
    let mut command = bench.alexnet(&["doctor", "--gpus", "0,1", "--preset", "demo", "--json"]);
    command.arg("--config").arg(bench.path("tiny.toml"));
    command.args(["--batch", "1", "--steps", "1", "--dtype", "f32"]);
    command
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_tries_every_tile_and_all_numbers() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let mut command = bench.alexnet(&["doctor", "--gpus", "0", "--preset", "demo", "--json"]);
    command.arg("--config").arg(bench.path("tiny.toml")).args(["--batch", "1", "--steps", "1"]);
    let output = succeeds(emulator.on(&mut command, &[]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let all = report["layers"].as_array().expect("layers");
    assert_eq!(report["towers"].as_array().map(Vec::len), Some(4), "{report}");
    for (dtype, near) in [("f32", 1e-5), ("tf32", 1e-3), ("bf16", 3e-3), ("f16", 4e-4)] {
        let ops = all.iter().filter(|op| op["dtype"] == dtype);
        let products: Vec<_> = ops.filter(|op| op["gflops"].as_f64() > Some(0.0)).collect();
        let by_tiles = products
            .iter()
            .filter(|op| {
                op["by"].as_str().is_some_and(|by| by.ends_with('4') || by.ends_with("128x128"))
            })
            .count();
        // Two tiles beside the one that the kernel takes by itself.
        assert_eq!((by_tiles * 3, products.len() % 3), (products.len() * 2, 0), "{report}");
        let apart = |op: &&serde_json::Value| op["apart"].as_f64().expect("a number");
        assert!(products.iter().all(|op| apart(op) < near), "{report}");
        let rounded = products.iter().filter(|op| apart(op) > 1e-5).count();
        assert_eq!(rounded > products.len() / 2, dtype != "f32", "{report}");
    }
}
