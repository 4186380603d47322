//! Emulated GPUs that are missing, too old, too small, lost or hanging: each ends in one error that says what to
//! do, and costs no checkpoint.

use crate::{
    emulated::{losses, tiny},
    emulator::Emulator,
    program::{Bench, checkpoints, fails, stderr, succeeds},
};

#[test]
fn what_is_missing_is_said_and_what_to_do() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    for (flags, settings, says) in [
        (["--device", "cuda"], [("DEVICES", "0")], ["finds no GPU", "hint: see whether"]),
        (["--gpus", "0"], [("DRIVER", "11080")], ["is for CUDA 11.8", "hint: install driver"]),
        (["--gpus", "1"], [("CAPABILITY", "6.1")], ["capability 6.1", "hint: name a newer"]),
        (["--gpus", "2"], [("DEVICES", "2")], ["there is no GPU 2", "hint: `alexnet doctor`"]),
    ] {
        fails(emulator.on(&mut tiny(&bench, "none", &flags), &settings), 1, &says);
    }
    // Where nothing is asked for, the CPU does.
    let mut command = tiny(&bench, "auto", &[]);
    let output = succeeds(emulator.on(&mut command, &[("DRIVER", "11080")]));
    let text = stderr(&output);
    assert!(text.contains("device: CPU") && text.contains("is for CUDA 11.8"), "{text}");
}

#[test]
fn a_lost_gpu_a_hanging_one_and_one_without_memory_cost_no_checkpoint() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let hang = ("STICK", "1:500");
    for (out, gpus, settings) in [
        ("lost", "0,1", &[("LOSE", "1:500")][..]),
        ("lost-shared", "0,0", &[("LOSE", "0:500")]),
        ("hangs", "0,1", &[hang]),
        ("hangs-staged", "0,1", &[hang, ("PEERS", "0")]),
        ("hangs-pageable", "0,1", &[hang, ("PIN_BYTES_MAX", "30000")]),
    ] {
        let lost = out.starts_with("lost");
        let says = if lost { "CUDA_ERROR_DEVICE_UNAVAILABLE" } else { "waited 2 s in " };
        let mut command = tiny(&bench, out, &["--gpus", gpus, "--patience", "2"]);
        let text = fails(emulator.on(&mut command, settings), 1, &[says]);
        if !lost {
            // Either the GPU that hangs or the one that needs something of it.
            let own = "tower 1 waited 2 s in ";
            let others = ["activations at layer", "gradients at layer"];
            let waits =
                others.iter().any(|what| text.contains(what)) && text.contains(" of tower 1");
            assert!(text.contains(own) || waits, "{text}");
        }
        assert_eq!(text.matches("error:").count(), 1, "{text}");
        assert!(text.contains("hint: pass --resume --out "), "{text}");
        let kept = checkpoints(&bench.path(out)).len();
        assert!((1..6).contains(&kept), "{out}: {kept} checkpoints");
        succeeds(&mut tiny(&bench, out, &["--resume", "--device", "cpu"]));
        assert_eq!(losses(&bench.path(out)).len(), 6, "{out}");
    }
}

#[test]
fn a_gpu_without_room_says_for_what_and_which_batch_fits() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let mut command = tiny(&bench, "full", &["--gpus", "0,0", "--batch", "48"]);
    let says = [
        "gpu 0 has 2 MiB free, and batch 48 needs",
        "weights and velocities",
        "would fit",
        "hint: pass --batch",
    ];
    let text = fails(emulator.on(&mut command, &[("MEMORY_MIB", "2")]), 1, &says);
    let words: Vec<_> = text.split_whitespace().collect();
    let at = words.windows(2).position(|words| words == ["would", "fit"]).expect("said");
    let fits = ["--gpus", "0,0", "--steps", "1", "--batch", words[at - 1]];
    let mut fitting = tiny(&bench, "fits", &fits);
    succeeds(emulator.on(&mut fitting, &[("MEMORY_MIB", "2")]));
    // Activations of half the bytes leave room for the batch that was too large.
    let halves = ["--gpus", "0,0", "--steps", "1", "--batch", "48", "--dtype", "bf16"];
    succeeds(emulator.on(&mut tiny(&bench, "halves", &halves), &[("MEMORY_MIB", "2")]));
}

#[test]
fn a_gpu_that_has_less_room_than_it_says_is_told_and_which_batch_fits() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let mut command = tiny(&bench, "full", &["--gpus", "0", "--batch", "48"]);
    let says = [
        "gpu 0 has no room for",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "batch 48 needs",
        "hint: pass --batch",
    ];
    let text = fails(emulator.on(&mut command, &[("FULL", "20")]), 1, &says);
    let whole = ["weights and velocities", "fit", "MiB are free in all"];
    assert!(whole.iter().all(|part| text.contains(part)), "{text}");
    assert!(
        !bench.path("full").join("checkpoints").exists()
            || checkpoints(&bench.path("full")).is_empty()
    );
}

#[test]
fn parcels_that_cannot_be_pinned_are_told_and_what_to_do() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let says = [
        "of the host's memory",
        "CUDA_ERROR_OUT_OF_MEMORY",
        "hint: raise `ulimit -l`, or carry all towers on one GPU",
    ];
    let settings = [("PEERS", "0"), ("PIN_BYTES_MAX", "600")];
    fails(emulator.on(&mut tiny(&bench, "staged", &["--gpus", "0,1"]), &settings), 1, &says);
    let mut on_one = tiny(&bench, "one", &["--gpus", "0,0", "--steps", "1"]);
    succeeds(emulator.on(&mut on_one, &settings));
}

#[test]
fn a_layer_that_is_wider_than_gpus_normalise_is_refused_before_the_first_step() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let recipe = std::fs::read_to_string(bench.path("tiny.toml")).expect("a recipe");
    let wide = recipe.replacen("kernels = 8", "kernels = 1040", 1);
    std::fs::write(bench.path("tiny.toml"), wide).expect("room");
    let says = [
        "its kernels normalise over 512 channels at most, and a layer has 1040",
        "hint: take fewer kernels, or pass --device cpu",
    ];
    fails(emulator.on(&mut tiny(&bench, "wide", &["--gpus", "0"]), &[]), 1, &says);
    succeeds(&mut tiny(&bench, "on-cpu", &["--device", "cpu", "--steps", "1"]));
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_gives_up_a_gpu_that_hangs() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // Early, by one image; and when several images are on the GPU, each opened by itself.
    for (launch, images) in [("0:5", Some("ptx")), ("0:40", None)] {
        let mut command =
            bench.alexnet(&["doctor", "--gpus", "0", "--preset", "demo", "--json"]);
        command.arg("--config").arg(bench.path("tiny.toml"));
        command.args(["--batch", "1", "--steps", "1", "--dtype", "f32", "--seconds", "3"]);
        let command = emulator.on(&mut command, &[("STICK", launch)]);
        if images.is_none() {
            command.env_remove("ALEXNET_KERNELS");
        }
        let output = command.output().expect("it starts");
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("gpu 0: ") && text.contains("nothing has come of it for 5 s"),
            "{text}"
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["verdict"], "failed", "{report}");
    }
}

#[test]
fn gpus_that_cannot_be_meant_exit_2_and_say_how_many_can() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let says = ["--gpus names 3 devices, and the net has 2 towers: name 1 device, or 2"];
    for command in ["doctor", "run"] {
        let mut command = bench.alexnet(&[command]);
        fails(emulator.on(command.args(["--gpus", "0,1,2"]), &[]), 2, &says);
    }
    for (gpus, says) in [("", "--gpus"), ("x", "invalid"), ("0,", "--gpus"), ("-1", "--gpus")] {
        let mut command = bench.alexnet(&["run", &format!("--gpus={gpus}")]);
        fails(emulator.on(&mut command, &[]), 2, &[says]);
    }
    let mut command = bench.alexnet(&["run", "--gpus", "0", "--device", "cpu"]);
    fails(emulator.on(&mut command, &[]), 2, &["--gpus", "--device"]);
}
