//! One JSON line per step and per validation, in `metrics.jsonl`.

use crate::{exchange::Times, files::write_whole};
use gpu::ops::softmax::Score;
use pipeline::stats::Snapshot;
use serde::{Deserialize, Deserializer, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

/// The version of the file.
pub const VERSION: u32 = 1;

/// One line. A validation at `step` follows the line of that step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Line {
    /// The first one.
    Metrics {
        /// [`VERSION`].
        version: u32,
    },
    /// A training step.
    Step {
        /// Steps done, this one included.
        step: u64,
        /// Which pass over the training set, from 0.
        epoch: u64,
        /// Mean cross-entropy, nats; `null` if it is none, in a step that overflowed.
        #[serde(deserialize_with = "or_nan")]
        loss: f64,
        /// Share of the batch whose label came first.
        top1: f64,
        /// Share of the batch whose label was among the first five.
        top5: f64,
        /// Learning rate.
        rate: f32,
        /// By how much the loss was scaled; of f16 only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        loss_scale: Option<f32>,
        /// Steps that overflowed so far, this one included; of f16 only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overflows: Option<u64>,
        /// Images a second, by the clock, since the step before.
        images_per_second: f64,
        /// Where the step's time went, mean over the towers.
        seconds: Times,
    },
    /// What the pipeline did since the line of its kind before, or since the run went on.
    Pipeline {
        /// Steps done.
        step: u64,
        /// By the clock.
        seconds: f64,
        /// What its stages did and waited for.
        counts: Snapshot,
    },
    /// A pass over the validation set.
    Validation {
        /// Steps done.
        step: u64,
        /// Passes over the training set done.
        epochs: u64,
        /// Mean cross-entropy, nats.
        loss: f64,
        /// Share whose label came first.
        top1: f64,
        /// Share whose label was among the first five.
        top5: f64,
        /// Images scored.
        images: usize,
    },
}

/// JSON has no number that is none, and `null` in its place.
fn or_nan<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NAN))
}

impl Line {
    fn step(&self) -> u64 {
        match self {
            Self::Metrics { .. } => 0,
            Self::Step { step, .. }
            | Self::Pipeline { step, .. }
            | Self::Validation { step, .. } => *step,
        }
    }
}

/// Loss, top-1 and top-5 of a score, as means.
pub fn means(score: &Score) -> (f64, f64, f64) {
    let n = score.images.max(1) as f64;
    (score.loss_sum / n, score.top1 as f64 / n, score.top5 as f64 / n)
}

/// The open file.
#[derive(Debug)]
pub struct Metrics {
    file: File,
}

impl Metrics {
    /// Opens the file for a run that has done `steps` steps and validated `epochs` epochs: lines
    /// of later ones, and a torn last line, are removed, so that each stands there once.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, steps: u64, epochs: u64) -> io::Result<Self> {
        let kept = if path.exists() {
            kept(&String::from_utf8_lossy(&fs::read(path)?), steps, epochs)?
        } else {
            text(&Line::Metrics { version: VERSION })?
        };
        write_whole(path, kept.as_bytes())?;
        Ok(Self { file: OpenOptions::new().append(true).open(path)? })
    }

    /// Appends a line at once, so that a crash loses none before it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&mut self, line: &Line) -> io::Result<()> {
        self.file.write_all(text(line)?.as_bytes())
    }
}

/// The lines of a file that were written before `steps` and `epochs`.
fn kept(lines: &str, steps: u64, epochs: u64) -> io::Result<String> {
    let mut kept = String::new();
    let count = lines.lines().count();
    for (i, line) in lines.lines().enumerate() {
        let Ok(parsed) = serde_json::from_str::<Line>(line) else {
            if i + 1 == count && line.starts_with('{') && !lines.ends_with('\n') {
                continue; // torn: its end was never written
            }
            let text = format!("line {} is no line of metrics", i + 1);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        let known = match parsed {
            Line::Metrics { version } if version > VERSION => {
                let text =
                    format!("metrics of version {version}, and this program writes {VERSION}");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Line::Validation { epochs: done, .. } => done <= epochs,
            Line::Metrics { .. } | Line::Step { .. } | Line::Pipeline { .. } => true,
        };
        if known && parsed.step() <= steps {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if kept.is_empty() {
        kept = text(&Line::Metrics { version: VERSION })?;
    }
    Ok(kept)
}

fn text(line: &Line) -> io::Result<String> {
    Ok(serde_json::to_string(line)? + "\n")
}

/// All whole lines of a file.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64) -> Line {
        Line::Step {
            step,
            epoch: 0,
            loss: 2.5,
            top1: 0.1,
            top5: 0.5,
            rate: 0.01,
            loss_scale: None,
            overflows: None,
            images_per_second: 100.0,
            seconds: Times::default(),
        }
    }

    #[test]
    fn what_comes_after_the_checkpoint_is_cut_and_each_step_stands_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        let validation =
            Line::Validation { step: 2, epochs: 1, loss: 1.0, top1: 0.5, top5: 1.0, images: 9 };
        let mut metrics = Metrics::open(&path, 0, 0).expect("a new file");
        for line in [step(1), step(2), validation, step(3)] {
            metrics.write(&line).expect("room");
        }
        metrics.file.write_all(b"{\"kind\":\"step\",\"st").expect("room");
        let mut metrics = Metrics::open(&path, 2, 1).expect("the file");
        metrics.write(&step(3)).expect("room");
        let first = Line::Metrics { version: VERSION };
        assert_eq!(
            read(&path).expect("the file"),
            [first, step(1), step(2), validation, step(3)]
        );
        Metrics::open(&path, 2, 0).expect("the file");
        assert_eq!(read(&path).expect("the file"), [first, step(1), step(2)]);
        fs::write(&path, "{\"kind\":\"metrics\",\"version\":2}\n").expect("room");
        let error = Metrics::open(&path, 0, 0).expect_err("a later version").to_string();
        assert!(error.contains("version 2"), "{error}");
        for notes in ["notes\nof mine\n", "notes", "[1]\n"] {
            fs::write(&path, notes).expect("room");
            let error = Metrics::open(&path, 0, 0).expect_err("no metrics").to_string();
            assert!(error.contains("line 1 is no line of metrics"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("kept"), notes);
        }
        fs::write(&path, "").expect("room");
        Metrics::open(&path, 0, 0).expect("nothing was written yet");
        assert_eq!(read(&path).expect("the file"), [first]);
    }
}
