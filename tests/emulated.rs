//! `alexnet run` on emulated GPUs: the numbers are the CPU's, every wait is needed, copies go beside the ops.

use crate::{
    emulator::Emulator,
    program::{Bench, checkpoints, stderr, succeeds},
    rig::tensors_apart,
};
use alexnet::{
    checkpoint::Checkpoint,
    metrics::{self, Line},
};
use pipeline::{
    pack::{self, PackConfig, PackPolicy},
    synth::{SynthConfig, synth},
};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Of losses and weights of the tiny net after a few steps, relative: sums are added in another order, and
/// the CPU's convolutions are Winograd's.
pub(crate) const ROUNDING: f64 = 1e-4;

/// Of weights and gradients, as [`norm_apart`], where GPUs keep activations in bf16, each off by 2^-8 at most, and
/// the CPU only multiplies it; a tenth of it, of losses.
const HALVES: f64 = 1e-2;

pub(crate) fn losses(run: &Path) -> Vec<f64> {
    let lines = metrics::read(&run.join("metrics.jsonl")).expect("metrics");
    let loss = |line: &Line| match line {
        Line::Step { loss, .. } => Some(*loss),
        _ => None,
    };
    lines.iter().filter_map(loss).collect()
}

/// The relative differences of two lists of losses, each the largest so far.
pub(crate) fn losses_apart(a: &[f64], b: &[f64]) -> Vec<f64> {
    assert_eq!(a.len(), b.len(), "steps");
    let mut largest = 0.0_f64;
    let mut apart = |(a, b): (&f64, &f64)| {
        largest = largest.max((a / b - 1.0).abs());
        largest
    };
    a.iter().zip(b).map(&mut apart).collect()
}

/// Every checkpoint of two runs, and how far the weights lie apart.
pub(crate) fn weights_apart(a: &Path, b: &Path) -> Vec<(f64, String)> {
    let (a, b) = (checkpoints(a), checkpoints(b));
    assert_eq!(a.len(), b.len(), "checkpoints");
    let load = |path: &PathBuf| Checkpoint::load(path).expect("a whole file");
    let pair = |(a, b)| tensors_apart(&load(a).tensors, &load(b).tensors);
    a.iter().zip(&b).map(pair).collect()
}

/// The norm of a difference, relative to that of `b`.
fn norm_apart(a: &[f32], b: &[f32]) -> f64 {
    let norm =
        |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
    difference / norm(&mut b.iter().map(|b| f64::from(*b)))
}

pub(crate) fn same(a: &Path, b: &Path, what: &str) {
    let apart = losses_apart(&losses(a), &losses(b)).pop().expect("steps");
    assert!(apart < ROUNDING, "{what}: losses differ by {apart:e}");
    for (apart, place) in weights_apart(a, b) {
        assert!(apart < ROUNDING, "{what}: {place} differ by {apart:e}");
    }
}

/// `alexnet run` of the tiny recipe, a checkpoint a step.
pub(crate) fn tiny(bench: &Bench, out: &str, more: &[&str]) -> Command {
    let steps = if more.contains(&"--steps") { &[][..] } else { &["--steps", "6"] };
    bench.run(out, &[&["--checkpoint-every", "1", "--keep", "9"], steps, more].concat())
}

/// The recipe `demo` on 64 pictures of 4 classes, without dropout, which it would take longer to learn
/// with.
pub(crate) fn demo(bench: &Bench, out: &str, more: &[&str]) -> Command {
    let (tree, shards) = (bench.path("demo-tree"), bench.path("demo-shards"));
    if !shards.exists() {
        let config = SynthConfig {
            classes: 4,
            per_class: 16,
            val_per_class: 2,
            seed: 1,
            jobs: 2,
            shorter_side: Some(80),
        };
        synth(&config, &tree, &|_| ()).expect("a tree");
        let config = PackConfig {
            size: 64,
            jobs: 2,
            on_corrupt: PackPolicy::Fail,
            ..PackConfig::new(tree, &shards)
        };
        pack::build(&config, &|_| ()).expect("packed");
        std::fs::write(bench.path("demo.toml"), "[train]\ndropout = 0.0\n").expect("room");
    }
    let mut command = bench.alexnet(&["run", "--preset", "demo", "--config", "demo.toml"]);
    command.args(["--data", "demo-shards", "--out", out]);
    if !more.iter().any(|flag| flag.starts_with("--tune")) {
        command.arg("--tune=off"); // emulated GPUs are slow
    }
    if !more.contains(&"--batch") {
        command.args(["--batch", "16"]);
    }
    if !more.contains(&"--steps") {
        command.args(["--steps", "40"]);
    }
    command.args(["--rate", "0.00003", "--keep", "50"]).args(more);
    command
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn two_gpus_train_demo_as_the_cpu_does() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // Rounding grows from step to step, by near-ties of the pooling: as it does between two ways of
    // carrying the net on the CPU.
    let [one, two, gpus] = ["one", "two", "gpus"].map(|out| bench.path(out));
    let each = ["--checkpoint-every", "1"];
    let on_cpu = |out: &str, towers: &str| {
        let flags = ["--device", "cpu", "--threads", "2", "--towers", towers];
        succeeds(demo(&bench, out, &flags).args(each));
    };
    on_cpu("one", "1");
    on_cpu("two", "2");
    succeeds(emulator.on(demo(&bench, "gpus", &["--gpus", "0,1"]).args(each), &[]));
    let found = losses(&gpus);
    let (first, last) = (found[0], found[36..].iter().sum::<f64>() / 4.0);
    assert!(last < 0.5 * first, "the loss was {first} and is {last}");
    // Where a near-tie goes one way on one device and the other on two, GPUs go with one of them.
    let [from_one, from_two] = [&one, &two].map(|cpu| losses_apart(&found, &losses(cpu)));
    let near = from_one[9].min(from_two[9]);
    assert!(near < ROUNDING, "losses of 10 steps differ by {near:e}");
    let usual = losses_apart(&losses(&one), &losses(&two))[39];
    let apart = from_two[39];
    assert!(apart < 4.0 * usual + ROUNDING, "they differ by {apart:e}, on CPUs {usual:e}");
    let largest = |pairs: &[(f64, String)]| pairs.iter().map(|pair| pair.0).fold(0.0, f64::max);
    let [from_one, from_two] = [&one, &two].map(|cpu| weights_apart(&gpus, cpu));
    assert_eq!(from_one.len(), 40, "of every step");
    let near = largest(&from_one[..8]).min(largest(&from_two[..8]));
    assert!(near < 10.0 * ROUNDING, "weights of 8 steps differ by {near:e}");
    let (usual, apart) = (largest(&weights_apart(&one, &two)), largest(&from_two[8..]));
    assert!(apart < 4.0 * usual + ROUNDING, "they differ by {apart:e}, on CPUs {usual:e}");
}

#[test]
fn one_gpu_two_gpus_and_the_cpu_agree_with_dropout_too() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu"]));
    for (out, flags, settings) in [
        ("one", ["--gpus", "0"], &[][..]),
        ("shared", ["--gpus", "0,0"], &[]),
        ("two", ["--gpus", "0,1"], &[]),
        ("cuda", ["--device", "cuda"], &[]),
        ("staged", ["--gpus", "0,1"], &[("PEERS", "0")]),
        ("refused", ["--gpus", "0,1"], &[("PEERS", "2")]), // when one is opened for the other
        ("pageable", ["--gpus", "1,0"], &[("PIN_BYTES_MAX", "30000")]),
        ("no graphs", ["--gpus", "0,1"], &[("GRAPHS", "0")]),
    ] {
        let output = succeeds(emulator.on(&mut tiny(&bench, out, &flags), settings));
        same(&bench.path("cpu"), &bench.path(out), out);
        let says = stderr(&output);
        let wanted = match out {
            "one" => "Emulated GPU 0",
            "shared" => "copies on one GPU",
            "staged" | "refused" => "do not reach one another",
            "no graphs" => "did not take launches as a graph",
            "pageable" => "batches lie in pageable memory",
            _ => "peer copies",
        };
        assert!(says.contains(wanted), "{out}: {says}");
    }
    // The same device gives the same bits, whatever the delays.
    succeeds(emulator.on(&mut tiny(&bench, "again", &["--gpus", "0,1"]), &[("SEED", "7")]));
    assert_eq!(losses(&bench.path("two")), losses(&bench.path("again")));
    assert!(weights_apart(&bench.path("two"), &bench.path("again")).iter().all(|w| w.0 == 0.0));
}

#[test]
fn a_limit_on_pinned_memory_is_told_before_the_first_step() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let program = tiny(&bench, "run", &["--gpus", "0", "--steps", "1"]);
    for (limit, told) in [("16", true), ("unlimited", false)] {
        let mut limited = Command::new("bash");
        limited.arg("-c").arg(format!("ulimit -l {limit} || exit 0; exec \"$0\" \"$@\""));
        limited.arg(program.get_program()).args(program.get_args());
        limited.current_dir(bench.path(""));
        if bench.path("run").exists() {
            limited.arg("--resume");
        }
        let says = stderr(&succeeds(emulator.on(&mut limited, &[])));
        assert_eq!(
            says.contains("memory: a run's batches need 1 MiB, and `ulimit -l`"),
            told,
            "{says}"
        );
    }
}

/// Streams of a GPU, as `gpu::cuda` makes them.
const STREAMS: [&str; 4] = ["copy", "compute", "out", "inward"];

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn no_wait_can_be_left_out() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    // No checkpoint on the way, so that a batch follows another.
    let run = |out: &str| {
        bench.run(out, &["--steps", "6", "--checkpoint-every", "100", "--gpus", "0,1"])
    };
    succeeds(emulator.on(&mut run("sound"), &[]));
    let sound = losses(&bench.path("sound"));
    // `out` waits for `inward`, too, until a parcel is empty: that follows from all the others, as long as
    // there are more parcels than cross at once.
    let ours = [(1, 0), (0, 1)].map(|waits| (waits, "1"));
    let exchange = [(2, 1), (3, 1), (1, 3), (1, 2), (3, 2)];
    let [by_peers, staged] = ["1", "0"].map(|peers| exchange.map(|waits| (waits, peers)));
    for ((who, whom), peers) in ours.into_iter().chain(by_peers).chain(staged) {
        let drop = format!("{who}<{whom}");
        // Where the machine is busy, others may happen to be late enough: then with other delays.
        let noticed = ["1", "2", "3", "4", "5"].iter().any(|seed| {
            let out = format!("drop-{who}-{whom}-peers-{peers}-{seed}");
            let mut command = run(&out);
            let settings = [("DROP_WAITS", &*drop), ("SEED", *seed), ("PEERS", peers)];
            let output =
                emulator.on(&mut command, &settings).output().expect("the program starts");
            let text = stderr(&output);
            assert!(!text.contains("panicked"), "{text}");
            // It trains on other numbers, or the loss is none.
            let diverged = text.contains("training has diverged");
            assert!(output.status.success() || diverged, "{text}");
            diverged || losses(&bench.path(&out)) != sound
        });
        let (who, whom) = (STREAMS[who], STREAMS[whom]);
        assert!(noticed, "`{who}` does not wait for `{whom}`, and nobody notices");
    }
}

#[test]
fn gpus_that_keep_bf16_stay_near_the_cpu_and_give_the_same_bits_again() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let bf16 =
        |out: &str, flags: &[&str]| tiny(&bench, out, &[flags, &["--dtype", "bf16"]].concat());
    succeeds(&mut bf16("cpu", &["--device", "cpu"]));
    succeeds(emulator.on(&mut tiny(&bench, "f32", &["--gpus", "0,1"]), &[]));
    for (out, flags, settings) in [
        ("one", ["--gpus", "0"], &[][..]),
        ("shared", ["--gpus", "0,0"], &[]),
        ("two", ["--gpus", "0,1"], &[]),
        ("staged", ["--gpus", "0,1"], &[("PEERS", "0")]),
    ] {
        let output = succeeds(emulator.on(&mut bf16(out, &flags), settings));
        assert!(stderr(&output).contains("GiB, bf16, kernels"), "{}", stderr(&output));
        let apart = losses_apart(&losses(&bench.path(out)), &losses(&bench.path("cpu")));
        let apart = apart.last().expect("steps");
        assert!(*apart < 0.1 * HALVES, "{out}: losses differ by {apart:e}");
        let steps = [bench.path("cpu"), bench.path(out)].map(|run| checkpoints(&run));
        for (step, (a, b)) in steps[0].iter().zip(&steps[1]).enumerate() {
            let load = |path: &PathBuf| Checkpoint::load(path).expect("a whole file").tensors;
            for (a, b) in load(a).iter().zip(&load(b)) {
                let (values, gradient) =
                    (norm_apart(&a.values, &b.values), norm_apart(&a.velocity, &b.velocity));
                assert!(values < HALVES, "{out}: {} differ by {values:e}", a.name);
                // The first step's gradients; in conv1 and conv2, near-ties of the pooling go the other way.
                let most = if a.name < "conv3".into() { 0.2 } else { HALVES };
                let near = step > 0 || gradient < most;
                assert!(near, "{out}: the gradients of {} differ by {gradient:e}", a.name);
            }
        }
    }
    let bits = |out: &str| losses(&bench.path(out));
    assert_ne!(bits("two"), bits("f32"), "nothing is kept in bf16");
    // How parcels travel, and when, changes no bit.
    assert_eq!(bits("two"), bits("staged"));
    assert_eq!(bits("two"), bits("shared"));
    succeeds(emulator.on(&mut bf16("again", &["--gpus", "0,1"]), &[("SEED", "7")]));
    assert_eq!(bits("two"), bits("again"));
    assert!(weights_apart(&bench.path("two"), &bench.path("again")).iter().all(|w| w.0 == 0.0));
}

#[test]
fn the_timeline_shows_what_streams_do_and_that_pictures_come_during_the_step_before() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let trace = bench.path("trace.json");
    let mut command = bench.run("traced", &["--steps", "6", "--gpus", "0,1", "--trace"]);
    succeeds(emulator.on(command.arg(&trace), &[]));
    let text = std::fs::read_to_string(&trace).expect("a timeline");
    let events: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    let lanes: Vec<(&str, u64)> = events
        .iter()
        .filter(|event| event["name"] == "thread_name")
        .filter_map(|event| Some((event["args"]["name"].as_str()?, event["tid"].as_u64()?)))
        .collect();
    let spans = |name: &str| -> Vec<(f64, f64)> {
        let lane = lanes.iter().find(|lane| lane.0 == name).expect("a lane of each stream").1;
        let own = events.iter().filter(|e| e["ph"] == "X" && e["tid"] == lane);
        own.map(|e| (e["ts"].as_f64().expect("us"), e["dur"].as_f64().expect("us"))).collect()
    };
    for tower in 0..2 {
        for stream in STREAMS {
            assert!(spans(&format!("tower-{tower} {stream}")).len() >= 6, "{tower} {stream}");
        }
    }
    // A copy beside the ops: the next step's pictures, and what crosses.
    let ops = spans("tower-0 compute");
    let beside = |(at, took): &(f64, f64)| {
        ops.iter().any(|(start, long)| at < &(start + long) && start < &(at + took))
    };
    for stream in ["copy", "out", "inward"] {
        let spans = spans(&format!("tower-0 {stream}"));
        assert!(spans.iter().skip(2).any(beside), "`{stream}` does nothing beside the ops");
    }
}

#[test]
fn a_run_goes_from_gpus_to_the_cpu_and_back() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    succeeds(&mut tiny(&bench, "cpu", &["--device", "cpu"]));
    succeeds(emulator.on(&mut tiny(&bench, "moved", &["--gpus", "0,1", "--steps", "2"]), &[]));
    let onto = ["--resume", "--steps", "4", "--device", "cpu"];
    let text = stderr(&succeeds(&mut tiny(&bench, "moved", &onto)));
    assert!(text.contains("2 tower actors on GPUs until now"), "{text}");
    let back = ["--resume", "--gpus", "0"];
    let text = stderr(&succeeds(emulator.on(&mut tiny(&bench, "moved", &back), &[])));
    assert!(text.contains("to rounding only"), "{text}");
    same(&bench.path("cpu"), &bench.path("moved"), "moved twice");
}
