//! `alexnet run` where cuDNN and cuBLAS are found: the numbers are the CPU's, every size, stride and address is
//! held to what it must be, and a library that is wrong, lacks something or fails is left out.

use crate::{
    emulated::{ROUNDING, demo, losses, losses_apart, same, tiny, weights_apart},
    emulator::Emulator,
    program::{Bench, fails, stderr, succeeds},
};
use std::path::Path;

/// What the stand-ins say of a call that no library would take as it is meant.
const COMPLAINTS: [&str; 2] = ["emucuda: cuDNN", "emucuda: cuBLAS"];

/// What the program said, without complaints.
fn says(output: &std::process::Output) -> String {
    let text = stderr(output);
    for complaint in COMPLAINTS {
        assert!(!text.contains(complaint), "{text}");
    }
    text
}

#[test]
fn libraries_train_demo_as_the_cpu_does() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let cpu = ["--steps", "10", "--device", "cpu", "--threads", "2", "--towers"];
    succeeds(demo(&bench, "one", &cpu).arg("1"));
    succeeds(demo(&bench, "two", &cpu).arg("2"));
    let gpus = ["--steps", "10", "--gpus", "0,1"];
    let output = succeeds(emulator.on(&mut demo(&bench, "gpus", &gpus), &[]));
    let text = says(&output);
    assert!(text.contains("cuDNN 9.21.0, cuBLAS 12.9.1"), "{text}");
    assert!(!text.contains("own kernel"), "{text}");
    let found = losses(&bench.path("gpus"));
    // Where a near-tie goes one way on one device and the other on two, libraries go with one of them.
    let apart = |cpu| losses_apart(&found, &losses(&bench.path(cpu)))[9];
    let near = apart("one").min(apart("two"));
    assert!(near < ROUNDING, "losses of 10 steps differ by {near:e}");
}

#[test]
fn libraries_are_used_and_give_the_same_bits_whatever_the_delays() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu"]));
    let runs =
        [("two", "0,1", "1"), ("again", "0,1", "7"), ("shared", "0,0", "1"), ("one", "0", "1")];
    for (out, gpus, seed) in runs {
        let mut command = tiny(&bench, out, &["--gpus", gpus]);
        let text = says(&succeeds(emulator.on(&mut command, &[("SEED", seed)])));
        assert!(!text.contains("own kernel"), "{out}: {text}");
        same(&bench.path("cpu"), &bench.path(out), out);
    }
    assert_eq!(losses(&bench.path("two")), losses(&bench.path("again")));
    assert!(weights_apart(&bench.path("two"), &bench.path("again")).iter().all(|w| w.0 == 0.0));
    // Off, they are not there; what they make is rounded otherwise, so they were used.
    let mut command = tiny(&bench, "off", &["--gpus", "0,1"]);
    let output = succeeds(emulator.on(&mut command, &[]).env("ALEXNET_LIBRARIES", "off"));
    assert!(!says(&output).contains("cuDNN"), "{}", stderr(&output));
    assert_ne!(losses(&bench.path("two")), losses(&bench.path("off")));
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn halves_and_tf32_are_multiplied_by_libraries_as_by_us() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    // Halves are rounded once more where a bias follows; factors of tf32 are cut, and not rounded.
    for (dtype, near) in [("bf16", 4e-3), ("f16", 5e-4), ("tf32", 1e-3)] {
        let run = |out: &str, libraries: &str, seed: &str| {
            let flags = ["--gpus", "0,1", "--dtype", dtype, "--steps", "3"];
            let mut command = tiny(&bench, out, &flags);
            let command = emulator.on(&mut command, &[("SEED", seed)]);
            says(&succeeds(command.env("ALEXNET_LIBRARIES", libraries)))
        };
        let [by_libraries, again, ours] =
            ["libraries", "again", "ours"].map(|name| format!("{dtype}-{name}"));
        let text = run(&by_libraries, "auto", "1");
        assert!(text.contains("cuDNN 9.21.0, cuBLAS 12.9.1"), "{text}");
        assert!(!text.contains("own kernel"), "{dtype}: {text}");
        run(&again, "auto", "7");
        run(&ours, "off", "1");
        let [by_libraries, again, ours] =
            [by_libraries, again, ours].map(|name| losses(&bench.path(&name)));
        assert_eq!(by_libraries, again, "{dtype}");
        let apart = losses_apart(&by_libraries, &ours).pop().expect("steps");
        assert!(apart > 0.0 && apart < near, "{dtype}: losses differ by {apart:e}");
    }
}

#[test]
fn a_library_that_makes_other_halves_is_left_out_by_name() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    for (fault, wanted) in [("wrong:data", ": cuDNN makes "), ("wrong:gemm", ": cuBLAS makes ")]
    {
        for dtype in ["bf16", "f16", "tf32"] {
            let out = format!("{dtype}-{}", fault.replace(':', "-"));
            let flags = ["--gpus", "0", "--dtype", dtype, "--steps", "1"];
            let mut command = tiny(&bench, &out, &flags);
            let text = says(&succeeds(emulator.on(&mut command, &[("LIBRARY", fault)])));
            assert!(text.contains(wanted), "{dtype}, {fault}: {text}");
        }
    }
}

#[test]
fn a_library_that_is_wrong_or_fails_is_left_out_by_name() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu", "--steps", "2"]));
    for (fault, wanted) in [
        (
            "wrong:forward",
            "gpu 1: conv1 forward, conv2 forward, conv3 and conv4 and conv5 forward: cuDNN",
        ),
        ("wrong:data", "conv2 backward to data, conv3 and conv4 and conv5 backward to data"),
        (
            "wrong:weight",
            "cuDNN makes 1.0e-2 of something else; the program's own kernel is used",
        ),
        ("wrong:gemm", "gpu 0: fc6 forward, fc6 backward to data, fc7 "),
        ("none:data", "cuDNN has no algorithm that always gives the same bits"),
        ("hungry:weight", "in 128 MiB of workspace"),
        ("refuse:forward", "cuDNN refused: a convolution: CUDNN_STATUS_NOT_SUPPORTED"),
        ("refuse:gemm", "cuBLAS refused: cublasGemmEx: CUBLAS_STATUS_NOT_SUPPORTED"),
        ("closed:cudnn", "cuDNN 9.21.0 is there and cannot be used: cudnnCreate"),
        ("closed:cublas", "cuBLAS 12.9.1 is there and cannot be used: cublasCreate"),
    ] {
        let out = fault.replace(':', "-");
        let mut command = tiny(&bench, &out, &["--gpus", "0,1", "--steps", "2"]);
        let text = says(&succeeds(emulator.on(&mut command, &[("LIBRARY", fault)])));
        assert!(text.contains(wanted), "{fault}: {text}");
        same(&bench.path("cpu"), &bench.path(&out), fault);
    }
}

#[test]
fn a_library_that_is_too_old_or_something_else_is_named_and_not_needed() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let mut command = tiny(&bench, "old", &["--gpus", "0", "--steps", "1"]);
    let text = says(&succeeds(emulator.on(&mut command, &[("CUDNN", "8907")])));
    assert!(text.contains("cuDNN 8.9.7 is too old: cuDNN 9.0.0 is needed"), "{text}");
    // A library of another kind under its name.
    emulator.link("libcudnn.so.9", Path::new("/lib/x86_64-linux-gnu/libm.so.6"));
    let mut command = tiny(&bench, "other", &["--gpus", "0", "--steps", "1"]);
    let text = says(&succeeds(emulator.on(&mut command, &[])));
    assert!(text.contains("libcudnn.so.9 has no cudnnGetVersion"), "{text}");
    let output = emulator.on(&mut bench.alexnet(&["doctor", "--gpus", "9"]), &[]).output();
    let text = String::from_utf8(output.expect("the program starts").stdout).expect("text");
    assert!(text.contains("libcudnn.so.9 has no cudnnGetVersion"), "{text}");
    assert!(text.contains("cuBLAS 12.9.1 (libcublas.so.12)"), "{text}");
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn doctor_holds_libraries_to_the_cpu_and_ends_in_time() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let doctor = |more: &[&str], settings: &[(&str, &str)]| -> serde_json::Value {
        let mut command =
            bench.alexnet(&["doctor", "--gpus", "0", "--preset", "demo", "--json"]);
        command.arg("--config").arg(bench.path("tiny.toml"));
        command.args(["--batch", "2", "--steps", "1", "--dtype", "f32"]).args(more);
        let output = emulator.on(&mut command, settings).output().expect("it starts");
        assert_eq!(output.status.success(), !more.contains(&"--seconds"), "{}", says(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let by_libraries = |report: &serde_json::Value| {
        let ops = report["layers"].as_array().expect("layers").clone();
        assert!(
            ops.iter().all(|op| op["apart"].as_f64().is_some_and(|apart| apart < 1e-5)),
            "{report}"
        );
        ops.iter().filter(|op| op["by"] == "libraries").count()
    };
    let report = doctor(&[], &[]);
    assert_eq!(report["libraries"]["cuDNN"], "cuDNN 9.21.0");
    // Conv1 both ways, three passes of four more, two of three linear layers: of one device.
    assert_eq!(by_libraries(&report), 2 + 4 * 3 + 3 * 2, "{report}");
    assert!(report["speeds"][0]["lines"][0]["ms_libraries"].as_f64() > Some(0.0), "{report}");
    // What is wrong is left out, and said.
    let report = doctor(&[], &[("LIBRARY", "wrong:data")]);
    assert_eq!(by_libraries(&report), 2 + 4 * 2 + 3 * 2, "{report}");
    assert!(report["remarks"].to_string().contains("cuDNN makes 1.0e-2"), "{report}");
    // There is time for something, and what there is none for is named: nothing is proven then.
    let report = doctor(&["--seconds", "1"], &[]);
    let skipped = report["skipped"].as_array().expect("a list");
    assert!(skipped.last().is_some_and(|last| last.to_string().contains("towers")), "{report}");
    assert_eq!(report["verdict"], "incomplete", "{report}");
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn the_fastest_ways_are_kept_with_the_run_and_for_others() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let cache = bench.path("cache.txt");
    let run = |out: &str, more: &[&str], settings: &[(&str, &str)]| {
        let mut command = tiny(&bench, out, &[&["--gpus", "0,1"], more].concat());
        let output = succeeds(emulator.on(command.env("ALEXNET_TUNING", &cache), settings));
        says(&output)
    };
    let kept = |out: &str| std::fs::read_to_string(bench.path(out).join("tuning.txt"));
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu"]));
    run("timed", &["--tune"], &[]);
    same(&bench.path("cpu"), &bench.path("timed"), "timed");
    let timed = kept("timed").expect("a record");
    let of_gpu =
        "Emulated GPU 1, driver 12090, compute_80.ptx, f32, cuDNN 9.21.0, cuBLAS 12.9.1\tconv";
    assert!(timed.contains(of_gpu), "{timed}");
    assert_eq!(std::fs::read_to_string(&cache).expect("a cache"), timed);
    // What another run has timed is taken as it stands, and recorded: here, our kernels for everything.
    let own: Vec<String> = timed
        .lines()
        .map(|line| {
            line.rsplit_once('\t').map_or(line.into(), |(what, _)| format!("{what}\town"))
        })
        .collect();
    let own = own.join("\n") + "\n";
    let by_us = own.clone();
    std::fs::write(&cache, &own).expect("room");
    run("own", &["--tune", "--steps", "3"], &[]);
    assert_eq!(kept("own").expect("a record"), own);
    // A run that goes on computes as it began, whatever others have timed meanwhile.
    std::fs::write(&cache, &timed).expect("room");
    run("own", &["--resume"], &[]);
    let mut command = tiny(&bench, "off", &["--gpus", "0,1"]);
    succeeds(emulator.on(&mut command, &[]).env("ALEXNET_LIBRARIES", "off"));
    assert_eq!(losses(&bench.path("own")), losses(&bench.path("off")));
    // What was timed elsewhere is timed again, and so is what cannot be read, which is said.
    run("newer", &["--tune", "--steps", "1"], &[("DRIVER", "12100")]);
    assert!(kept("newer").expect("a record").contains("driver 12100"));
    std::fs::write(&cache, "junk").expect("room");
    let text = run("again", &["--tune", "--steps", "1"], &[]);
    assert!(text.contains("timings of this version: timed again"), "{text}");
    assert!(kept("again").expect("a record").contains(of_gpu));
    // Without it, nothing is timed.
    run("plain", &["--tune=off", "--steps", "1"], &[]);
    assert!(kept("plain").is_err());
    // By themselves, tiles of what no library makes: gradients of inputs, which this one makes wrongly.
    std::fs::remove_file(&cache).expect("a cache");
    run("tiles", &["--tune=tiles", "--steps", "1"], &[("LIBRARY", "wrong:data")]);
    let timed = kept("tiles").expect("a record");
    let lines: Vec<_> = timed.lines().skip(1).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line.contains("\town")), "{timed}");
    // What libraries make is not what others have timed: these have libraries, and own kernels, everywhere.
    std::fs::write(&cache, &by_us).expect("room");
    run("others", &["--tune=tiles", "--steps", "1"], &[]);
    assert_eq!(losses(&bench.path("others")), losses(&bench.path("plain")));
}

#[test]
fn what_computes_a_run_is_recorded_and_a_change_is_told() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    succeeds(emulator.on(&mut tiny(&bench, "run", &["--gpus", "0", "--steps", "1"]), &[]));
    let mut command = tiny(&bench, "run", &["--resume", "--gpus", "0", "--steps", "2"]);
    let output = succeeds(emulator.on(&mut command, &[]).env("ALEXNET_LIBRARIES", "off"));
    let wanted = "was computed by cuDNN 9.21.0, cuBLAS 12.9.1 until now, and here it is by our own kernels";
    assert!(says(&output).contains(wanted), "{}", stderr(&output));
    let mut command = tiny(&bench, "run", &["--resume", "--gpus", "0", "--steps", "3"]);
    let output = succeeds(emulator.on(&mut command, &[]).env("ALEXNET_LIBRARIES", "off"));
    assert!(!says(&output).contains("until now"), "{}", stderr(&output));
}

#[test]
fn a_gpu_that_is_lost_under_a_library_costs_no_checkpoint() {
    let Some(emulator) = Emulator::with_libraries() else { return };
    let bench = Bench::new();
    let mut command = tiny(&bench, "lost", &["--gpus", "0,1"]);
    let says = ["CUDA_ERROR_DEVICE_UNAVAILABLE"];
    let text = fails(emulator.on(&mut command, &[("LOSE", "1:250")]), 1, &says);
    assert_eq!(text.matches("error:").count(), 1, "{text}");
    succeeds(&mut tiny(&bench, "lost", &["--resume", "--device", "cpu"]));
    assert_eq!(losses(&bench.path("lost")).len(), 6);
}
