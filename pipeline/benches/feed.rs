//! How near the whole feed comes to the speed at which slots can be filled at all:
//! `cargo bench -p pipeline --bench feed -- [--records N] [--rounds N] [--batches N] [--workers N]`.
//!
//! Raw pictures of side 256 in shards, made for it in a temporary folder, to shuffled batches of 128
//! crops of side 224, through actors and ring, for a consumer that only gives them back. The bound
//! is `fill` of as many slots by as many threads, in turns with the feed. The median of all rounds is
//! shown, and the best; the first pass over the data, in which records are checked, is not. Then a
//! worker's time for an image.

use memmap2::MmapMut;
use pipeline::{
    augment::{Augment, Element, Lighting},
    dataset::{Class, Dataset, Encoding, FORMAT, Split, SplitInfo, Statistics},
    feed::{DecodeMode, Feed, FeedConfig, OnCorrupt, slot_bytes},
    order::Shuffle,
    random::Draws,
    shard::ShardWriter,
    source::{Shards, Source},
    stats::{Snapshot, Stage},
    trace::Trace,
};
use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

const STORED: usize = 256;
const CROP: usize = 224;
const BATCH: usize = 128;
const SHARDS: usize = 4;
const ELEMENTS: [Element; 3] = [Element::F32, Element::F16, Element::Bf16];

struct Options {
    records: usize,
    rounds: usize,
    batches: u64,
    workers: Vec<usize>,
}

fn options() -> Options {
    let mut options = Options { records: 2000, rounds: 9, batches: 12, workers: vec![1, 2] };
    let args: Vec<String> = std::env::args().collect();
    for pair in args.windows(2) {
        let number = || pair[1].parse().expect("a number");
        match pair[0].as_str() {
            "--records" => options.records = number(),
            "--rounds" => options.rounds = number(),
            "--batches" => options.batches = number() as u64,
            "--workers" => options.workers = vec![number()],
            _ => {}
        }
    }
    options
}

fn picture(index: usize) -> Vec<u8> {
    let mut draws = Draws::new(2012, 0, 0, index as u64);
    (0..3 * STORED * STORED / 4).flat_map(|_| draws.next_u32().to_le_bytes()).collect()
}

/// A data set of two classes by turns.
fn pack(dir: &Path, records: usize) {
    let mut shards = vec![];
    for shard in 0..SHARDS {
        let path = dir.join(format!("train-{shard}.shard"));
        let mut writer = ShardWriter::create(&path, Encoding::Raw, STORED).expect("a folder");
        for record in shard * records / SHARDS..(shard + 1) * records / SHARDS {
            writer.push(record as u32 % 2, &picture(record)).expect("room");
        }
        shards.push(writer.finish().expect("room"));
    }
    let class = |i| Class { wnid: format!("n{i}"), name: String::new() };
    let dataset = Dataset {
        format: FORMAT,
        size: STORED,
        encoding: Encoding::Raw,
        filter: "none".into(),
        quality: None,
        classes: (0..2).map(class).collect(),
        ilsvrc_ids: vec![],
        splits: vec![SplitInfo {
            split: Split::Train,
            records: records as u64,
            per_class: vec![records.div_ceil(2) as u64, (records / 2) as u64],
            shards,
            skipped: vec![],
            duplicates: vec![],
        }],
        statistics: Statistics {
            images: records as u64,
            mean: (0..3 * STORED * STORED).map(|i| 120.0 + (i % 97) as f32 / 13.0).collect(),
            covariance: [[0.0; 3]; 3],
            eigenvalues: [14_000.0, 1_300.0, 300.0],
            eigenvectors: [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]],
        },
    };
    dataset.store(dir).expect("room");
}

fn config(element: Element, workers: usize) -> FeedConfig {
    FeedConfig {
        batch: BATCH,
        crop: CROP,
        seed: 1,
        shuffle: Shuffle::Global,
        workers,
        element,
        lighting: Lighting::Stddev,
        decode: DecodeMode::Exact,
        on_corrupt: OnCorrupt::Fail,
        mean: None,
        corrupt_max: 0,
        trace: Trace::off(),
    }
}

/// As the CPU device makes them.
fn slot(bytes: usize) -> MmapMut {
    let mut slot = MmapMut::map_anon(bytes).expect("memory");
    #[cfg(target_os = "linux")]
    let _ = slot.advise(memmap2::Advice::HugePage);
    slot.fill(1);
    slot
}

fn slots(element: Element) -> Vec<MmapMut> {
    let bytes = slot_bytes(BATCH, CROP, element);
    (0..Feed::<MmapMut>::slots(0)).map(|_| slot(bytes)).collect()
}

/// Holds some samples against the picture and the plain version of augmentation.
fn check(source: &Arc<dyn Source>, element: Element) {
    let config = config(element, 2);
    let mut feed =
        Feed::train(Arc::clone(source), &config, slots(element), 3, 2).expect("data");
    let statistics = source.statistics();
    let augment = Augment::new(STORED, CROP, element, config.lighting, statistics);
    let (_, plain) = augment.at_every_level().swap_remove(0);
    while let Some(batch) = feed.next() {
        let batch = batch.expect("sound");
        let places = batch.bytes().chunks_exact(plain.sample_bytes());
        for (id, place) in batch.batch().ids.iter().zip(places).step_by(13) {
            let mut wanted = vec![0; plain.sample_bytes()];
            let draw = plain.draw(config.seed, batch.batch().epoch, *id);
            plain.crop(&mut wanted, &picture(*id as usize), &draw);
            assert!(wanted == place, "{element:?}, sample {id}");
        }
    }
}

/// Seconds for a batch through the feed, past its start, and what the workers did meanwhile.
fn feed(source: &Arc<dyn Source>, config: &FeedConfig, batches: u64) -> (f64, Snapshot) {
    let lead = 4; // batches by which threads and ring are in their stride
    let slots = slots(config.element);
    let mut feed =
        Feed::train(Arc::clone(source), config, slots, 0, lead + batches).expect("data");
    let take = |feed: &mut Feed<MmapMut>| {
        drop(black_box(feed.next().expect("more").expect("sound")));
    };
    (0..lead).for_each(|_| take(&mut feed));
    let (before, began) = (feed.stats(), Instant::now());
    (0..batches).for_each(|_| take(&mut feed));
    let seconds = began.elapsed().as_secs_f64() / batches as f64;
    (seconds, feed.stats().since(&before))
}

/// Seconds to fill a slot.
fn fill(slots: &mut [MmapMut], threads: usize, batches: u64) -> f64 {
    let began = Instant::now();
    std::thread::scope(|scope| {
        let mut parts: Vec<Vec<&mut [u8]>> = (0..threads).map(|_| vec![]).collect();
        for slot in slots.iter_mut() {
            let part = slot.len() / threads;
            let of_slot = slot.chunks_mut(part);
            parts.iter_mut().zip(of_slot).for_each(|(parts, part)| parts.push(part));
        }
        for mut parts in parts {
            scope.spawn(move || {
                let count = parts.len();
                (0..batches as usize).for_each(|i| black_box(&mut parts[i % count]).fill(7));
            });
        }
    });
    began.elapsed().as_secs_f64() / batches as f64
}

fn median_and_best(times: &mut [f64]) -> [f64; 2] {
    times.sort_unstable_by(f64::total_cmp);
    [times[times.len() / 2], times[0]]
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let Options { records, rounds, batches, workers } = options();
    let dir = tempfile::tempdir().expect("a folder");
    pack(dir.path(), records);
    let source: Arc<dyn Source> = Arc::new(Shards::open(dir.path()).expect("its own shards"));
    let read_all = || {
        let began = Instant::now();
        for index in 0..source.len(Split::Train) {
            black_box(source.read(Split::Train, index, &mut vec![]).expect("sound"));
        }
        1e6 * began.elapsed().as_secs_f64() / records as f64
    };
    let reads = [read_all(), read_all()];
    println!("a record: {:.1} us the first time, {:.2} us later", reads[0], reads[1]);
    ELEMENTS.iter().for_each(|element| check(&source, *element));
    println!(
        "| element | workers | images/s | fill | of the bound | read us | augment us | idle us |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for element in ELEMENTS {
        for workers in &workers {
            let (mut fills, mut feeds) = (vec![], vec![]);
            let (mut filled, mut work) = (slots(element), Snapshot::default());
            for _ in 0..rounds {
                fills.push(fill(&mut filled, *workers, batches));
                let (seconds, stats) = feed(&source, &config(element, *workers), batches);
                feeds.push(seconds);
                work = work.plus(&stats);
            }
            let [bound, ours] = [&mut fills, &mut feeds].map(|times| median_and_best(times));
            let [read, augment] = [Stage::Read, Stage::Augment].map(|stage| work.stage(stage));
            let per_image = |us: u64| us as f64 / augment.items as f64;
            let images = |seconds: f64| BATCH as f64 / seconds;
            println!(
                "| {element:?} | {workers} | {:.0} ({:.0}) | {:.0} ({:.0}) | {:.0} % ({:.0} %) | {:.1} | {:.1} | {:.1} |",
                images(ours[0]),
                images(ours[1]),
                images(bound[0]),
                images(bound[1]),
                100.0 * bound[0] / ours[0],
                100.0 * bound[1] / ours[1],
                per_image(read.busy_us),
                per_image(augment.busy_us),
                per_image(read.waiting_empty_us),
            );
        }
    }
}
