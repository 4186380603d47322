//! `alexnet doctor` on emulated GPUs.

use crate::{
    emulator::Emulator,
    program::{Bench, succeeds},
};

#[test]
fn doctor_finds_an_emulated_pair_sound() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let flags = ["doctor", "--gpus", "0,1", "--preset", "demo", "--batch", "2", "--steps", "1"];
    let mut command = bench.alexnet(&flags);
    let output = succeeds(emulator.on(command.arg("--json"), &[]));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let ops = report["layers"].as_array().expect("layers");
    assert!(
        ops.len() > 40
            && ops.iter().all(|op| op["apart"].as_f64().is_some_and(|apart| apart < 1e-5)),
        "{report}"
    );
    assert_eq!(report["copies"].as_array().map(Vec::len), Some(6), "{report}");
    assert_eq!(report["speeds"]["lines"].as_array().map(Vec::len), Some(8), "{report}");
    assert!(report["pinned"]["needed_bytes"].as_u64() > Some(0), "{report}");
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(0), "{report}");
    assert!(
        report["towers"]["apart_all"].as_f64().is_some_and(|apart| apart < 1e-4),
        "{report}"
    );
}

#[test]
fn doctor_tries_every_tile_and_all_numbers() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    for (dtype, near) in [("f32", 1e-5), ("tf32", 1e-3), ("bf16", 3e-3), ("f16", 4e-4)] {
        let mut command =
            bench.alexnet(&["doctor", "--gpus", "0", "--preset", "demo", "--json"]);
        command.arg("--config").arg(bench.path("tiny.toml"));
        command.args(["--batch", "1", "--steps", "1", "--dtype", dtype]);
        let output = succeeds(emulator.on(&mut command, &[]));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let ops = report["layers"].as_array().expect("layers");
        let products: Vec<_> =
            ops.iter().filter(|op| op["gflops"].as_f64() > Some(0.0)).collect();
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
