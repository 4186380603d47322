//! The commands that look and do not train.

use crate::program::{Bench, checkpoints, fails, succeeds};
use pipeline::dataset::Dataset;
use safetensors::{Dtype, SafeTensors};
use std::{fs, process::Output};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The number after `loss ` in the first line that has one.
fn loss(said: &str) -> f64 {
    let line = said.lines().find(|line| line.contains("loss ")).expect("a score");
    let digits = line.split("loss ").nth(1).and_then(|rest| rest.split(' ').next());
    digits.expect("a number").parse().expect("a number")
}

#[test]
fn a_batch_has_the_same_bytes_for_any_workers_from_shards_and_from_the_tree() {
    let bench = Bench::new();
    let write = |data: &str, workers: &str, out: &str| {
        let mut command =
            bench.alexnet(&["batch", "--preset", "demo", "--epoch", "3", "--step", "2"]);
        command
            .arg("--config")
            .arg(bench.path("tiny.toml"))
            .arg("--data")
            .arg(bench.path(data));
        command.args(["--workers", workers, "--out", out, "--png", "batch.png"]);
        succeeds(&mut command);
        fs::read(bench.path(out)).expect("a batch")
    };
    let one = write("shards", "1", "one.safetensors");
    assert!(one == write("shards", "2", "two.safetensors"));
    assert!(one == write("shards", "16", "sixteen.safetensors"));
    assert!(one == write("tree", "3", "tree.safetensors"));

    let batch = SafeTensors::deserialize(&one).expect("a sound file");
    let pixels = batch.tensor("pixels").expect("pixels");
    assert_eq!((pixels.dtype(), pixels.shape()), (Dtype::F32, &[8, 3, 20, 20][..]));
    let words = |name: &str| batch.tensor(name).expect("a list").data().to_vec();
    let labels: Vec<u32> = bytemuck::pod_collect_to_vec(&words("labels"));
    let ids: Vec<u64> = bytemuck::pod_collect_to_vec(&words("ids"));
    let by_id = ids.iter().map(|id| (id / 16) as u32); // 16 pictures a class, in order
    assert!(labels.iter().copied().eq(by_id), "{labels:?} {ids:?}");
    let sheet = image::open(bench.path("batch.png")).expect("a picture");
    assert_eq!((sheet.width(), sheet.height()), (8 * 20, 20));

    let mut beyond =
        bench.alexnet(&["batch", "--preset", "demo", "--step", "6", "--data", "shards"]);
    beyond.args(["--config", "tiny.toml"]);
    fails(&mut beyond, 1, &["--step 6: an epoch has 6 steps of 8"]);
}

#[test]
fn eval_refuses_pictures_that_were_rescaled_in_another_way() {
    let bench = Bench::new();
    succeeds(&mut bench.run("run", &["--epochs", "1"]));
    let checkpoint = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let shards = bench.path("shards");
    let mut dataset = Dataset::load(&shards).expect("a data set");
    dataset.filter = "nearest".into();
    dataset.store(&shards).expect("room");
    let eval = |more: &[&str]| {
        let mut command = bench.alexnet(&["eval"]);
        command.arg("--checkpoint").arg(&checkpoint).arg("--data").arg(&shards).args(more);
        command
    };
    let says = ["rescaled by \"nearest\"", "hint: pack the images again", "--any-filter"];
    fails(&mut eval(&[]), 1, &says);
    succeeds(&mut eval(&["--any-filter"]));
}

#[test]
fn eval_scores_what_the_run_scored_and_predict_names_a_picture() {
    let bench = Bench::new();
    let said = stdout(&succeeds(&mut bench.run("run", &["--rate", "0.02"])));
    let validated = loss(&said);
    let checkpoint = checkpoints(&bench.path("run")).pop().expect("a checkpoint");
    let checkpoint = checkpoint.to_string_lossy().into_owned();
    for towers in ["1", "2"] {
        let args =
            ["eval", "--checkpoint", &checkpoint, "--data", "shards", "--towers", towers];
        let text =
            stdout(&succeeds(bench.alexnet(&args).args(["--batch", "5", "--threads", "2"])));
        let error = (loss(&text) - validated).abs();
        assert!(error < 1e-3, "{text}{said}"); // the run tells three digits
        assert!(text.contains("on 12 images (centre crop, step 18)"), "{text}");
    }
    let picture = "tree/val/n90000002_triangle_checks/000000.jpg";
    let text = stdout(&succeeds(&mut bench.alexnet(&["predict", &checkpoint, picture])));
    let percent =
        text.lines().skip(1).filter_map(|line| line.split('%').next()?.trim().parse().ok());
    let percent: Vec<f64> = percent.collect();
    assert_eq!(percent.len(), 3, "{text}");
    assert!((percent.iter().sum::<f64>() - 100.0).abs() < 0.3, "{text}");
    assert!(percent.is_sorted_by(|a, b| a >= b), "{text}");

    let mut both = bench.alexnet(&["predict", &checkpoint, picture, "tiny.toml"]);
    fails(
        &mut both,
        1,
        &["tiny.toml", "not a JPEG, PNG, GIF, WebP or BMP file", "hint: pass JPEG"],
    );
}

#[test]
fn the_effective_recipe_is_preset_then_file_then_flags() {
    let bench = Bench::new();
    let mut args = vec!["config", "--preset", "demo", "--config", "tiny.toml", "--batch", "7"];
    args.extend(["--decode", "region"]);
    let text = stdout(&succeeds(&mut bench.alexnet(&args)));
    let decode = "decode = \"region\"";
    for line in ["batch = 7", "crop = 20", "momentum = 0.9", "kernels = 8", decode] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let text = stdout(&succeeds(&mut bench.alexnet(&["config", "--annotated"])));
    assert!(text.contains("# section 4.2: fc6 and fc7"), "{text}");
}

#[test]
fn benches_tell_what_was_reached_of_what_bounds_it() {
    let bench = Bench::new();
    let measured = |args: &[&str]| -> serde_json::Value {
        let recipe = ["--preset", "demo", "--config", "tiny.toml", "--threads", "1", "--json"];
        let mut command = bench.alexnet(&["bench"]);
        let text = stdout(&succeeds(command.args(args).args(recipe)));
        serde_json::from_str(&text).expect("one line of JSON")
    };
    for (dtype, what) in [("f32", "train"), ("bf16", "train"), ("f32", "infer")] {
        let found = measured(&[what, "--steps", "2", "--dtype", dtype]);
        assert_eq!((&found["step"], &found["dtype"]), (&what.into(), &dtype.into()));
        let number = |key: &str| found[key].as_f64().expect("a number");
        let roofline = number("peak_gflops") / number("gflop_per_image");
        assert!((roofline / number("roofline_images_per_s") - 1.0).abs() < 1e-9);
        assert!(number("share_of_roofline") > 0.0 && number("memory_mib") > 0.0, "{found}");
        let backward = found["seconds"]["backward"].as_f64().expect("a number");
        assert_eq!(backward > 0.0, what == "train", "{found}");
    }
    let found = measured(&["layers", "conv1", "fc6", "--dtype", "bf16", "--rounds", "1"]);
    let passes = found["passes"].as_array().expect("rows");
    assert_eq!(passes.len(), 2 + 3, "nobody needs the gradient of the pictures");
    assert_eq!((&passes[2]["layer"], &passes[2]["pass"]), (&"fc6".into(), &"forward".into()));
    assert_eq!(passes[2]["algorithm"], "product of bf16");
    let mut unknown = bench.alexnet(&["bench", "layers", "conv9"]);
    fails(&mut unknown, 1, &["there is no layer conv9", "hint: there are conv1, conv2"]);
}
