//! Pictures of a data set in memory, for benches of single stages.

use crate::{cli::BenchStageArgs, devices, render::Hint};
use anyhow::{Context as _, Result, ensure};
use pipeline::{
    dataset::{Encoding, Split},
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
        let images = source.len(Split::Train).min(args.images as u64);
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

    /// Mean size of a record, bytes.
    pub(super) fn bytes(&self) -> f64 {
        self.records.iter().map(Vec::len).sum::<usize>() as f64 / self.records.len() as f64
    }
}
