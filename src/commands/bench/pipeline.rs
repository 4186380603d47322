//! `alexnet bench pipeline`: the feed of a run with its real actors and ring, whose batches nobody
//! uses, beside what bounds it: filling the slots if the records are raw, entropy decoding if they
//! are files.

use super::{memory, rounds::by_turns};
use crate::{
    cli::BenchPipelineArgs,
    commands::{batch_recipe, say},
    config::Config,
    devices,
    log::warn,
    plan::feed_config,
    render::Done,
};
use anyhow::{Context as _, Result, ensure};
use gpu::{
    cpu::{Cpu, Slot},
    device::Device as _,
};
use pipeline::{
    dataset::{Encoding, Split},
    feed::{Feed, FeedConfig, OnCorrupt, slot_bytes},
    jpeg,
    order::steps_per_epoch,
    ring::Ready,
    source::{self, Source},
    stats::{Snapshot, Stage},
    trace::Trace,
};
use serde::Serialize;
use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Batches that the consumer holds.
const HELD: usize = 1;
/// Steps of a run without an end.
const ENDLESS: u64 = 1 << 40;
/// The bound is measured on so many records at most, for this share of the time.
const BOUND_RECORDS: u64 = 500;
const BOUND_SHARE: f64 = 0.3;

#[derive(Debug, Serialize)]
struct Report {
    data: String,
    /// Of a record, mean.
    bytes_per_image: f64,
    batch: usize,
    workers: usize,
    element: String,
    decode: String,
    order: String,
    batches: usize,
    images_per_s: f64,
    bound: &'static str,
    bound_images_per_s: f64,
    share_of_bound: f64,
    /// Between two batches.
    interval_p50_ms: f64,
    interval_p99_ms: f64,
    /// Anonymous memory, less the ring's slots.
    memory_mib: Option<u64>,
    slots_mib: u64,
    open_files: Option<usize>,
    pipeline: Snapshot,
}

/// Measures a feed.
pub(super) fn run(args: &BenchPipelineArgs) -> Result<Done> {
    let workers = args.workers.unwrap_or_else(devices::cores);
    let mut config = batch_recipe(&args.recipe, "two-tower-2012")?;
    let source = source::open(&args.data, config.data.stored, workers)
        .context("cannot open the data set")?;
    config.data.stored = source.size();
    config.check()?;
    let trace = args.trace.as_deref().map_or(Ok(Trace::off()), |path| {
        Trace::to_file(path).with_context(|| format!("cannot create {}", path.display()))
    })?;
    let feed = FeedConfig {
        element: args.element.into(),
        trace: trace.clone(),
        ..feed_config(&config, workers, OnCorrupt::Fail, 0)
    };
    check(&source, &feed)?;
    let bound_before = bound(source.as_ref(), &feed, args.seconds * BOUND_SHARE)?;
    let measured = measure(&source, &feed, args.seconds)?;
    if let Err(error) = trace.finish() {
        warn(&format!("the timeline is not whole: {error}"));
    }
    // The machine may have been faster before or after: the bound is the higher one.
    let bound_after = bound(source.as_ref(), &feed, args.seconds * BOUND_SHARE)?;
    let images_per_s = bound_before.images_per_s.max(bound_after.images_per_s);
    let bound = Bound { images_per_s, ..bound_before };
    let report = report(&config, source.as_ref(), &feed, &measured, &bound);
    say(&if args.json { serde_json::to_string(&report)? } else { table(&report) })?;
    Ok(Done::All)
}

fn slots(feed: &FeedConfig) -> Result<Vec<Slot>> {
    let device = Cpu::new("bench", 1)?;
    let bytes = slot_bytes(feed.batch, feed.crop, feed.element);
    let slots = (0..Feed::<Slot>::slots(HELD)).map(|_| device.slot(bytes));
    Ok(slots.collect::<Result<Vec<_>, _>>()?)
}

/// The first batch is the same, by one worker as by all.
fn check(source: &Arc<dyn Source>, feed: &FeedConfig) -> Result<()> {
    let first = |workers| -> Result<Ready<Slot>> {
        let feed = FeedConfig { workers, trace: Trace::off(), ..feed.clone() };
        let mut feed = Feed::train(Arc::clone(source), &feed, slots(&feed)?, 0, 1)?;
        Ok(feed.next().context("the pipeline ended early")??)
    };
    let (one, all) = (first(1)?, first(feed.workers)?);
    ensure!(
        one.bytes() == all.bytes() && one.batch() == all.batch(),
        "the first batch is another one by {} workers than by one",
        feed.workers
    );
    Ok(())
}

struct Measured {
    intervals: Vec<Duration>,
    took: Duration,
    counts: Snapshot,
    anonymous_mib: Option<u64>,
    open_files: Option<usize>,
}

fn measure(source: &Arc<dyn Source>, config: &FeedConfig, seconds: f64) -> Result<Measured> {
    let epoch = steps_per_epoch(source.len(Split::Train), config.batch);
    let mut feed = Feed::train(Arc::clone(source), config, slots(config)?, 0, ENDLESS)?;
    let mut next =
        || feed.next().context("the pipeline ended early")?.context("a batch is missing");
    let began = Instant::now();
    for _ in 0..epoch {
        drop(next()?);
        if began.elapsed().as_secs_f64() > seconds {
            break;
        }
    }
    let (before, began) = (feed.stats(), Instant::now());
    let mut intervals = Vec::new();
    let mut last = began;
    while began.elapsed().as_secs_f64() < seconds || intervals.is_empty() {
        drop(feed.next().context("the pipeline ended early")??);
        let now = Instant::now();
        intervals.push(now - last);
        last = now;
    }
    Ok(Measured {
        intervals,
        took: last - began,
        counts: feed.stats().since(&before),
        anonymous_mib: memory::anonymous_mib(),
        open_files: fs::read_dir("/proc/self/fd").ok().map(Iterator::count),
    })
}

/// What bounds a feed.
struct Bound {
    name: &'static str,
    images_per_s: f64,
    /// Of a record, mean.
    bytes: f64,
}

/// What bounds a feed, and how many images a second it would allow.
fn bound(source: &dyn Source, feed: &FeedConfig, seconds: f64) -> Result<Bound> {
    let records = source.len(Split::Train).min(BOUND_RECORDS);
    // One block, which the system has back when it is dropped: many small ones would stay with the
    // allocator and be counted as the feed's.
    let (mut files, mut ends, mut raw_bytes) = (vec![], vec![], None);
    let mut scratch = vec![];
    for i in 0..records {
        scratch.clear();
        let encoded = source.read(Split::Train, i, &mut scratch)?;
        if encoded.encoding == Encoding::Raw {
            raw_bytes = Some(encoded.bytes.len());
            break;
        }
        files.extend_from_slice(encoded.bytes);
        ends.push(files.len());
    }
    if let Some(bytes) = raw_bytes {
        let slots = slots(feed)?.into_iter().map(Mutex::new).collect::<Vec<_>>();
        let fill = |thread: usize| {
            let slots = &slots;
            let mut at = 0;
            move |i: usize| {
                // A slot at once: then the C library's fill streams past the caches.
                if at % feed.batch == 0 {
                    let slot = &slots[(at / feed.batch + thread) % slots.len()];
                    slot.lock().unwrap_or_else(PoisonError::into_inner).fill(i as u8);
                }
                at += 1;
            }
        };
        let rates = by_turns(feed.workers, feed.batch * slots.len(), seconds, &fill, &fill);
        let images_per_s = rates.bound.max(rates.measured);
        return Ok(Bound { name: "filling the slots", images_per_s, bytes: bytes as f64 });
    }
    let entropy = |_| {
        let (mut decoder, files, ends) = (jpeg::Decoder::new(), &files, &ends);
        move |i: usize| {
            let start = i.checked_sub(1).map_or(0, |before| ends[before]);
            drop(decoder.decode_coefficients(&files[start..ends[i]]));
        }
    };
    let rates = by_turns(feed.workers, ends.len(), seconds, &entropy, &entropy);
    let images_per_s = rates.bound.max(rates.measured);
    let bytes = files.len() as f64 / ends.len() as f64;
    Ok(Bound { name: "entropy decoding alone", images_per_s, bytes })
}

fn report(
    config: &Config, source: &dyn Source, feed: &FeedConfig, measured: &Measured, bound: &Bound,
) -> Report {
    let mut intervals = measured.intervals.clone();
    intervals.sort();
    let percentile = |p: usize| {
        let at = (intervals.len() * p / 100).min(intervals.len() - 1);
        intervals[at].as_secs_f64() * 1e3
    };
    let images_per_s = (intervals.len() * feed.batch) as f64 / measured.took.as_secs_f64();
    let slots_mib = (Feed::<Slot>::slots(HELD)
        * slot_bytes(feed.batch, feed.crop, feed.element)) as u64
        >> 20;
    Report {
        data: source.describe(),
        bytes_per_image: bound.bytes,
        batch: feed.batch,
        workers: feed.workers,
        element: format!("{:?}", feed.element).to_lowercase(),
        decode: format!("{:?}", feed.decode).to_lowercase(),
        order: config.data.order.to_string(),
        batches: intervals.len(),
        images_per_s,
        bound: bound.name,
        bound_images_per_s: bound.images_per_s,
        share_of_bound: images_per_s / bound.images_per_s,
        interval_p50_ms: percentile(50),
        interval_p99_ms: percentile(99),
        memory_mib: measured.anonymous_mib.map(|mib| mib.saturating_sub(slots_mib)),
        slots_mib,
        open_files: measured.open_files,
        pipeline: measured.counts,
    }
}

fn table(report: &Report) -> String {
    let unknown = || "unknown".to_owned();
    let mut text = format!(
        "{}\nbatches of {} in {}, order {}, decode {}, {} workers: {} batches\n\
         {:.0} images/s, {:.0} % of {} ({:.0} images/s)\n\
         a batch each {:.1} ms (median), {:.1} ms (99th percentile)\n\
         memory {} MiB and {} MiB of slots, {} open files\n\
         {:<10} {:>10} {:>14} {:>16} {:>16}",
        report.data,
        report.batch,
        report.element,
        report.order,
        report.decode,
        report.workers,
        report.batches,
        report.images_per_s,
        report.share_of_bound * 100.0,
        report.bound,
        report.bound_images_per_s,
        report.interval_p50_ms,
        report.interval_p99_ms,
        report.memory_mib.map_or_else(unknown, |mib| mib.to_string()),
        report.slots_mib,
        report.open_files.map_or_else(unknown, |files| files.to_string()),
        "stage",
        "items",
        "us an item",
        "waiting empty ms",
        "waiting full ms",
    );
    for stage in Stage::ALL {
        let stats = report.pipeline.stage(stage);
        text += &format!(
            "\n{:<10} {:>10} {:>14.1} {:>16.0} {:>16.0}",
            stage.name(),
            stats.items,
            stats.busy_us as f64 / stats.items.max(1) as f64,
            stats.waiting_empty_us as f64 / 1e3,
            stats.waiting_full_us as f64 / 1e3
        );
    }
    text
}
