//! The conductor: takes batches from the pipeline to the towers, and decides when to validate,
//! drop the rate, checkpoint and stop.

use crate::{
    algorithms::Algorithms,
    checkpoint::{Checkpoint, FORMAT, Meta, labels_crc32},
    config::Dtype,
    diverged::Diverged,
    evaluate::{EvaluateError, evaluate},
    event::{Event, Events, StepReport, Stop},
    flat::Flat,
    loss_scale::LossScale,
    metrics::{Line, Metrics, means},
    model::Net,
    plan::{Plan, feed_config},
    schedule::Schedule,
    tower::{BATCHES_IN_FLIGHT, Pass, Towers, stopwatch},
};
use anyhow::{Context as _, Result, bail};
use gpu::{device::Device, ops::softmax::Score};
use pipeline::{
    dataset::Split,
    feed::{Feed, FeedConfig, FeedError, slot_bytes},
    order::steps_per_epoch,
    ring::Memory,
    stats::Snapshot,
};
use std::{path::PathBuf, sync::Arc, time::Instant};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Steps done.
    pub step: u64,
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The one of the lowest validation error, if there was a validation.
    pub best: Option<PathBuf>,
    /// The last validation.
    pub validation: Option<Score>,
    /// Asked to stop before the last step.
    pub interrupted: bool,
}

struct Trainer<M: Memory> {
    plan: Plan,
    net: Net,
    feed_config: FeedConfig,
    towers: Towers<M>,
    metrics: Metrics,
    schedule: Schedule,
    /// Where gradients are kept in f16.
    loss_scale: Option<LossScale>,
    events: Events,
    stop: Stop,
    steps_per_epoch: u64,
    step: u64,
    steps: u64,
    first_step: u64,
    flat: Flat,
    stored: Option<(u64, PathBuf)>,
    validation: Option<(u64, Score)>,
    labels_crc32: u32,
    /// Why there are no more batches: what was trained until then is kept.
    data_ended: Option<FeedError>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    GoOn,
    Stop,
}

/// Trains to the end of `plan` on `devices`.
///
/// # Errors
/// The first error of any part, with what was being done.
pub fn train<D: Device>(
    plan: Plan, devices: Vec<D>, events: Events, stop: Stop,
) -> Result<Ending> {
    let config = &plan.config;
    let (train, classes) = (&config.train, plan.source.classes().len());
    let steps_per_epoch = steps_per_epoch(plan.source.len(Split::Train), train.batch);
    let mut net = Net::new(config, classes);
    if let Some(from) = &plan.from {
        from.meta.algorithms.apply(&mut net).context("cannot compute as the run began")?;
    }
    let mut towers = Towers::traced(devices, &net, train, &plan.trace, plan.patience)
        .context("cannot set up the towers")?;
    let (mut step, mut schedule) = (0, Schedule::default());
    let mut loss_scale = (train.dtype == Dtype::F16).then(LossScale::default);
    if let Some(from) = &plan.from {
        (step, schedule) = (from.meta.step, from.meta.schedule);
        loss_scale.clone_from(&from.meta.loss_scale);
        towers.set_tensors(&from.tensors)?;
    }
    let metrics = Metrics::open(&plan.run.metrics(), step, schedule.epochs_done)
        .with_context(|| format!("cannot open {}", plan.run.metrics().display()))?;
    let feed_config = FeedConfig {
        trace: plan.trace.clone(),
        ..feed_config(config, plan.workers, plan.on_corrupt, plan.corrupt_max)
    };
    // Dropped after the towers: its slots' memory is freed, which waits for a GPU as long as it takes.
    let mut feed = None;
    let mut trainer = Trainer {
        net,
        feed_config,
        towers,
        metrics,
        schedule,
        loss_scale,
        events,
        stop,
        steps_per_epoch,
        step,
        steps: train.steps.unwrap_or_else(|| train.epochs.saturating_mul(steps_per_epoch)),
        first_step: step,
        flat: Flat::new(train.flat_after),
        stored: None,
        validation: None,
        labels_crc32: labels_crc32(plan.source.as_ref()),
        data_ended: None,
        plan,
    };
    trainer.run(&mut feed)
}

impl<M: Memory> Trainer<M> {
    fn run(&mut self, feed: &mut Option<Feed<M>>) -> Result<Ending> {
        let bytes =
            slot_bytes(self.feed_config.batch, self.feed_config.crop, self.feed_config.element);
        let slots = self.towers.slots(Feed::<M>::slots(BATCHES_IN_FLIGHT), bytes)?;
        self.events.notes(self.towers.remarks()?);
        let left = self.steps.saturating_sub(self.step);
        let source = Arc::clone(&self.plan.source);
        let feed = feed.insert(Feed::train(source, &self.feed_config, slots, self.step, left)?);
        if left == 0 {
            let (step, steps) = (self.step, self.steps);
            let text = format!(
                "nothing is left to train: step {step} is done, and the run ends with {steps}"
            );
            self.events.send(Event::Note(text));
        }
        let mut then = self.end_epoch()?; // where a run was interrupted before its validation
        while then == Then::GoOn && self.step < self.steps {
            then = self.stretch(feed)?;
            self.notice_flat()?;
            if then == Then::GoOn {
                then = self.end_epoch()?;
            }
            if then == Then::GoOn && self.step.is_multiple_of(self.plan.checkpoint_every) {
                self.checkpoint(false)?;
            }
        }
        if let Some(error) = self.data_ended.take() {
            return Err(self.kept(error.into()));
        }
        let checkpoint = self.checkpoint(false)?;
        let validation = self.validation.map(|(_, score)| score);
        let (best, interrupted) = (self.plan.run.best(), then == Then::Stop);
        Ok(Ending { step: self.step, checkpoint, best, validation, interrupted })
    }

    /// The error of something other than the towers, after their state was stored.
    fn kept(&mut self, error: anyhow::Error) -> anyhow::Error {
        if self.step == self.first_step {
            return error;
        }
        match self.checkpoint(false) {
            Ok(path) => {
                error.context(format!("step {} is kept in {}", self.step, path.display()))
            }
            Err(lost) => error.context(format!("step {} is lost: {lost:#}", self.step)),
        }
    }

    /// Where something other than a step is next due: the end of an epoch or of the run, a
    /// checkpoint, a look at whether the net learns.
    fn until(&self) -> u64 {
        let next = |every: u64| (self.step / every + 1) * every;
        let until = next(self.steps_per_epoch).min(next(self.plan.checkpoint_every));
        let look = self.plan.config.train.flat_after;
        if self.step < look { until.min(look).min(self.steps) } else { until.min(self.steps) }
    }

    /// Trains up to where something else is due. Nothing is in flight afterwards.
    fn stretch(&mut self, feed: &mut Feed<M>) -> Result<Then> {
        let until = self.until();
        let rate = self.schedule.rate(&self.plan.config.train);
        let (mut submitted, mut first) = (self.step, true);
        let mut lap = stopwatch();
        let mut before = feed.stats();
        let (began, clock) = (before, Instant::now());
        while self.step < until {
            while submitted < until
                && submitted - self.step < BATCHES_IN_FLIGHT as u64
                && !self.stop.requested()
                && self.data_ended.is_none()
            {
                match feed.next() {
                    Some(Ok(batch)) => {
                        let scale = self.loss_scale.as_mut().map_or(1.0, LossScale::ask);
                        let pass = Pass::Train { rate, step: submitted, scale };
                        self.towers.submit(batch, pass, false)?;
                        submitted += 1;
                    }
                    Some(Err(error)) => self.data_ended = Some(error),
                    None => bail!("the pipeline ended early"),
                }
            }
            if submitted == self.step {
                return Ok(Then::Stop);
            }
            let (mut outcome, _) = self.towers.outcome()?;
            if std::mem::take(&mut first) {
                outcome.times.data = 0.0; // the towers also waited for what came before
            }
            let seconds = lap();
            let images_per_second = outcome.score.images as f64 / seconds;
            let after = feed.stats();
            let epoch = self.step / self.steps_per_epoch;
            self.step += 1;
            let (loss, top1, top5) = means(&outcome.score);
            let loss_scale = self.loss_scale.as_mut().map(|s| s.answer(outcome.overflowed));
            let overflowed_at = loss_scale.filter(|_| outcome.overflowed);
            Diverged::step(self.step, loss, overflowed_at, rate)?;
            if let Some(scale) = overflowed_at {
                let step = self.step;
                let text =
                    format!("step {step}: gradients overflow, the loss was scaled by {scale}");
                self.events.send(Event::Note(text));
            }
            self.metrics
                .write(&Line::Step {
                    step: self.step,
                    epoch,
                    loss,
                    top1,
                    top5,
                    rate,
                    loss_scale,
                    overflows: self.loss_scale.as_ref().map(LossScale::overflows),
                    images_per_second,
                    seconds: outcome.times,
                })
                .context("cannot write the metrics")?;
            self.events.send(Event::Step(Box::new(self.report(
                &outcome.score,
                outcome.times,
                seconds,
                &before,
                &after,
            ))));
            before = after;
            self.flat.add(self.step, loss);
        }
        let (step, seconds) = (self.step, clock.elapsed().as_secs_f64());
        self.metrics
            .write(&Line::Pipeline { step, seconds, counts: before.since(&began) })
            .context("cannot write the metrics")?;
        Ok(Then::GoOn)
    }

    fn report(
        &self, score: &Score, times: crate::exchange::Times, seconds: f64, before: &Snapshot,
        after: &Snapshot,
    ) -> StepReport {
        StepReport {
            step: self.step,
            steps: self.steps,
            epoch: (self.step - 1) / self.steps_per_epoch,
            score: *score,
            times,
            seconds,
            pipeline: after.since(before),
        }
    }

    /// After the last step of an epoch, or of the run: validate, let the schedule know, checkpoint.
    /// Does nothing elsewhere, or where it has been done.
    fn end_epoch(&mut self) -> Result<Then> {
        let epochs = self.step / self.steps_per_epoch;
        let epoch_ended = epochs > self.schedule.epochs_done;
        let validated = self.validation.is_some_and(|(step, _)| step == self.step);
        let run_ended = self.step == self.steps && self.step > self.first_step && !validated;
        if !epoch_ended && !run_ended {
            return Ok(Then::GoOn);
        }
        let mut error = None;
        if self.plan.source.len(Split::Val) > 0 {
            let score = match self.validate() {
                Ok(Some(score)) => score,
                Ok(None) => return Ok(Then::Stop),
                Err(EvaluateError::Tower(error)) => return Err(error.into()),
                Err(error) => {
                    let error = anyhow::Error::from(error).context("cannot validate");
                    return Err(self.kept(error));
                }
            };
            let (loss, top1, top5) = means(&score);
            Diverged::loss(loss, "the validation", self.rate())?;
            error = Some(1.0 - top1);
            let (step, images) = (self.step, score.images);
            self.metrics
                .write(&Line::Validation { step, epochs, loss, top1, top5, images })
                .context("cannot write the metrics")?;
            self.validation = Some((step, score));
            let epoch = step.div_ceil(self.steps_per_epoch);
            self.events.send(Event::Validation { step, epoch, score });
        }
        if epoch_ended {
            let train = &self.plan.config.train;
            let before = self.schedule.rate(train);
            let best = self.schedule.end_epoch(train, error);
            let after = self.schedule.rate(train);
            if after < before {
                self.events.send(Event::Note(format!("learning rate {before} -> {after}")));
            }
            self.checkpoint(best)?;
        } else {
            let best = self.schedule.best_error;
            self.checkpoint(error.is_some_and(|error| best.is_none_or(|best| error < best)))?;
        }
        Ok(if self.stop.requested() { Then::Stop } else { Then::GoOn })
    }

    /// A pass over the validation set; `None` if asked to stop meanwhile.
    fn validate(&mut self) -> Result<Option<Score>, EvaluateError> {
        let total = self.plan.source.len(Split::Val);
        let (events, stop) = (&self.events, &self.stop);
        let go_on = |done: usize| {
            events.send(Event::Validating { done: done as u64, total });
            !stop.requested()
        };
        let (source, config) = (&self.plan.source, &self.feed_config);
        evaluate(&mut self.towers, source, config, Split::Val, go_on)
    }

    fn rate(&self) -> f32 {
        self.schedule.rate(&self.plan.config.train)
    }

    /// Stores the run's state, unless it stands there already.
    fn checkpoint(&mut self, best: bool) -> Result<PathBuf> {
        if let Some((step, path)) = &self.stored
            && *step == self.step
        {
            return Ok(path.clone());
        }
        self.events.notes(self.towers.remarks()?);
        let tensors = self.towers.tensors()?;
        Diverged::weights(&tensors, self.step, self.rate())?;
        let checkpoint = Checkpoint {
            mean: self.plan.source.statistics().mean.clone(),
            tensors,
            meta: Meta {
                format: FORMAT,
                config: self.plan.config.clone(),
                classes: self.plan.source.classes().to_vec(),
                step: self.step,
                steps_per_epoch: self.steps_per_epoch,
                schedule: self.schedule,
                share: self.plan.share,
                filter: self.plan.source.filter().to_owned(),
                labels_crc32: self.labels_crc32,
                algorithms: Algorithms::of(&self.net),
                instructions: self.plan.instructions.clone(),
                loss_scale: self.loss_scale.clone(),
            },
        };
        let path = self.plan.run.store(&checkpoint, best, self.plan.keep)?;
        self.events.send(Event::Checkpoint { step: self.step, path: path.clone() });
        self.stored = Some((self.step, path.clone()));
        Ok(path)
    }

    /// Warns, or ends the run, if the loss is still that of guessing when it is time to look.
    fn notice_flat(&mut self) -> Result<()> {
        let Some((loss, guessing)) = self.flat.found(self.step, self.net.classes) else {
            return Ok(());
        };
        let dead = self.towers.dead()?;
        let dead: Vec<_> =
            dead.iter().map(|(name, share)| format!("{name} {:.0} %", share * 100.0)).collect();
        let text = format!(
            "not learning: the loss is {loss:.4} after {} steps, and guessing gives {guessing:.4} \
             (dead ReLUs: {}); try --init caffe, or another --rate",
            self.step,
            dead.join(", ")
        );
        if self.plan.stop_if_flat {
            bail!("{text}");
        }
        self.events.send(Event::Warning(text));
        Ok(())
    }
}
