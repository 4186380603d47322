//! `alexnet run --dtype f16` on emulated GPUs: it trains as in `f32`, and what overflows costs steps, and no run.

use crate::{
    emulated::{demo, losses, losses_apart, tiny},
    emulator::Emulator,
    program::{Bench, checkpoints, fails, stderr, succeeds},
};
use alexnet::{
    checkpoint::Checkpoint,
    loss_scale::LossScale,
    metrics::{self, Line},
};
use std::{fs, path::Path};

/// How far losses may lie from those in `f32`: activations and gradients are each off by 2^-11 at most.
const HALVES: f64 = 1e-3;

const F16: [&str; 4] = ["--gpus", "0,1", "--dtype", "f16"];

/// The newest checkpoint of a run, and what `change` makes of it, in its place.
fn change(run: &Path, change: impl FnOnce(&mut Checkpoint)) -> Checkpoint {
    let path = checkpoints(run).pop().expect("a checkpoint");
    let mut checkpoint = Checkpoint::load(&path).expect("a whole file");
    change(&mut checkpoint);
    checkpoint.store(&path).expect("room");
    checkpoint
}

/// Of each step, the scale of the loss, the steps that have overflowed so far, and the loss.
fn scales(run: &Path) -> Vec<(f32, u64, f64)> {
    let lines = metrics::read(&run.join("metrics.jsonl")).expect("metrics");
    let scale = |line: &Line| match line {
        Line::Step { loss, loss_scale, overflows, .. } => {
            Some((loss_scale.expect("a scale"), overflows.expect("a number"), *loss))
        }
        _ => None,
    };
    lines.iter().filter_map(scale).collect()
}

#[test]
fn demo_trains_in_f16_as_it_does_in_f32() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // A step that moved nothing, or too much, would be seen in the losses of those after it.
    let steps = ["--steps", "3", "--batch", "8"];
    succeeds(&mut demo(&bench, "cpu", &[&steps[..], &["--device", "cpu"]].concat()));
    let flags = [&F16[..], &steps].concat();
    let output = succeeds(emulator.on(&mut demo(&bench, "gpus", &flags), &[]));
    assert!(stderr(&output).contains("GiB, f16, kernels"), "{}", stderr(&output));
    let [found, wanted] = ["gpus", "cpu"].map(|out| losses(&bench.path(out)));
    let apart = losses_apart(&found, &wanted)[2];
    assert!(apart < HALVES, "losses differ by {apart:e}");
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn an_overflow_costs_steps_and_moves_no_weight_wherever_the_run_is_interrupted() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let run = |out: &str, flags: &[&str], steps: &str| {
        let more = ["--dtype", "f16", "--steps", steps, "--checkpoint-every", "100"];
        let flags = [flags, &more].concat();
        stderr(&succeeds(emulator.on(&mut bench.run(out, &flags), &[])))
    };
    // Two steps, and then a loss that is scaled as if 2^24 had been fine until now.
    let begin = |out: &str, flags: &[&str]| {
        run(out, flags, "2");
        change(&bench.path(out), |checkpoint| {
            assert_eq!(checkpoint.meta.loss_scale.as_ref().map(LossScale::overflows), Some(0));
            checkpoint.meta.loss_scale = Some(LossScale::at(16_777_216.0));
        })
    };
    let newest = |out: &str| change(&bench.path(out), |_| {});
    let before = begin("straight", &["--gpus", "0,1"]);
    let text = run("straight", &["--resume", "--gpus", "0,1"], "16");
    let says = "step 3: gradients overflow, the loss was scaled by 16777216";
    assert!(text.contains(says), "{text}");
    let story = scales(&bench.path("straight"));
    let (scale, overflows, _) = story[15];
    assert!((1..15).contains(&overflows) && scale < 16_777_216.0, "{story:?}");
    assert!(story[2..].is_sorted_by(|a, b| a.0 >= b.0 && a.1 <= b.1), "{story:?}");
    assert!(story.iter().all(|(.., loss)| loss.is_finite()), "{story:?}");
    let last = newest("straight");
    assert_ne!(last.tensors, before.tensors, "it goes on");

    // Interrupted while it overflows, and after it; on one GPU for both towers.
    begin("stopped", &["--gpus", "0,0"]);
    run("stopped", &["--resume", "--gpus", "0,0"], "4");
    assert_eq!(newest("stopped").tensors, before.tensors, "what overflows moves nothing");
    for steps in ["7", "16"] {
        run("stopped", &["--resume", "--gpus", "0,0"], steps);
    }
    assert_eq!(scales(&bench.path("stopped")), story);
    assert_eq!(newest("stopped"), last);

    // The CPU scores it, and does not go on with it.
    let path = checkpoints(&bench.path("stopped")).pop().expect("a checkpoint");
    let mut eval =
        bench.alexnet(&["eval", "--data", "shards", "--device", "cpu", "--checkpoint"]);
    succeeds(eval.arg(path));
    let onto = ["--resume", "--dtype", "f16", "--device", "cpu", "--steps", "40"];
    let says = ["the CPU does not train in f16", "--dtype bf16", "--gpus"];
    fails(&mut bench.run("stopped", &onto), 2, &says);
    fails(&mut bench.run("cpu", &["--device", "cpu", "--dtype", "f16"]), 2, &says);
    assert!(!bench.path("cpu").exists());
}

#[test]
fn what_overflows_though_nothing_is_scaled_has_diverged() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let on = |out: &str, flags: &[&str]| tiny(&bench, out, &[flags, &F16].concat());
    succeeds(emulator.on(&mut on("run", &["--steps", "1"]), &[]));
    change(&bench.path("run"), |checkpoint| {
        checkpoint.meta.loss_scale = Some(LossScale::at(4.0));
        // What fc7 hands on is infinite, and so no loss is a number.
        let fc7 = checkpoint.tensors.iter_mut().find(|tensor| tensor.name == "fc7.weight");
        fc7.expect("a layer").values.fill(60_000.0);
    });
    let says = ["training has diverged", "gradients of step 6 are too large for f16"];
    fails(emulator.on(&mut on("run", &["--resume", "--steps", "20"]), &[]), 1, &says);
    let story = scales(&bench.path("run"));
    let found: Vec<_> = story[1..].iter().map(|(scale, count, _)| (*scale, *count)).collect();
    assert_eq!(found, [(4.0, 1), (4.0, 2), (2.0, 3), (2.0, 4)]);
    assert!(story[1..].iter().all(|(.., loss)| loss.is_nan()), "{story:?}");
    // The file is read again.
    let kept = fs::read_to_string(bench.path("run").join("metrics.jsonl")).expect("metrics");
    assert!(kept.contains(r#""loss":null"#), "{kept}");
    let says = ["gradients of step 6"];
    fails(emulator.on(&mut on("run", &["--resume", "--steps", "20"]), &[]), 1, &says);
}
