//! Whatever a user gets wrong ends in one clear error: what, where, what to do.

use crate::program::{Bench, checkpoints, fails, stderr, succeeds};
use alexnet::{checkpoint::Checkpoint, devices::cores, weights::Tensor};
use gpu::cuda::probe::{Unusable, probe};
use pipeline::{
    dataset::{Dataset, Encoding},
    shard::{Shard, ShardWriter},
};
use std::fs;

/// `alexnet run` on `data` with the tiny recipe fails with exit code 1 and says all of `says`.
fn refused(bench: &Bench, data: &str, says: &[&str]) {
    let mut command = bench.alexnet(&["run", "--preset", "demo", "--out", "refused"]);
    command.arg("--config").arg(bench.path("tiny.toml"));
    fails(command.arg("--data").arg(bench.path(data)), 1, says);
    assert!(!bench.path("refused").exists(), "a run that did not begin left its folder");
}

#[test]
fn data_that_is_missing_empty_or_of_one_class_is_told() {
    let bench = Bench::new();
    refused(&bench, "nowhere", &["no such folder", "hint: pass --data DIR"]);
    fs::create_dir_all(bench.path("empty/train")).expect("a folder");
    refused(&bench, "empty", &["no train images", "hint: expected train/CLASS/*.JPEG"]);
    fs::create_dir_all(bench.path("one/train/n1")).expect("a folder");
    refused(&bench, "one", &["one class only (n1)"]);
    fs::create_dir_all(bench.path("other")).expect("a folder");
    refused(&bench, "other", &["neither dataset.json nor a folder `train`"]);
}

#[test]
fn a_truncated_flipped_or_newer_shard_is_named_with_the_place() {
    let bench = Bench::new();
    let first = bench.path("shards/train-00000.shard");
    let whole = fs::read(&first).expect("a shard");

    fs::write(&first, &whole[..whole.len() - 7]).expect("room");
    refused(
        &bench,
        "shards",
        &["train-00000.shard", "the file is truncated", "prepack verify"],
    );

    let mut newer = whole.clone();
    newer[8] = 9;
    fs::write(&first, &newer).expect("room");
    refused(&bench, "shards", &["shard version 9", "hint: update this program"]);

    let mut index = whole.clone();
    *index.last_mut().expect("bytes") ^= 1;
    fs::write(&first, &index).expect("room");
    refused(&bench, "shards", &["train-00000.shard", "the index is damaged", "checksum"]);

    // In a record: the policy decides.
    let mut record = whole.clone();
    record[64 + 5] ^= 1;
    fs::write(&first, &record).expect("room");
    let says = ["train-00000.shard: record 0 at byte 64: checksum", "prepack verify"];
    fails(&mut bench.run("fail", &["--on-corrupt", "fail"]), 1, &says);
    let output = succeeds(&mut bench.run("substitute", &["--epochs", "1"]));
    assert!(stderr(&output).contains("record 0 at byte 64"), "{}", stderr(&output));
    let says = ["more than 0 samples", "--corrupt-max"];
    fails(&mut bench.run("none", &["--corrupt-max", "0"]), 1, &says);
}

#[test]
fn a_corrupt_validation_picture_ends_the_run() {
    let bench = Bench::new();
    let path = bench.path("shards/val-00000.shard");
    let mut bytes = fs::read(&path).expect("a shard");
    let place = 64 + 24 * 24 * 3 * 10; // in the second batch, while the first is in work
    bytes[place + 5] ^= 1;
    fs::write(&path, &bytes).expect("room");
    let says = [
        "step 6 is kept in",
        "cannot validate",
        "val-00000.shard: record 10 at byte 17344: checksum",
    ];
    fails(&mut bench.run("run", &[]), 1, &says);
    // Nothing of the epoch is lost: once the picture is whole, the run goes on with its validation.
    bytes[place + 5] ^= 1;
    fs::write(&path, &bytes).expect("room");
    succeeds(&mut bench.run("straight", &[]));
    let output = succeeds(&mut bench.run("run", &["--resume"]));
    assert!(stderr(&output).contains("(step 6)"), "{}", stderr(&output));
    let last = |run: &str| {
        let path = checkpoints(&bench.path(run)).pop().expect("a checkpoint");
        fs::read(path).expect("a checkpoint")
    };
    assert!(last("run") == last("straight"), "the checkpoints differ");
}

#[test]
fn what_was_trained_before_a_picture_that_ends_the_run_is_kept() {
    let bench = Bench::new();
    let path = bench.path("shards/train-00001.shard");
    let mut bytes = fs::read(&path).expect("a shard");
    let record = 64 + 24 * 24 * 3 * 15; // in the fifth batch of the first epoch
    bytes[record + 5] ^= 1;
    fs::write(&path, &bytes).expect("room");
    let says = ["is kept in", "train-00001.shard: record", "checksum"];
    fails(&mut bench.run("run", &["--on-corrupt", "fail"]), 1, &says);
    let kept = checkpoints(&bench.path("run"));
    assert_eq!(kept.len(), 1, "{kept:?}");
}

#[test]
fn a_label_out_of_range_is_found_before_the_first_step() {
    let bench = Bench::new();
    let path = bench.path("shards/train-00000.shard");
    let bytes: Vec<Vec<u8>> = {
        let shard = Shard::open(&path).expect("a shard");
        (0..shard.len()).map(|i| shard.record(i).expect("whole").bytes.to_vec()).collect()
    };
    let mut writer = ShardWriter::create(&path, Encoding::Raw, 24).expect("room");
    for (i, bytes) in bytes.iter().enumerate() {
        writer.push(if i == 4 { 1000 } else { 0 }, bytes).expect("room");
    }
    let info = writer.finish().expect("room");
    // The index's checksum in dataset.json as well: only the label is wrong.
    let shards = bench.path("shards");
    let mut dataset = Dataset::load(&shards).expect("a data set");
    dataset.splits[0].shards[0].crc32 = info.crc32;
    dataset.store(&shards).expect("room");
    refused(&bench, "shards", &["record 4 has label 1000, and there are 3 classes"]);
}

#[test]
fn a_checkpoint_of_another_net_or_other_classes_is_refused() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--epochs", "1"]));
    let checkpoint = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let checkpoint = checkpoint.to_string_lossy().into_owned();

    // Another net in the same folder.
    let shards = bench.path("shards").to_string_lossy().into_owned();
    let tiny = fs::read_to_string(bench.path("tiny.toml")).expect("a recipe");
    fs::write(bench.path("wider.toml"), tiny.replace("units = 32", "units = 64"))
        .expect("room");
    let args = ["run", "--preset", "demo", "--resume", "--out", "run", "--data", &shards];
    let mut wider = bench.alexnet(&args);
    let says = ["another recipe: fc was", "hint: pass none of the recipe's flags"];
    fails(wider.arg("--config").arg(bench.path("wider.toml")), 1, &says);

    // Another class list: a class of another name.
    fs::rename(
        bench.path("tree/train/n90000001_square_stripes"),
        bench.path("tree/train/n90000001_z"),
    )
    .expect("renamed");
    fs::rename(
        bench.path("tree/val/n90000001_square_stripes"),
        bench.path("tree/val/n90000001_z"),
    )
    .expect("renamed");
    let renamed = bench.pack("renamed").to_string_lossy().into_owned();
    let says =
        ["class 1 is n90000001_square_stripes in the checkpoint and n90000001_z in the data"];
    let eval = ["eval", "--checkpoint", &checkpoint, "--data", &renamed];
    fails(&mut bench.alexnet(&eval), 1, &says);
    let says = ["cannot resume", says[0], "hint: pass the data set that it was trained on"];
    let mut resumed = bench.alexnet(&["run", "--resume", "--out", "run", "--data", &renamed]);
    fails(&mut resumed, 1, &says);
    let eval = ["eval", "--checkpoint", &checkpoint, "--data", &shards];
    let output = succeeds(&mut bench.alexnet(&eval));
    assert!(String::from_utf8_lossy(&output.stdout).contains("on 12 images"));
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_the_run_and_the_earlier_checkpoints_are_whole() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--epochs", "1"]));
    let before = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let bytes = fs::read(&before).expect("a checkpoint");
    // A limit on file sizes stands in for a full disk: writes fail half way through a checkpoint.
    let program = bench.run("run", &["--resume", "--epochs", "2"]);
    let kib = bytes.len() / 1024 - 4; // bash counts in KiB
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
    let mut limited = std::process::Command::new("bash");
    limited.arg("-c").arg(script).arg(program.get_program()).args(program.get_args());
    limited.current_dir(bench.path(""));
    let says = ["cannot write", "step-000000012.safetensors", "go on with --resume"];
    fails(&mut limited, 1, &says);
    assert_eq!(fs::read(&before).expect("a checkpoint"), bytes);
    assert_eq!(checkpoints(&bench.path("run")).len(), 1, "nothing half written");
    succeeds(&mut bench.run("run", &["--resume", "--epochs", "2"]));
}

#[test]
fn a_folder_that_cannot_be_written_or_holds_a_run_is_refused() {
    let bench = Bench::new();
    let says = ["cannot use", "hint: pass an --out that can be written"];
    fails(&mut bench.run("tiny.toml/run", &[]), 1, &says);
    fails(&mut bench.alexnet(&["run", "--out", "/proc/run"]), 1, &says);
    succeeds(&mut bench.run("run", &["--steps", "1"]));
    let says = ["holds a run already", "hint: pass --resume"];
    fails(&mut bench.run("run", &[]), 1, &says);
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that cannot run here says so")]
fn without_a_driver_gpus_are_missing_politely_and_the_cpu_is_taken() {
    if probe() != Err(Unusable::NoDriver) {
        eprintln!("SKIP: there is an NVIDIA driver");
        return;
    }
    let bench = Bench::new();
    let says = ["there is no NVIDIA driver", "hint: install the NVIDIA driver"];
    fails(&mut bench.run("none", &["--gpus", "0,1"]), 1, &says);
    fails(&mut bench.run("none", &["--device", "cuda"]), 1, &says);
    fails(&mut bench.alexnet(&["doctor"]), 1, &says);
    let output = succeeds(&mut bench.run("cpu", &["--steps", "1"]));
    assert!(stderr(&output).contains("device: CPU"), "{output:?}");
    let mut json = bench.alexnet(&["doctor", "--json"]);
    let output = json.output().expect("the program starts");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["driver"], serde_json::Value::Null);
    assert!(report["libraries"].get("cuDNN").is_some(), "{report}");
}

#[test]
fn sums_are_kept_to_the_instruction_set_that_is_named() {
    let bench = Bench::new();
    let run = |out: &str, isa: &str| {
        let mut command = bench.run(out, &["--steps", "3", "--device", "cpu"]);
        command.env("ALEXNET_ISA", isa);
        command
    };
    let text = stderr(&succeeds(&mut run("baseline", "baseline")));
    assert!(text.contains("device: CPU (baseline)"), "{text}");
    let says = ["ALEXNET_ISA=sse9: this CPU has baseline", "hint: unset it"];
    fails(&mut run("none", "sse9"), 1, &says);
    assert!(!bench.path("none").exists());
}

#[test]
fn more_threads_than_cores_are_used_and_told() {
    let bench = Bench::new();
    let threads = (cores() + 1).to_string();
    let args =
        ["bench", "infer", "--preset", "demo", "--batch", "4", "--steps", "1", "--threads"];
    let output = succeeds(bench.alexnet(&args).arg(&threads));
    assert!(stderr(&output).contains(&format!("{threads} threads on")), "{output:?}");
}

#[test]
fn flags_that_make_no_sense_exit_with_what_to_pass_instead() {
    let bench = Bench::new();
    let says = ["--gpus names 3 devices, and the net has 2 towers"];
    fails(&mut bench.alexnet(&["run", "--gpus", "0,1,2"]), 2, &says);
    fails(&mut bench.alexnet(&["run", "--preset", "resnet"]), 1, &["no preset resnet", "demo"]);
    fails(&mut bench.alexnet(&["run", "--batch", "0"]), 1, &["batch = 0"]);
    for command in [&["run"][..], &["bench", "train"], &["bench", "layers"]] {
        let mut command = bench.alexnet(command);
        fails(command.args(["--towers", "3"]), 2, &["--towers 3", "pass --towers 1"]);
    }
    let says = ["--threads 1: 2 towers need one each"];
    fails(&mut bench.alexnet(&["run", "--threads", "1", "--towers", "2"]), 2, &says);
    fails(&mut bench.alexnet(&["run", "--epochs", "1", "--steps", "1"]), 2, &["--steps"]);
    fails(&mut bench.alexnet(&["run", "--checkpoint-every", "0"]), 2, &["--checkpoint-every"]);
    for flag in ["--workers", "--threads"] {
        for value in ["0", "-1", "99999999"] {
            fails(&mut bench.alexnet(&["run", &format!("{flag}={value}")]), 2, &[flag]);
        }
    }
    fails(&mut bench.alexnet(&["predict", "nothing"]), 2, &["IMAGES"]);
    fails(&mut bench.alexnet(&["predict", "nothing", "a.jpg"]), 1, &["cannot read nothing"]);
    let tiny = fs::read_to_string(bench.path("tiny.toml")).expect("a recipe");
    let larger = tiny.replace("stored = 24", "stored = 40").replace("crop = 20", "crop = 30");
    fs::write(bench.path("crop.toml"), larger).expect("room");
    let shards = bench.path("shards").to_string_lossy().into_owned();
    let args = ["run", "--preset", "demo", "--config", "crop.toml", "--data", &shards];
    fails(
        &mut bench.alexnet(&args),
        1,
        &["crops of 30 px do not fit pictures of 24 px", "--size"],
    );
    let says = ["48 images do not fill a batch of 128", "hint: pass a smaller --batch"];
    fails(&mut bench.run("many", &["--batch", "128"]), 1, &says);
}

#[test]
fn a_net_that_does_not_learn_is_noticed() {
    let bench = Bench::new();
    // No rate and a silent head: the loss is ln(3) for ever.
    let tiny = fs::read_to_string(bench.path("tiny.toml")).expect("a recipe");
    let flat = tiny.replace("flat_after = 1000", "flat_after = 5\nrate = 0.0")
        + "[head]\nname = \"fc8\"\nsigma = 0.0\nbias = 0.0\n";
    fs::write(bench.path("tiny.toml"), flat).expect("room");
    let output = succeeds(&mut bench.run("warned", &["--steps", "6"]));
    let text = stderr(&output);
    assert!(text.contains("not learning") && text.contains("dead ReLUs: conv1"), "{text}");
    assert!(text.contains("--init caffe"), "{text}");
    fails(&mut bench.run("stopped", &["--stop-if-flat"]), 1, &["not learning", "--init caffe"]);
}

#[test]
fn a_run_in_use_is_locked() {
    let bench = Bench::new();
    let mut first = crate::program::start(&mut bench.run("run", &["--epochs", "100000"]));
    crate::program::wait_until("a first step", || {
        fs::read_to_string(bench.path("run/metrics.jsonl")).is_ok_and(|text| !text.is_empty())
    });
    let says = ["is in use by another process", "hint: wait for the other run"];
    fails(&mut bench.run("run", &["--resume"]), 1, &says);
    first.kill().expect("it runs");
    first.wait().expect("a child");
}

#[test]
fn what_has_diverged_is_an_error_and_never_stored() {
    let bench = Bench::new();
    let run = |steps: &str, out: &str| {
        let mut command = bench.alexnet(&["run", "--preset", "demo", "--data"]);
        command.arg(bench.path("shards")).arg("--config").arg(bench.path("tiny.toml"));
        command.args(["--rate", "1e30", "--checkpoint-every", "1", "--steps", steps, "--out"]);
        command.arg(bench.path(out));
        command
    };
    for steps in ["1", "9"] {
        let says = ["training has diverged at rate", "hint: train again at a lower --rate"];
        fails(&mut run(steps, steps), 1, &says);
        for path in checkpoints(&bench.path(steps)) {
            let stored = Checkpoint::load(&path).expect("a checkpoint");
            let finite = |tensor: &Tensor| tensor.values.iter().all(|value| value.is_finite());
            assert!(stored.tensors.iter().all(finite), "{}", path.display());
        }
    }
}
