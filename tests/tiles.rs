//! `alexnet run` by other tiles, and in tf32, on emulated GPUs: a tile changes no bit, whichever is the fastest,
//! and what tf32 rounds costs no more than it must.

use crate::{
    emulated::{losses, losses_apart, tiny, weights_apart},
    emulator::Emulator,
    program::{Bench, checkpoints, fails, stderr, succeeds},
};

/// The lines of a table of timings, less its first one, and of these what stands after the last tab.
fn ways(table: &str) -> Vec<&str> {
    table.lines().skip(1).filter_map(|line| line.rsplit('\t').next()).collect()
}

#[test]
#[ignore = "takes a minute: run by cargo xtask ci"]
fn tiles_are_timed_where_there_are_no_libraries_and_change_no_bit() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let cache = bench.path("cache.txt");
    let run = |out: &str, dtype: &str, more: &[&str]| {
        let steps = if more.contains(&"--steps") { &[][..] } else { &["--steps", "3"] };
        let gpus = if dtype == "bf16" { "0,1" } else { "0" };
        let timed = if more.iter().any(|flag| flag.starts_with("--tune")) {
            &[][..]
        } else {
            &["--tune=tiles"]
        };
        let flags = [&["--gpus", gpus, "--dtype", dtype], more, steps, timed].concat();
        let mut command = tiny(&bench, out, &flags);
        let output = succeeds(emulator.on(command.env("ALEXNET_TUNING", &cache), &[]));
        stderr(&output)
    };
    let kept = |out: &str| {
        std::fs::read_to_string(bench.path(out).join("tuning.txt")).expect("a record")
    };
    let same_bits = |a: &str, b: &str| {
        assert_eq!(losses(&bench.path(a)), losses(&bench.path(b)), "{a} and {b}");
        let apart = weights_apart(&bench.path(a), &bench.path(b));
        assert!(apart.iter().all(|weights| weights.0 == 0.0), "{a} and {b}: {apart:?}");
    };
    for (dtype, tile) in [("bf16", "own 64x64"), ("tf32", "own 128x128")] {
        let plain = format!("{dtype}-plain");
        run(&plain, dtype, &["--tune=off"]);
        assert!(!bench.path(&plain).join("tuning.txt").exists(), "nothing is timed");
        let timed = format!("{dtype}-timed");
        run(&timed, dtype, &[]);
        same_bits(&plain, &timed);
        let record = kept(&timed);
        assert!(ways(&record).iter().all(|way| way.starts_with("own")), "{record}");
        assert!(record.contains(&format!("compute_80.ptx, {dtype}\tconv")), "{record}");
        assert!(record.contains("BackwardWeight"), "{record}");
        // By one tile, as if it had been the fastest, from a cache and then from the run's own record.
        let (first, rest) = record.split_once('\n').expect("a first line");
        let rest = rest.lines().filter_map(|line| line.rsplit_once('\t'));
        let rest: Vec<String> = rest.map(|(what, _)| format!("{what}\t{tile}\n")).collect();
        let by_tile = format!("{first}\n{}", rest.concat());
        std::fs::write(&cache, &by_tile).expect("room");
        let taken = format!("{dtype}-taken");
        run(&taken, dtype, &["--tune", "--steps", "1"]);
        assert_eq!(kept(&taken), by_tile);
        run(&taken, dtype, &["--tune=off", "--resume"]);
        same_bits(&plain, &taken);
        std::fs::remove_file(&cache).expect("a cache");
    }
}

#[test]
fn a_tile_that_there_is_not_is_told_and_not_heeded() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let cache = bench.path("cache.txt");
    let run = |out: &str, more: &[&str]| {
        let mut command = tiny(&bench, out, &[&["--gpus", "0,1"], more].concat());
        let output = succeeds(emulator.on(command.env("ALEXNET_TUNING", &cache), &[]));
        stderr(&output)
    };
    run("run", &["--tune", "--steps", "1"]);
    let record = bench.path("run").join("tuning.txt");
    let text = std::fs::read_to_string(&record).expect("a record");
    let (what, _) = text.lines().nth(1).expect("a product").rsplit_once('\t').expect("a way");
    let newer: Vec<String> = text
        .lines()
        .map(|line| {
            let other = line.starts_with(what).then(|| format!("{what}\town 256x256\n"));
            other.unwrap_or_else(|| format!("{line}\n"))
        })
        .collect();
    std::fs::write(&record, newer.concat()).expect("room");
    let told = run("run", &["--resume", "--steps", "2"]);
    assert!(told.contains(r#"by "own 256x256", which there is not: not heeded"#), "{told}");
    let told = run("run", &["--resume", "--steps", "3", "--tune"]);
    assert!(told.contains(r#"by "own 256x256", which there is not: timed again"#), "{told}");
    let again = std::fs::read_to_string(&record).expect("a record");
    assert!(!again.contains("256x256"), "{again}");
}

#[test]
fn tf32_trains_as_f32_does() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let run = |dtype: &str| {
        let flags = ["--gpus", "0,1", "--dtype", dtype];
        stderr(&succeeds(emulator.on(&mut tiny(&bench, dtype, &flags), &[])))
    };
    run("f32");
    let told = run("tf32");
    assert!(told.contains("GiB, tf32, kernels"), "{told}");
    let apart = losses_apart(&losses(&bench.path("tf32")), &losses(&bench.path("f32")));
    // Each factor is off by 2^-11 at most: in a step's loss, less, and it grows from step to step.
    assert!(apart[0] > 0.0, "nothing is rounded");
    assert!(apart[0] < 1e-4 && apart[5] < 1e-3, "losses differ by {apart:?}");
}

#[test]
fn tf32_is_refused_where_it_is_not_there() {
    let Some(emulator) = Emulator::find() else { return };
    let bench = Bench::new();
    let says = ["the CPU does not train in tf32: take --dtype f32"];
    fails(&mut tiny(&bench, "cpu", &["--device", "cpu", "--dtype", "tf32"]), 2, &says);
    assert!(!bench.path("cpu").exists());
    let says = ["GPU 1, Emulated GPU 1, does not multiply tf32", "8.0: take --dtype f32"];
    let mut command = tiny(&bench, "old", &["--gpus", "1", "--dtype", "tf32"]);
    fails(emulator.on(&mut command, &[("CAPABILITY", "7.5")]), 2, &says);
    let mut command = bench.alexnet(&["bench", "layers", "fc6", "--dtype", "tf32"]);
    fails(&mut command, 2, &["the CPU does not train in tf32"]);
    // What was trained in it is scored in f32.
    let mut command = tiny(&bench, "run", &["--gpus", "0", "--dtype", "tf32", "--steps", "1"]);
    succeeds(emulator.on(&mut command, &[]));
    let newest = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let mut command = bench.alexnet(&["eval", "--device", "cpu", "--data", "shards"]);
    succeeds(command.arg("--checkpoint").arg(newest));
}
