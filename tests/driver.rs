//! `alexnet run` and the emulated driver: which image of the kernels each GPU is handed, which drivers take it, and
//! what is asked of the driver in a step.

use crate::{
    emulated::{losses, losses_apart, same, tiny},
    emulator::Emulator,
    program::{Bench, fails, stderr, succeeds},
};
use std::{collections::BTreeMap, process::Command};

/// As users run it: `ALEXNET_KERNELS` is not set.
fn as_users<'a>(
    emulator: &Emulator, command: &'a mut Command, settings: &[(&str, &str)],
) -> &'a mut Command {
    emulator.on(command, settings).env_remove("ALEXNET_KERNELS")
}

#[test]
fn every_gpu_is_handed_the_image_that_it_takes() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu", "--steps", "2"]));
    for (capability, image) in [
        ("7.0", "sm_70.cubin"),
        ("7.5", "sm_75.cubin"),
        ("8.0", "sm_80.cubin"),
        ("8.6", "sm_86.cubin"),
        ("8.7", "compute_80.ptx"),
        ("8.9", "sm_89.cubin"),
        ("9.0", "sm_90.cubin"),
        ("10.3", "sm_100.cubin"),
        ("11.0", "compute_80.ptx"),
        ("12.1", "sm_120.cubin"),
    ] {
        let mut command = tiny(&bench, capability, &["--gpus", "0,1", "--steps", "2"]);
        let output = succeeds(as_users(&emulator, &mut command, &[("CAPABILITY", capability)]));
        let says = stderr(&output);
        assert!(says.contains(&format!("kernels {image}")), "{capability}: {says}");
        same(&bench.path("cpu"), &bench.path(capability), capability);
    }
    // Before tensor cores, halves are widened and multiplied as floats.
    for dtype in ["bf16", "f16"] {
        let [old, new] = ["7.5", "8.0"].map(|capability| {
            let out = format!("{dtype}-{capability}");
            let mut command =
                tiny(&bench, &out, &["--gpus", "0", "--steps", "2", "--dtype", dtype]);
            succeeds(as_users(&emulator, &mut command, &[("CAPABILITY", capability)]));
            losses(&bench.path(&out))
        });
        let apart = losses_apart(&old, &new)[1];
        assert!(apart < 1e-3, "{dtype}: losses differ by {apart:e}");
    }
}

#[test]
fn ptx_wants_a_driver_that_compiles_it_and_cubins_do_not() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let old = [("DRIVER", "12030")];
    let says = [
        "the NVIDIA driver is for CUDA 12.3, and to compile the kernels' PTX takes 12.4",
        "hint: install driver 550 or newer",
    ];
    fails(emulator.on(&mut tiny(&bench, "ptx", &["--gpus", "0"]), &old), 1, &says);
    let mut command = tiny(&bench, "cubin", &["--gpus", "0", "--steps", "1"]);
    succeeds(as_users(&emulator, &mut command, &old));
    // What nothing needs is told, and is no fault of the GPU's.
    let mut command = bench.alexnet(&["doctor", "--gpus", "0", "--preset", "demo", "--json"]);
    command.arg("--config").arg(bench.path("tiny.toml"));
    command.args(["--batch", "1", "--steps", "1", "--dtype", "f32"]);
    let output = succeeds(as_users(&emulator, &mut command, &old));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["verdict"], "sound", "{report}");
    let remark = "compute_80.ptx was not tried: the NVIDIA driver is for CUDA 12.3";
    assert!(report["remarks"].to_string().contains(remark), "{report}");
}

/// What a step asks of the driver. To wait is to ask `cuStreamQuery` until it has come; an event is looked at.
const EACH_STEP: [&str; 12] = [
    "cuCtxSetCurrent",
    "cuEventElapsedTime",
    "cuEventQuery",
    "cuEventRecord",
    "cuGraphLaunch",
    "cuLaunchKernel",
    "cuMemcpy2DAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyPeerAsync",
    "cuStreamWaitEvent",
];

#[test]
fn steps_allocate_nothing_and_wait_for_nothing() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // One epoch; the second step records graphs.
    let calls = |out: &str, steps: &str, dtype: &str| -> BTreeMap<String, u64> {
        let file = bench.path(&format!("{out}.calls"));
        let flags = ["--gpus", "0,1", "--steps", steps, "--dtype", dtype];
        let mut command = bench.run(out, &flags);
        command.args(["--checkpoint-every", "100"]);
        let path = file.to_str().expect("a path");
        succeeds(emulator.on(&mut command, &[("CALLS", path)]));
        let text = std::fs::read_to_string(&file).expect("what was called");
        let pair = |line: &str| {
            let (name, calls) = line.split_once(' ').expect("a name and a number");
            (name.to_owned(), calls.parse().expect("a number"))
        };
        text.lines().map(pair).collect()
    };
    for dtype in ["f32", "f16"] {
        let [few, more] = [("few", "3"), ("more", "5")]
            .map(|(out, steps)| calls(&format!("{out}-{dtype}"), steps, dtype));
        assert!(few["cuGraphLaunch"] < more["cuGraphLaunch"], "{more:?}");
        for (name, calls) in &more {
            let often = EACH_STEP.contains(&name.as_str());
            assert!(often || few.get(name) == Some(calls), "{name}: {few:?} and {more:?}");
        }
        assert!(more["cuStreamQuery"] > 0, "what waits is counted: {more:?}");
        assert!(
            more.contains_key("cuMemAlloc_v2") && more.contains_key("cuMemHostAlloc"),
            "{more:?}"
        );
    }
}
