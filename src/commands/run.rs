//! `alexnet run`: train.

use super::{apply, demo, ending, pinned::PinnedLine, recipe};
use crate::{
    checkpoint::{Checkpoint, labels_crc32},
    cli::{DeviceKind, RunArgs},
    config::Config,
    devices::{Choice, Devices, Kind, Share},
    log::{remark, warn},
    model::Net,
    plan::Plan,
    progress::Progress,
    render::{Done, Hint, counted},
    rundir::{RunDir, occupied},
    supervisor::supervise,
    trainer::train,
};
use anyhow::{Context as _, Result, ensure};
use pipeline::{
    dataset::Split,
    feed::FeedError,
    order::steps_per_epoch,
    source::{self, Source},
    trace::Trace,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Trains to the end, or until asked to stop.
///
/// # Errors
/// Whatever stands in the way.
pub fn run(args: &RunArgs) -> Result<Done> {
    let default = if args.data.is_some() { "two-tower-2012" } else { "demo" };
    let mut config = recipe(&args.recipe, default)?;
    // What is wrong with the flags is told before anything is made.
    let compute = &args.compute;
    let mut choice = Choice::new(compute, config.towers)?;
    if !args.resume {
        choice.trains_in(config.train.dtype)?;
    }
    let out = args.out.clone().unwrap_or_else(|| default_out(&config.name, args.resume));
    let run = RunDir::open(&out, args.resume).context("cannot start the run")?;
    let stored = run.config(); // only a resumed run has one
    if let Some(stored) = &stored {
        config = resumed(args, config, stored)?;
    }
    let data = match &args.data {
        Some(data) => data.clone(),
        None => demo::data(
            &out.join("data"),
            config.data.stored,
            config.train.seed,
            compute.workers(),
        )?,
    };
    let source = open(&data, &mut config, stored.is_some(), compute.workers())?;
    let trace = trace(args.trace.as_deref())?;
    let from = if args.resume { newest(&run, &config, source.as_ref())? } else { None };
    if let Some(from) = &from {
        choice = carried(args, choice, from.meta.share);
        let alike = choice.share().device == from.meta.share.device;
        let now = choice.instructions(config.train.dtype);
        if let (Some(before), Some(now)) = (&from.meta.instructions, now)
            && alike
            && *before != now
        {
            warn(&format!(
                "the run was computed by {before} until now, and here it is by {now}: from now on its \
                 numbers are those of a straight run to rounding only"
            ));
        }
    }
    choice.trains_in(config.train.dtype)?;
    let instructions = choice.instructions(config.train.dtype);
    let devices = choice.open(config.train.dtype)?.tuned(&out, args.tune.into());
    let (images, batch) = (source.len(Split::Train), config.train.batch);
    if steps_per_epoch(images, batch) == 0 {
        return Err(FeedError::TooFew { split: Split::Train, images, batch }.into());
    }
    run.store_config(&config).context("cannot start the run")?;
    let workers = counted(compute.workers(), "data worker");
    remark(&format!("{}; {workers}", devices.describe(&choice)));
    let pinned = PinnedLine::of(&config);
    if matches!(choice, Choice::Cuda { .. }) && pinned.exceeds() {
        remark(&format!("memory: {pinned}"));
    }
    let net = Net::new(&config, source.classes().len());
    remark(&format!(
        "net: {}, {} parameters, {} classes; run: {}",
        config.name,
        net.parameters(),
        net.classes,
        out.display()
    ));
    let plan = Plan {
        config,
        run,
        source,
        from,
        workers: compute.workers(),
        on_corrupt: args.on_corrupt.into(),
        corrupt_max: args.corrupt_max,
        checkpoint_every: args.checkpoint_every,
        keep: args.keep,
        stop_if_flat: args.stop_if_flat,
        trace: trace.clone(),
        patience: args.patience.map(Duration::from_secs),
        share: choice.share(),
        instructions,
    };
    let mut progress = Progress::new();
    let ended = supervise(
        move |events, stop| match devices {
            Devices::Cpu(cpus) => train(plan, cpus, events, stop),
            Devices::Cuda(gpus) => train(plan, gpus, events, stop),
        },
        |event| progress.show(event),
    );
    progress.finish();
    if let Err(error) = trace.finish() {
        warn(&format!("the timeline is not whole: {error}"));
    }
    let ending =
        ended.map_err(|error| ending::way_on(error, &out)).context("the run stopped")?;
    if let Some(summary) = progress.summary() {
        remark(&summary);
    }
    ending::tell(&ending, &out)?;
    Ok(if ending.interrupted { Done::Interrupted } else { Done::All })
}

/// The timeline that is asked for.
fn trace(path: Option<&Path>) -> Result<Trace> {
    path.map_or(Ok(Trace::off()), |path| {
        Trace::to_file(path).with_context(|| format!("cannot create {}", path.display()))
    })
}

/// Opens the data set; a set of shards decides the stored size of a new run.
fn open(
    data: &Path, config: &mut Config, resumed: bool, jobs: usize,
) -> Result<Arc<dyn Source>> {
    let source =
        source::open(data, config.data.stored, jobs).context("cannot open the data set")?;
    remark(&format!("data: {}", source.describe()));
    let (stored, crop) = (source.size(), config.data.crop);
    ensure!(
        crop <= stored,
        Hint::new(
            format!("crops of {crop} px do not fit pictures of {stored} px"),
            format!(
                "pack the images with --size {} or more, or pass --preset demo",
                config.data.stored
            ),
        )
    );
    if stored != config.data.stored {
        let made_for = config.data.stored;
        ensure!(
            !resumed,
            Hint::new(
                format!(
                    "the run is on pictures of {made_for} px, and those of {} have {stored}",
                    data.display()
                ),
                "pass the --data that it was started with",
            )
        );
        warn(&format!(
            "the preset crops {crop} of {made_for} px, and these pictures have {stored}: \
             pack them with --size {made_for} to train on as much of them"
        ));
    }
    config.data.stored = stored;
    Ok(source)
}

/// The recipe of a resumed run: the stored one, with what the flags may change.
fn resumed(args: &RunArgs, flags: Config, stored: &Path) -> Result<Config> {
    let stored_config = Config::stored(stored)?;
    let mut config = stored_config.clone();
    ensure!(
        args.recipe.batches.preset.is_none() || flags.name == stored_config.name,
        Hint::new(
            format!("the run is of preset {}, not {}", stored_config.name, flags.name),
            "leave --preset out, or start a new run with another --out",
        )
    );
    if args.recipe.batches.preset.is_some() || args.recipe.batches.config.is_some() {
        config = flags;
        config.data.stored = stored_config.data.stored; // the data set decides it
        if args.recipe.batches.seed.is_none() {
            config.train.seed = stored_config.train.seed;
        }
        if args.recipe.epochs.is_none() && args.recipe.steps.is_none() {
            config.train.epochs = stored_config.train.epochs;
            config.train.steps = stored_config.train.steps;
        }
    }
    apply(&args.recipe, &mut config);
    config.check()?;
    let differing = differing(&stored_config, &config);
    ensure!(
        differing.is_empty(),
        Hint::new(
            format!("the run was started with another recipe: {}", differing.join(", ")),
            "pass none of the recipe's flags (--preset and --config stand for all of it), or start a \
             new run with another --out",
        )
    );
    Ok(config)
}

/// Keys in which two recipes differ, other than how long to train.
fn differing(a: &Config, b: &Config) -> Vec<String> {
    fn walk(path: &str, a: &toml::Value, b: &toml::Value, found: &mut Vec<String>) {
        match (a, b) {
            (toml::Value::Table(a), toml::Value::Table(b)) => {
                for (key, value) in a {
                    let path =
                        if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match b.get(key) {
                        Some(other) => walk(&path, value, other, found),
                        None => found.push(path),
                    }
                }
            }
            (a, b) if a != b => found.push(format!("{path} was {a} and is {b}")),
            _ => {}
        }
    }
    let table = |config: &Config| {
        let mut config = config.clone();
        (config.train.epochs, config.train.steps) = (1, None);
        toml::Value::try_from(&config).expect("every field has a TOML form")
    };
    let mut found = vec![];
    walk("", &table(a), &table(b), &mut found);
    found
}

/// How a resumed run is carried: as before, unless the flags say otherwise.
fn carried(args: &RunArgs, flags: Choice, before: Share) -> Choice {
    let compute = &args.compute;
    let asked = compute.threads.is_some()
        || compute.towers.is_some()
        || !compute.gpus.is_empty()
        || compute.device != DeviceKind::Auto;
    let choice = match (&flags, before.device) {
        // A run stays where it was begun, so that its bits do.
        (_, Kind::Cpu) if !asked => Choice::Cpu { share: before, instead: None },
        (Choice::Cuda { found, gpus }, Kind::Cuda) if !asked => {
            let gpus = if gpus.len() < before.towers {
                vec![gpus[0]; before.towers]
            } else {
                gpus[..before.towers].to_vec()
            };
            Choice::Cuda { found: found.clone(), gpus }
        }
        _ => flags,
    };
    let now = choice.share();
    if now != before {
        warn(&format!(
            "the run had {} until now: from here on its numbers are those of a straight run to rounding \
             only",
            carriers(before)
        ));
    }
    choice
}

fn carriers(share: Share) -> String {
    let Share { towers, threads, device } = share;
    let towers = counted(towers, "tower actor");
    match device {
        Kind::Cpu => format!("{towers} on {}", counted(threads, "thread")),
        Kind::Cuda => format!("{towers} on GPUs"),
    }
}

/// The newest whole checkpoint, which must be of this recipe and these classes.
fn newest(run: &RunDir, config: &Config, source: &dyn Source) -> Result<Option<Checkpoint>> {
    let found = run.newest().context("cannot resume")?;
    for damaged in &found.damaged {
        warn(&format!("{damaged}; set aside, falling back to the one before"));
    }
    let Some((checkpoint, path)) = found.checkpoint else {
        remark("resume: there is no checkpoint yet, starting at step 0");
        return Ok(None);
    };
    let differing = differing(&checkpoint.meta.config, config);
    ensure!(
        differing.is_empty(),
        Hint::new(
            format!("{} is of another recipe: {}", path.display(), differing.join(", ")),
            "start a new run with another --out",
        )
    );
    same_classes(&checkpoint, source)
        .and_then(|()| same_pictures(&checkpoint, source))
        .with_context(|| format!("cannot resume {}", path.display()))?;
    remark(&format!("resume: {} (step {})", path.display(), checkpoint.meta.step));
    Ok(Some(checkpoint))
}

/// The labels of a data set must mean what those of the checkpoint mean.
pub(super) fn same_classes(checkpoint: &Checkpoint, source: &dyn Source) -> Result<()> {
    let (trained, given) = (&checkpoint.meta.classes, source.classes());
    let differs = trained.iter().zip(given).position(|(a, b)| a.wnid != b.wnid);
    let says = if trained.len() != given.len() {
        format!("the checkpoint has {} classes and the data set {}", trained.len(), given.len())
    } else if let Some(i) = differs {
        let (a, b) = (&trained[i].wnid, &given[i].wnid);
        format!("class {i} is {a} in the checkpoint and {b} in the data set")
    } else {
        return Ok(());
    };
    Err(Hint::new(
        says,
        "pass the data set that it was trained on, or one with the same classes",
    )
    .into())
}

/// A run goes on with the training set that it began with.
fn same_pictures(checkpoint: &Checkpoint, source: &dyn Source) -> Result<()> {
    let (images, meta) = (source.len(Split::Train), &checkpoint.meta);
    let steps = steps_per_epoch(images, meta.config.train.batch);
    let says = if steps != meta.steps_per_epoch {
        format!(
            "an epoch had {} steps, and these {images} images make {steps}",
            meta.steps_per_epoch
        )
    } else if source.filter() != meta.filter {
        format!(
            "they were rescaled by \"{}\", and these by \"{}\"",
            meta.filter,
            source.filter()
        )
    } else if labels_crc32(source) != meta.labels_crc32 {
        "their classes, or those of the validation images, come in another order or number"
            .into()
    } else if source.statistics().mean != checkpoint.mean {
        "the mean image of these training images is another one".into()
    } else {
        return Ok(());
    };
    Err(Hint::new(says, "pass the --data that the run was started with").into())
}

/// `runs/NAME`, or the first of `runs/NAME-2`, ... without a run; the last one with a run, to resume.
fn default_out(name: &str, resume: bool) -> PathBuf {
    let numbered = |i: u32| {
        PathBuf::from(if i == 1 { format!("runs/{name}") } else { format!("runs/{name}-{i}") })
    };
    let free = (1..u32::MAX).find(|i| !occupied(&numbered(*i))).expect("folders are finite");
    numbered(if resume && free > 1 { free - 1 } else { free })
}
