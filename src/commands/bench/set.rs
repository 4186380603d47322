//! Pictures of a data set in memory, for benches of single stages.

use super::report::{Row, StageReport};
use crate::{cli::BenchStageArgs, config::Config, devices, render::Hint};
use anyhow::{Context as _, Result, ensure};
use pipeline::{
    dataset::{Encoding, Split},
    random::Draws,
    resize::Window,
    source::{self, Encoded, Source},
};
use std::sync::Arc;

/// The first pictures of a training set, as they are stored.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) source: Arc<dyn Source>,
    pub(super) encoding: Encoding,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) threads: usize,
}

impl Set {
    /// Reads what the flags ask for; `stored` is the side of a tree's pictures.
    pub(super) fn read(args: &BenchStageArgs, stored: usize) -> Result<Self> {
        let threads = args.threads.unwrap_or_else(devices::cores);
        let source =
            source::open(&args.data, stored, threads).context("cannot open the data set")?;
        ensure!(
            args.seconds.is_finite() && args.seconds >= 0.0,
            "--seconds {}: 0 or more",
            args.seconds
        );
        let images = source.len(Split::Train).min(u64::from(args.images));
        ensure!(images > 0, "{} has no training images", args.data.display());
        let (mut scratch, mut encoding) = (vec![], Encoding::Raw);
        let mut records = Vec::new();
        for i in 0..images {
            scratch.clear();
            let encoded = source.read(Split::Train, i, &mut scratch)?;
            encoding = encoded.encoding;
            records.push(encoded.bytes.to_vec());
        }
        Ok(Self { source, encoding, records, threads })
    }

    /// The same, of files to be decoded.
    pub(super) fn of_files(args: &BenchStageArgs, stored: usize) -> Result<Self> {
        let set = Self::read(args, stored)?;
        ensure!(
            set.encoding != Encoding::Raw,
            Hint::new(
                format!("{} holds raw pixels: there is nothing to decode", args.data.display()),
                "pass a tree of JPEGs, or shards of --encoding jpeg or original",
            )
        );
        Ok(set)
    }

    /// One record as the source gives it.
    pub(super) fn encoded(&self, index: usize) -> Encoded<'_> {
        Encoded { encoding: self.encoding, bytes: &self.records[index] }
    }

    /// What was found of a stage.
    pub(super) fn report(&self, stage: &'static str, rows: Vec<Row>) -> StageReport {
        let bytes = self.records.iter().map(Vec::len).sum::<usize>();
        StageReport {
            stage,
            data: self.source.describe(),
            images: self.records.len(),
            bytes_per_image: bytes as f64 / self.records.len() as f64,
            threads: self.threads,
            rows,
        }
    }
}

/// The windows of training crops.
#[derive(Debug)]
pub(super) struct Windows {
    pub(super) stored: usize,
    pub(super) crop: usize,
}

impl Windows {
    /// Those of the 2012 recipe.
    pub(super) fn new() -> Result<Self> {
        let config = Config::load("two-tower-2012", None)?;
        Ok(Self { stored: config.data.stored, crop: config.data.crop })
    }

    /// That of image `index`, as chance has it.
    pub(super) fn of(&self, index: usize) -> Window {
        let mut draws = Draws::new(1, 0, 0, index as u64);
        let places = (self.stored - self.crop + 1) as u32;
        let [x, y] = [(); 2].map(|()| draws.below(places) as usize);
        Window { x, y, side: self.crop }
    }
}
