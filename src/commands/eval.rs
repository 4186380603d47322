//! `alexnet eval`: a checkpoint's score on a validation set.

use super::{run::same_classes, say};
use crate::{
    checkpoint::Checkpoint,
    cli::EvalArgs,
    devices::{Choice, Devices},
    evaluate::evaluate,
    log::remark,
    metrics::means,
    model::Net,
    plan::feed_config,
    render::{Done, Hint},
    tower::Towers,
};
use anyhow::{Context as _, Result, ensure};
use gpu::{device::Device, ops::softmax::Score};
use pipeline::{
    dataset::Split,
    feed::{FeedConfig, OnCorrupt},
    source::{self, Source},
};
use std::sync::Arc;

/// Centre crops, each image once.
///
/// # Errors
/// If checkpoint or data cannot be used, or are of different classes.
pub fn run(args: &EvalArgs) -> Result<Done> {
    let mut checkpoint = Checkpoint::load(&args.checkpoint).context("cannot evaluate")?;
    let compute = &args.compute;
    let config = &mut checkpoint.meta.config;
    config.train.batch = args.batch.unwrap_or(config.train.batch);
    config.check()?;
    let source = source::open(&args.data, config.data.stored, compute.workers())
        .context("cannot open the data set")?;
    remark(&format!("data: {}", source.describe()));
    same_classes(&checkpoint, source.as_ref())
        .with_context(|| format!("cannot evaluate {}", args.checkpoint.display()))?;
    let config = &checkpoint.meta.config;
    ensure!(
        source.len(Split::Val) > 0,
        Hint::new(
            "the data set has no val images",
            "expected val/CLASS/*.JPEG when it was packed"
        )
    );
    let size = config.data.stored;
    ensure!(
        source.size() == size,
        Hint::new(
            format!(
                "pictures are stored at {} px, and the net was trained on {size} px",
                source.size()
            ),
            format!("pack the images again with --size {size}"),
        )
    );
    let (trained, found) = (&checkpoint.meta.filter, source.filter());
    ensure!(
        args.any_filter || found == trained,
        Hint::new(
            format!(
                "the pictures were rescaled by \"{found}\", those of the training by \"{trained}\""
            ),
            "pack the images again with this program, or pass --any-filter",
        )
    );
    let mut net = Net::new(config, checkpoint.meta.classes.len());
    checkpoint.meta.algorithms.apply(&mut net)?;
    let mut feed = feed_config(config, compute.workers(), OnCorrupt::Fail, 0);
    feed.mean = Some(checkpoint.mean.clone());
    let choice = Choice::new(compute, config.towers)?;
    let score = match choice.open(choice.scores_in(config.train.dtype))? {
        Devices::Cpu(cpus) => score(cpus, &net, &checkpoint, &source, &feed),
        Devices::Cuda(gpus) => score(gpus, &net, &checkpoint, &source, &feed),
    }?;
    let (loss, top1, top5) = means(&score);
    ensure!(
        loss.is_finite(),
        Hint::new(
            format!("{}: the loss is {loss}", args.checkpoint.display()),
            "use an earlier checkpoint: the training of this one had diverged",
        )
    );
    say(&format!(
        "top-1 {:.2} %, top-5 {:.2} %, loss {loss:.4} on {} images (centre crop, step {})",
        top1 * 100.0,
        top5 * 100.0,
        score.images,
        checkpoint.meta.step
    ))?;
    Ok(Done::All)
}

fn score<D: Device>(
    devices: Vec<D>, net: &Net, checkpoint: &Checkpoint, source: &Arc<dyn Source>,
    feed: &FeedConfig,
) -> Result<Score> {
    let mut towers = Towers::start(devices, net, &checkpoint.meta.config.train)?;
    towers.set_tensors(&checkpoint.tensors)?;
    let score = evaluate(&mut towers, source, feed, Split::Val, |_| true)?;
    towers.remarks()?.iter().for_each(|text| remark(text));
    score.context("the evaluation was stopped")
}
