//! What a bench of one stage found.

use super::rounds::Rates;
use crate::{commands::say, render::counted};
use anyhow::Result;
use serde::Serialize;

/// One thing that was measured, beside its bound.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// What was measured.
    name: String,
    images_per_s: f64,
    /// Of one thread, microseconds an image.
    us_per_image: f64,
    /// The median and the 99th percentile of single images.
    us_p50: f64,
    us_p99: f64,
    /// What no version of it could be faster than, measured in the same run.
    bound: &'static str,
    bound_images_per_s: f64,
    share_of_bound: f64,
}

impl Row {
    pub(super) fn new(
        name: impl Into<String>, rates: Rates, threads: usize, bound: &'static str,
    ) -> Self {
        Self {
            name: name.into(),
            images_per_s: rates.measured,
            us_per_image: threads as f64 * 1e6 / rates.measured,
            us_p50: 1e6 * rates.latency[0],
            us_p99: 1e6 * rates.latency[1],
            bound,
            bound_images_per_s: rates.bound,
            share_of_bound: rates.measured / rates.bound,
        }
    }
}

/// All of a stage.
#[derive(Debug, Serialize)]
pub(super) struct StageReport {
    pub(super) stage: &'static str,
    pub(super) data: String,
    pub(super) images: usize,
    pub(super) bytes_per_image: f64,
    pub(super) threads: usize,
    pub(super) rows: Vec<Row>,
}

impl StageReport {
    /// Prints it.
    pub(super) fn tell(&self, json: bool) -> Result<()> {
        say(&if json { serde_json::to_string(self)? } else { self.table() })?;
        Ok(())
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{}: {} images of {} ({:.1} kB each), {}\n{:<24} {:>10} {:>12} {:>8} {:>8} {:>12} {:>6}  bound",
            self.stage,
            self.images,
            self.data,
            self.bytes_per_image / 1e3,
            counted(self.threads, "thread"),
            "",
            "images/s",
            "us a thread",
            "median",
            "99th",
            "bound",
            "share"
        );
        for row in &self.rows {
            text += &format!(
                "\n{:<24} {:>10.0} {:>12.1} {:>8.1} {:>8.1} {:>12.0} {:>5.0} %  {}",
                row.name,
                row.images_per_s,
                row.us_per_image,
                row.us_p50,
                row.us_p99,
                row.bound_images_per_s,
                row.share_of_bound * 100.0,
                row.bound
            );
        }
        text
    }
}
