//! A run that is stopped in any way goes on as if it had not been.

use crate::program::{Bench, checkpoints, fails, start, stderr, succeeds, wait_until};
use alexnet::{
    algorithms::Algorithms,
    checkpoint::Checkpoint,
    metrics::{self, Line},
};
use std::{fs, path::Path, process::Stdio};

/// 48 training pictures in batches of 8: six steps an epoch, 18 in all.
const STEPS: u64 = 18;

fn last(run: &Path) -> Vec<u8> {
    at(run, STEPS)
}

fn at(run: &Path, step: u64) -> Vec<u8> {
    let path = run.join(format!("checkpoints/step-{step:09}.safetensors"));
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The steps and validations of the metrics, without what the clock decides.
fn story(run: &Path) -> Vec<String> {
    let lines = metrics::read(&run.join("metrics.jsonl")).expect("metrics");
    let tell = |line: &Line| match line {
        Line::Step { step, epoch, loss, rate, .. } => {
            Some(format!("{step} {epoch} {loss} {rate}"))
        }
        Line::Validation { step, loss, top1, .. } => {
            Some(format!("{step} validation {loss} {top1}"))
        }
        Line::Metrics { .. } | Line::Pipeline { .. } => None,
    };
    lines.iter().filter_map(tell).collect()
}

#[test]
fn killed_and_resumed_equals_straight_bit_for_bit() {
    let bench = Bench::new();
    // Ten times as long, so that there is time to kill it.
    let (steps, epochs) = (10 * STEPS, 30);
    let run = |name: &str, workers: &str, more: &[&str]| {
        let mut command = bench.run(name, &["--epochs", "30", "--checkpoint-every", "4"]);
        command.args(["--workers", workers]).args(more);
        command
    };
    succeeds(&mut run("straight", "2", &[]));
    let straight = bench.path("straight");
    assert_eq!(story(&straight).len() as u64, steps + epochs, "each step and validation once");

    let killed = bench.path("killed");
    let mut child = start(&mut run("killed", "1", &[]));
    wait_until("two checkpoints", || checkpoints(&killed).len() >= 2);
    child.kill().expect("it can be killed");
    let ended = child.wait().expect("a child");
    assert!(!ended.success(), "it ended before it could be killed");
    let output = succeeds(&mut run("killed", "3", &["--resume"]));
    assert!(stderr(&output).contains("resume: "), "{}", stderr(&output));
    assert_eq!(at(&killed, steps), at(&straight, steps), "the checkpoint files differ");
    assert_eq!(story(&killed), story(&straight));
}

#[test]
fn a_run_killed_before_its_first_checkpoint_starts_at_0_and_says_so() {
    let bench = Bench::new();
    succeeds(&mut bench.run("straight", &[]));
    let killed = bench.path("killed");
    let mut child = start(&mut bench.run("killed", &[]));
    wait_until("the run's folder", || killed.join("config.toml").exists());
    child.kill().expect("it can be killed");
    child.wait().expect("a child");
    for checkpoint in checkpoints(&killed) {
        fs::remove_file(checkpoint).expect("it was just seen"); // it was quicker than the kill
    }
    let output = succeeds(&mut bench.run("killed", &["--resume"]));
    let says = "resume: there is no checkpoint yet, starting at step 0";
    assert!(stderr(&output).contains(says), "{}", stderr(&output));
    assert_eq!(last(&killed), last(&bench.path("straight")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_finishes_the_step_checkpoints_and_exits_130() {
    let bench = Bench::new();
    let run = bench.path("run");
    // More epochs than anyone waits for.
    let mut command = bench.run("run", &["--epochs", "100000"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    wait_until("a first step", || {
        fs::read_to_string(run.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() > 2)
    });
    let killed =
        std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
    let output = child.wait_with_output().expect("a child");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.contains("interrupted after step"), "{stdout}");
    let steps = story(&run);
    let checkpoint = checkpoints(&run).pop().expect("a checkpoint");
    let step = steps.iter().filter(|line| !line.contains("validation")).count();
    assert!(checkpoint.ends_with(format!("step-{step:09}.safetensors")), "{checkpoint:?}");

    let more = (step as u64 + 3).to_string();
    let output = succeeds(&mut bench.run("run", &["--resume", "--steps", &more]));
    assert!(stderr(&output).contains(&format!("(step {step})")), "{}", stderr(&output));
}

#[test]
fn a_damaged_newest_checkpoint_gives_way_to_the_one_before() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--checkpoint-every", "4"]));
    let run = bench.path("run");
    let straight = last(&run);
    let newest = checkpoints(&run).pop().expect("a checkpoint");
    let mut bytes = straight.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&newest, bytes).expect("room");
    let args = ["--resume", "--checkpoint-every", "4", "--keep", "1"];
    let output = succeeds(&mut bench.run("run", &args));
    let text = stderr(&output);
    assert!(
        text.contains("checksum") && text.contains("falling back to the one before"),
        "{text}"
    );
    assert_eq!(last(&run), straight);
    assert!(newest.with_extension("damaged").exists(), "it is set aside, not lost");
    for checkpoint in checkpoints(&run) {
        fs::write(checkpoint, "nothing").expect("room");
    }
    let output = succeeds(&mut bench.run("run", &["--resume", "--keep", "1"]));
    assert!(stderr(&output).contains("best.safetensors"), "{}", stderr(&output));
    assert_eq!(last(&run), straight);
    for checkpoint in
        checkpoints(&run).into_iter().chain([run.join("checkpoints/best.safetensors")])
    {
        fs::write(checkpoint, "nothing").expect("room");
    }
    let says = ["none of the 2 checkpoints", "hint: restore one"];
    fails(&mut bench.run("run", &["--resume"]), 1, &says);
}

/// A run of a version whose table said something else.
#[test]
fn a_resumed_run_computes_as_it_began() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--steps", "2"]));
    let path = bench.path("run").join("checkpoints/step-000000002.safetensors");
    let mut checkpoint = Checkpoint::load(&path).expect("a whole file");
    let recorded =
        |algorithms: &str| -> Algorithms { serde_json::from_str(algorithms).expect("JSON") };
    let plain = r#"{"conv2": ["im2col", "im2col", "im2col"], "fc6": "bf16"}"#;
    checkpoint.meta.algorithms = recorded(plain);
    assert!(checkpoint.meta.instructions.is_some());
    checkpoint.meta.instructions = Some("another".into());
    checkpoint.store(&path).expect("room");
    let output = succeeds(&mut bench.run("run", &["--resume", "--steps", "4"]));
    assert!(stderr(&output).contains("was computed by another until now"), "{output:?}");
    let after = bench.path("run").join("checkpoints/step-000000004.safetensors");
    let after = Checkpoint::load(&after).expect("a whole file").meta.algorithms;
    let text = serde_json::to_string(&after).expect("JSON");
    for kept in [r#""conv2":["im2col","im2col","im2col"]"#, r#""fc6":"bf16""#] {
        assert!(text.contains(kept), "{text}");
    }
    checkpoint.meta.algorithms = recorded(r#"{"conv2": ["fft", "fft", "fft"]}"#);
    fs::remove_dir_all(bench.path("run").join("checkpoints")).expect("it is there");
    fs::create_dir(bench.path("run").join("checkpoints")).expect("room");
    checkpoint.store(&path).expect("room");
    let says = ["cannot compute as the run began", "conv2 was computed by fft"];
    fails(&mut bench.run("run", &["--resume", "--steps", "4"]), 1, &says);
}

#[test]
fn resuming_needs_the_same_recipe_and_a_finished_run_stays_as_it_is() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &[]));
    let run = bench.path("run");
    let before = last(&run);
    let output = succeeds(&mut bench.run("run", &["--resume"]));
    assert!(stderr(&output).contains("nothing is left to train: step 18"), "{output:?}");
    assert_eq!(last(&run), before);
    let says = ["the run is of preset demo, not two-tower-2012", "hint: leave --preset out"];
    let shards = bench.path("shards").to_string_lossy().into_owned();
    let args =
        ["run", "--resume", "--out", "run", "--data", &shards, "--preset", "two-tower-2012"];
    fails(&mut bench.alexnet(&args), 1, &says);
    let says = ["another recipe: train.rate was", "hint: pass none of the recipe's flags"];
    fails(&mut bench.run("run", &["--resume", "--rate", "0.5"]), 1, &says);
    let says = [r#"another recipe: data.decode was "exact" and is "region""#];
    fails(&mut bench.run("run", &["--resume", "--decode", "region"]), 1, &says);
    let args = ["--resume", "--epochs", "4", "--towers", "1"];
    let output = succeeds(&mut bench.run("run", &args));
    assert!(stderr(&output).contains("had 2 tower actors on 2 threads"), "{output:?}");
    assert_eq!(story(&run).len() as u64, STEPS + 3 + 6 + 1);
}

#[test]
fn a_run_goes_on_with_the_pictures_that_it_began_with() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--epochs", "1"]));
    let resume = |data: &str| {
        let mut command = bench.alexnet(&["run", "--resume", "--out", "run", "--epochs", "2"]);
        command.arg("--data").arg(bench.path(data));
        command
    };
    // As many pictures, one of them another.
    let folder = fs::read_dir(bench.path("tree/train")).expect("classes").next();
    let folder = folder.expect("a class").expect("a class").path();
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("files").map(|entry| entry.expect("one").path()).collect();
    files.sort();
    fs::copy(&files[1], &files[0]).expect("room");
    bench.pack("changed");
    let says = ["the mean image of these", "hint: pass the --data"];
    fails(&mut resume("changed"), 1, &says);
    // Fewer.
    files[..9].iter().for_each(|file| fs::remove_file(file).expect("there"));
    bench.pack("fewer");
    let says = ["an epoch had 6 steps, and these 39 images make 4"];
    fails(&mut resume("fewer"), 1, &says);
    succeeds(&mut resume("shards"));
}
