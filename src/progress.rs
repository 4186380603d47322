//! What the user sees of a run on stderr: a bar on a terminal, a plain line now and then elsewhere.

use crate::{
    event::{Event, StepReport},
    exchange::Times,
    log::{self, Severity},
    metrics::means,
};
use gpu::ops::softmax::Score;
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::stats::Snapshot;
use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

/// Between two looks of the bar, and between two plain lines.
const BAR_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Share of the time spent waiting for data from which on a run is called decode-bound.
const DATA_BOUND_SHARE: f64 = 0.1;

/// Renders events.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    shown: Instant,
    window: Window,
    total: Window,
}

/// Steps added up since the last look.
#[derive(Debug, Default, Clone)]
struct Window {
    score: Score,
    times: Times,
    seconds: f64,
    steps: u64,
    pipeline: Option<Snapshot>,
}

impl Window {
    fn add(&mut self, step: &StepReport) {
        self.score.loss_sum += step.score.loss_sum;
        self.score.top1 += step.score.top1;
        self.score.top5 += step.score.top5;
        self.score.images += step.score.images;
        self.times.add(&step.times);
        self.seconds += step.seconds;
        self.steps += 1;
        self.pipeline = Some(match self.pipeline.take() {
            Some(before) => before.plus(&step.pipeline),
            None => step.pipeline,
        });
    }

    fn images_per_second(&self) -> f64 {
        self.score.images as f64 / self.seconds.max(1e-9)
    }

    /// What the run waits for.
    fn verdict(&self) -> String {
        let share = self.times.data / self.seconds.max(1e-9);
        match &self.pipeline {
            Some(pipeline) if share > DATA_BOUND_SHARE => {
                format!("{}-bound", pipeline.busiest().name())
            }
            _ => "compute-bound".into(),
        }
    }
}

impl Progress {
    /// A bar if stderr is a terminal, else lines.
    pub fn new() -> Self {
        let bar = (log::is_text() && std::io::stderr().is_terminal()).then(|| {
            let bar = log::bars().add(ProgressBar::new(0));
            let template = if log::colours() {
                "{prefix} {wide_bar:.cyan/blue} ETA {eta_precise}\n{wide_msg}"
            } else {
                "{prefix} {wide_bar} ETA {eta_precise}\n{wide_msg}"
            };
            bar.set_style(ProgressStyle::with_template(template).expect("a sound template"));
            bar
        });
        Self {
            bar,
            quiet: false,
            shown: Instant::now().checked_sub(LINE_EVERY).unwrap_or_else(Instant::now),
            window: Window::default(),
            total: Window::default(),
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Step(step) => self.step(&step),
            Event::Validating { done, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("validating {done}/{total}"));
                }
            }
            Event::Validation { step, epoch, score } => {
                let (loss, top1, top5) = means(&score);
                self.line(&format!(
                    "validation after step {step} (epoch {epoch}): loss {loss:.3}, top-1 {:.1} %, \
                     top-5 {:.1} %",
                    top1 * 100.0,
                    top5 * 100.0
                ));
            }
            Event::Checkpoint { step, path } => {
                tracing::debug!("checkpoint of step {step}: {}", path.display());
            }
            Event::Note(text) => self.line(&text),
            Event::Warning(text) => self.at(Severity::Warning, &text),
        }
    }

    /// Where the time went, over the whole run; `None` before the first step.
    pub fn summary(&self) -> Option<String> {
        let total = &self.total;
        if total.steps == 0 {
            return None;
        }
        let t = &total.times;
        let percent = |seconds: f64| seconds / total.seconds.max(1e-9) * 100.0;
        Some(format!(
            "{:.1} images/s over {} steps ({}): data {:.0} %, forward {:.0} %, backward {:.0} %, \
             exchange {:.0} % ({:.0} % waiting), update {:.0} %",
            total.images_per_second(),
            total.steps,
            total.verdict(),
            percent(t.data),
            percent(t.forward),
            percent(t.backward),
            percent(t.exchange),
            percent(t.waiting),
            percent(t.update)
        ))
    }

    fn step(&mut self, step: &StepReport) {
        self.window.add(step);
        self.total.add(step);
        let every = if self.bar.is_some() { BAR_EVERY } else { LINE_EVERY };
        if self.shown.elapsed() < every {
            return;
        }
        let (loss, top1, top5) = means(&self.window.score);
        let text = format!(
            "loss {loss:.3}  top-1 {:.1} %  top-5 {:.1} %  {:.1} images/s  {}",
            top1 * 100.0,
            top5 * 100.0,
            self.window.images_per_second(),
            self.window.verdict()
        );
        let place = format!("step {}/{} (epoch {})", step.step, step.steps, step.epoch + 1);
        if let Some(bar) = &self.bar {
            bar.set_length(step.steps);
            bar.set_position(step.step);
            bar.set_prefix(place);
            bar.set_message(text);
        } else {
            let left = (step.steps - step.step) as f64;
            let eta = left * self.total.seconds / self.total.steps as f64;
            self.line(&format!("{place}  {text}  ETA {}", clock(eta)));
        }
        self.window = Window::default();
        self.shown = Instant::now();
    }

    /// One line on stderr, above the bar if there is one.
    pub fn line(&mut self, text: &str) {
        self.at(Severity::Info, text);
    }

    fn at(&mut self, severity: Severity, text: &str) {
        // A closed stderr is no reason to stop training.
        if !self.quiet {
            self.quiet = !log::line(severity, text);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// `1:02:03`, `2:03`.
fn clock(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    let (hours, minutes, s) = (s / 3600, s / 60 % 60, s % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{s:02}") } else { format!("{minutes}:{s:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_a_clock() {
        assert_eq!([clock(5.4), clock(125.0), clock(3723.0)], ["0:05", "2:05", "1:02:03"]);
    }
}
