//! Pictures to shards: workers decode, rescale and encode; one writer puts the records in the order
//! of the source, so that any number of jobs writes the same bytes, and enters every shard that is
//! whole in the manifest.
//!
//! A worker keeps sums over the training pictures of one shard and hands them over with its first
//! picture of a later one. A shard is entered when the pictures in the sums that came for it are as
//! many as its records: a few pictures after its last, so that nobody waits for anybody.

use super::{
    PackError, PackPolicy, Progress,
    manifest::{Manifest, Packed},
    ordered::{Piece, ordered},
    plan::{Chunk, Plan},
    rewrite::Rewriter,
    staging::Staging,
};
use crate::{
    dataset::{Duplicate, Encoding, Skipped, Split},
    decode::DecodeError,
    resize::Stored,
    shard::ShardWriter,
    source::{Encoded, SampleError},
    statistics::Accumulator,
};
use std::collections::BTreeMap;

/// What a worker made of a picture.
struct Made {
    /// Nothing for a copy that is left out.
    record: Option<Result<Vec<u8>, SampleError>>,
    /// Over the worker's pictures of an earlier shard.
    sums: Option<(usize, Accumulator)>,
}

impl Piece for Made {
    fn bytes(&self) -> u64 {
        self.record.iter().flatten().map(|record| record.capacity() as u64).sum()
    }
}

/// A shard being written.
struct Open {
    writer: ShardWriter,
    skipped: Vec<Skipped>,
    duplicates: Vec<Duplicate>,
    lost: BTreeMap<u32, u64>,
}

/// A shard on its way into the manifest.
#[derive(Default)]
struct Waiting {
    /// Once it is whole.
    packed: Option<Packed>,
    sums: Option<Accumulator>,
}

/// The writer.
pub(super) struct Packer<'a> {
    plan: &'a Plan<'a>,
    staging: &'a mut Staging,
    manifest: Manifest,
    open: Option<Open>,
    waiting: BTreeMap<usize, Waiting>,
}

impl<'a> Packer<'a> {
    /// Goes on where `manifest` ends, in the folder where its shards are.
    pub(super) fn new(
        plan: &'a Plan<'a>, staging: &'a mut Staging, manifest: Manifest,
    ) -> Self {
        Self { plan, staging, manifest, open: None, waiting: BTreeMap::new() }
    }

    /// Packs the rest of the manifest's part; returns the whole manifest.
    ///
    /// # Errors
    /// If a picture cannot be decoded and the policy says so, or a file cannot be written.
    pub(super) fn run(
        mut self, progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Manifest, PackError> {
        let plan = self.plan;
        let part = self.manifest.part.range(plan.chunks.len());
        let todo = part.start + self.manifest.shards.len()..part.end;
        let total = plan.pictures(part.clone());
        let before = plan.pictures(part.start..todo.start);
        // The number of each shard's first picture among those that are left to do.
        let mut firsts = vec![0];
        for chunk in todo.clone() {
            firsts.push(firsts[firsts.len() - 1] + plan.pictures(chunk..chunk + 1) as usize);
        }
        let at = |i: usize| {
            let nth = firsts.partition_point(|first| *first <= i) - 1;
            let chunk = todo.start + nth;
            (chunk, plan.chunks[chunk].samples.start + (i - firsts[nth]) as u64)
        };
        let workers = ordered(
            plan.config.jobs,
            firsts[firsts.len() - 1],
            || Worker::new(plan),
            |worker, i| {
                let (chunk, index) = at(i);
                worker.make(chunk, index)
            },
            |i, made| {
                let (chunk, index) = at(i);
                self.take(chunk, index, made)?;
                progress(Progress { done: before + i as u64 + 1, total });
                Ok::<_, PackError>(())
            },
        )?;
        for sums in workers.into_iter().filter_map(|worker| worker.sums) {
            self.count(sums)?;
        }
        assert!(self.waiting.is_empty(), "shards without sums: {:?}", self.waiting.keys());
        Ok(self.manifest)
    }

    fn take(&mut self, chunk: usize, index: u64, made: Made) -> Result<(), PackError> {
        let Chunk { split, samples, .. } = &self.plan.chunks[chunk];
        let config = self.plan.config;
        if let Some(sums) = made.sums {
            self.count(sums)?;
        }
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let path = self.staging.path().join(self.plan.chunks[chunk].file());
                let writer = ShardWriter::create(&path, config.encoding, config.size)?;
                let (skipped, duplicates, lost) = (vec![], vec![], BTreeMap::new());
                none.insert(Open { writer, skipped, duplicates, lost })
            }
        };
        match made.record {
            Some(Ok(bytes)) => {
                open.writer.push(self.plan.listing.label(*split, index), &bytes)?;
            }
            Some(Err(error)) if config.on_corrupt == PackPolicy::Fail => {
                return Err(PackError::Corrupt(error));
            }
            Some(Err(error)) => open.skip(self.plan, *split, index, &error),
            None => {
                let (of_split, of_index) = self.plan.copies[&(*split, index)];
                let path = self.plan.name(*split, index);
                let of = self.plan.name(of_split, of_index);
                open.duplicates.push(Duplicate { path, of });
            }
        }
        if index + 1 == samples.end { self.finish(chunk, *split) } else { Ok(()) }
    }

    fn finish(&mut self, chunk: usize, split: Split) -> Result<(), PackError> {
        let Open { writer, skipped, duplicates, lost } =
            self.open.take().expect("its last picture was taken");
        let shard = writer.finish()?;
        let packed = Packed { split, shard, skipped, duplicates, lost };
        self.waiting.entry(chunk).or_default().packed = Some(packed);
        self.enter()
    }

    fn count(&mut self, (chunk, sums): (usize, Accumulator)) -> Result<(), PackError> {
        match &mut self.waiting.entry(chunk).or_default().sums {
            Some(all) => all.merge(&sums),
            none => *none = Some(sums),
        }
        self.enter()
    }

    /// Enters all shards at the front that are whole and counted.
    fn enter(&mut self) -> Result<(), PackError> {
        let mut entered = false;
        while let Some(first) = self.waiting.first_entry() {
            let Waiting { packed: Some(packed), sums } = first.get() else { break };
            let counted = sums.as_ref().map_or(0, Accumulator::images);
            if packed.split == Split::Train && counted < u64::from(packed.shard.records) {
                break;
            }
            let Waiting { packed, sums } = first.remove();
            self.manifest.shards.extend(packed);
            if let Some(sums) = sums {
                self.manifest.sums.merge(&sums);
            }
            entered = true;
        }
        if entered {
            self.manifest.store(self.staging.path())?;
            self.staging.keep(); // from here on it is of use to the next call, whatever happens
        }
        Ok(())
    }
}

impl Open {
    fn skip(&mut self, plan: &Plan<'_>, split: Split, index: u64, error: &SampleError) {
        // The reason alone: where the source stands is another on each machine.
        let reason = match error {
            SampleError::Decode { source, .. } => source.to_string(),
            SampleError::Read { source, .. } => source.to_string(),
            SampleError::Shard(error) => error.to_string(),
        };
        tracing::warn!("left out: {}: {reason}", plan.listing.place(split, index));
        self.skipped.push(Skipped { path: plan.name(split, index), reason });
        *self.lost.entry(plan.listing.label(split, index)).or_default() += 1;
    }
}

/// One thread: pictures to records, and the sums over those of training.
struct Worker<'a> {
    plan: &'a Plan<'a>,
    /// Of a shard's pictures.
    sums: Option<(usize, Accumulator)>,
    stored: Stored,
    rewriter: Rewriter,
    bytes: Vec<u8>,
    square: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(plan: &'a Plan<'a>) -> Self {
        let stored = if plan.config.upright { Stored::upright() } else { Stored::new() };
        Self {
            plan,
            sums: None,
            stored,
            rewriter: Rewriter::default(),
            bytes: vec![],
            square: vec![],
        }
    }

    fn make(&mut self, chunk: usize, index: u64) -> Made {
        let sums = self.sums.take_if(|(of, _)| *of != chunk);
        let split = self.plan.chunks[chunk].split;
        let dropped = self.plan.is_dropped(split, index);
        Made { record: (!dropped).then(|| self.record(chunk, split, index)), sums }
    }

    fn record(
        &mut self, chunk: usize, split: Split, index: u64,
    ) -> Result<Vec<u8>, SampleError> {
        let (config, listing) = (self.plan.config, &self.plan.listing);
        listing.read(split, index, &mut self.bytes)?;
        let encoded = Encoded { encoding: Encoding::Original, bytes: &self.bytes };
        let place = |source| SampleError::Decode { place: listing.place(split, index), source };
        self.stored.square(encoded, config.size, &mut self.square).map_err(place)?;
        let record = match config.encoding {
            Encoding::Raw => self.square.clone(),
            Encoding::Original => {
                let rewritten =
                    config.row_markers.then(|| self.rewriter.rewritten(&self.bytes));
                rewritten.flatten().unwrap_or_else(|| self.bytes.clone())
            }
            Encoding::Jpeg => {
                jpeg(&self.square, config.size, self.plan.quality).map_err(place)?
            }
        };
        if split == Split::Train {
            let new = || (chunk, Accumulator::new(config.size));
            self.sums.get_or_insert_with(new).1.add(&self.square);
        }
        Ok(record)
    }
}

fn jpeg(square: &[u8], size: usize, quality: u8) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = Vec::new();
    let side = size as u16; // at most SIZE_MAX
    jpeg_encoder::Encoder::new(&mut bytes, quality)
        .encode(square, side, side, jpeg_encoder::ColorType::Rgb)
        .map_err(|e| DecodeError::Broken { format: "JPEG", reason: e.to_string() })?;
    Ok(bytes)
}
