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
    let cpu = ["--device", "cpu", "--threads", "2", "--towers", "2"];
    succeeds(&mut demo(&bench, "cpu", &cpu));
    let output = succeeds(emulator.on(&mut demo(&bench, "gpus", &["--gpus", "0,1"]), &[]));
    let text = says(&output);
    assert!(text.contains("cuDNN 9.21.0, cuBLAS 12.9.1"), "{text}");
    assert!(!text.contains("own kernel"), "{text}");
    let found = losses(&bench.path("gpus"));
    let (first, last) = (found[0], found[36..].iter().sum::<f64>() / 4.0);
    assert!(last < 0.5 * first, "the loss was {first} and is {last}");
    let apart = losses_apart(&found, &losses(&bench.path("cpu")));
    assert!(apart[9] < ROUNDING, "losses of 10 steps differ by {:e}", apart[9]);
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
