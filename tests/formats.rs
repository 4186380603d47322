//! Files that a released version wrote are read for ever. `ALEXNET_GOLDEN=write cargo test formats`
//! writes those that are missing under `tests/golden/formats`: once, when a format gets a version.

use alexnet::{
    algorithms::Algorithms,
    checkpoint::{Checkpoint, Meta},
    config::Config,
    devices::{Kind, Share},
    metrics::{self, Line},
    model::Net,
    schedule::Schedule,
    weights::Tensor,
};
use pipeline::{dataset::Class, stats::Stage};
use std::{fs, path::PathBuf};

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats").join(name)
}

/// Writes a missing file if asked to; whoever adds a version looks at it and commits it.
fn once(name: &str, write: impl FnOnce(&PathBuf)) -> PathBuf {
    let path = golden(name);
    if !path.exists() && std::env::var_os("ALEXNET_GOLDEN").is_some_and(|v| v == "write") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("room");
        write(&path);
    }
    path
}

/// A net of one convolution and a head; weight `i` of a tensor is `i / 8`, its velocity `-i / 8`.
fn checkpoint() -> Checkpoint {
    let mut config = Config::load("demo", None).expect("a preset");
    (config.data.stored, config.data.crop) = (12, 12);
    config.conv.truncate(1);
    (config.conv[0].kernels, config.conv[0].stride) = (2, 1);
    (config.conv[0].lrn, config.conv[0].pool) = (false, false);
    config.fc.clear();
    // What a preset says may change with time; what this file says may not.
    (config.train.batch, config.train.epochs, config.train.rate) = (64, 24, 0.01);
    (config.train.drop_epochs, config.train.dropout) = (vec![16, 21], 0.5);
    config.conv[0].sigma = 0.004;
    let class = |i| Class { wnid: format!("n{i:08}"), name: format!("thing {i}") };
    let classes: Vec<_> = (0..3).map(class).collect();
    let tensors = Net::new(&config, classes.len()).shapes().into_iter().map(|(name, shape)| {
        let len: usize = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| i as f32 / 8.0).collect();
        Tensor { name, shape, velocity: values.iter().map(|v| -v).collect(), values }
    });
    let schedule = Schedule { epochs_done: 2, drops: 1, waited: 1, best_error: Some(0.25) };
    let filter = "shorter side, antialiased bilinear, centre square".to_owned();
    let share = Share { towers: 2, threads: 4, device: Kind::Cpu };
    Checkpoint {
        tensors: tensors.collect(),
        mean: (0..3 * 12 * 12).map(|i| i as f32 / 4.0).collect(),
        meta: Meta {
            format: 1,
            config,
            classes,
            step: 12,
            steps_per_epoch: 5,
            schedule,
            share,
            filter,
            labels_crc32: 7,
            algorithms: Algorithms::default(),
            instructions: None,
            loss_scale: None,
        },
    }
}

#[test]
fn a_checkpoint_of_format_1_is_read() {
    let path = once("checkpoint-1.safetensors", |path| {
        checkpoint().store(path).expect("room");
    });
    let found = Checkpoint::load(&path).expect("format 1");
    assert_eq!(found, checkpoint());
}

#[test]
fn metrics_of_version_1_are_read() {
    let path = golden("metrics-1.jsonl");
    let lines = metrics::read(&path).expect("metrics");
    let [
        Line::Metrics { version: 1 },
        Line::Step { step, epoch, loss, seconds, .. },
        Line::Pipeline { counts, .. },
        Line::Validation { top1, images, .. },
    ] = lines.as_slice()
    else {
        panic!("{lines:?}")
    };
    assert_eq!(counts.stage(Stage::Decode).busy_us, 640_000);
    assert_eq!(
        (counts.stage(Stage::Dispatch).waiting_empty_us, counts.corrupt),
        (1_500_000, 1)
    );
    assert_eq!((*step, *epoch, *loss, seconds.exchange), (7, 1, 2.25, 0.0625));
    assert_eq!((*top1, *images), (0.5, 500));
}

#[test]
fn a_recipe_of_version_1_is_read() {
    let text = fs::read_to_string(once("config-1.toml", |path| {
        fs::write(path, checkpoint().meta.config.to_toml()).expect("room");
    }));
    let found: Config = toml::from_str(&text.expect("a recipe")).expect("version 1");
    assert_eq!(found, checkpoint().meta.config);
}
