//! The order of an epoch on storage that seeks slowly and reads neighbours fast, by an injected model
//! of it: what is counted are its seeks, not the time.

use pipeline::{
    augment::Lighting,
    dataset::{Class, Encoding, Split, Statistics},
    feed::{Feed, FeedConfig},
    order::{Shuffle, WINDOW_BLOCKS},
    source::{Encoded, SampleError, Source},
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Neighbours that the disk reads at once.
const TRACK: u64 = 32;
const TRACKS: u64 = 64;
/// Tracks that its cache holds: those of a window, and one more.
const CACHED: usize = WINDOW_BLOCKS as usize + 1;
/// Side of a picture, pixels.
const SIDE: usize = 2;
const BATCH: usize = 16;
/// A seek, a hundredth of a real one: the feed must come to no harm while it waits.
const SEEK: Duration = Duration::from_micros(80);

/// A disk with a cache of tracks, the oldest going first.
#[derive(Debug)]
struct Disk {
    cache: Mutex<(VecDeque<u64>, u64)>,
    classes: Vec<Class>,
    statistics: Statistics,
}

impl Disk {
    fn new() -> Self {
        let class = |i| Class { wnid: format!("n{i}"), name: String::new() };
        let statistics = Statistics {
            images: TRACK * TRACKS,
            mean: vec![0.0; 3 * SIDE * SIDE],
            covariance: [[0.0; 3]; 3],
            eigenvalues: [0.0; 3],
            eigenvectors: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let cache = Mutex::new((VecDeque::new(), 0));
        Self { cache, classes: (0..2).map(class).collect(), statistics }
    }

    fn seeks(&self) -> u64 {
        self.cache.lock().expect("no panic").1
    }
}

impl Source for Disk {
    fn size(&self) -> usize {
        SIDE
    }
    fn classes(&self) -> &[Class] {
        &self.classes
    }
    fn statistics(&self) -> &Statistics {
        &self.statistics
    }
    fn len(&self, split: Split) -> u64 {
        if split == Split::Train { TRACK * TRACKS } else { 0 }
    }
    fn label(&self, _: Split, index: u64) -> u32 {
        (index % 2) as u32
    }
    fn read<'a>(
        &'a self, _: Split, index: u64, scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError> {
        let mut cache = self.cache.lock().expect("no panic");
        let (tracks, seeks) = &mut *cache;
        let track = index / TRACK;
        if !tracks.contains(&track) {
            *seeks += 1;
            if tracks.len() == CACHED {
                tracks.pop_front();
            }
            tracks.push_back(track);
            std::thread::sleep(SEEK);
        }
        scratch.clear();
        scratch.resize(3 * SIDE * SIDE, index as u8);
        Ok(Encoded { encoding: Encoding::Raw, bytes: scratch })
    }
    fn place(&self, _: Split, index: u64) -> String {
        format!("sample {index}")
    }
    fn describe(&self) -> String {
        "a disk".into()
    }
}

/// Seeks of one epoch.
fn seeks(shuffle: Shuffle) -> u64 {
    let disk = Arc::new(Disk::new());
    let config = FeedConfig {
        shuffle,
        workers: 2,
        lighting: Lighting::Off,
        ..FeedConfig::new(BATCH, SIDE)
    };
    let slots = (0..Feed::<Vec<u8>>::slots(1)).map(|_| vec![0; config.slot_bytes()]).collect();
    let source: Arc<dyn Source> = disk.clone();
    let steps = TRACK * TRACKS / BATCH as u64;
    let mut feed = Feed::train(source, &config, slots, 0, steps).expect("a feed");
    let mut seen = vec![false; (TRACK * TRACKS) as usize];
    while let Some(batch) = feed.next() {
        let batch = batch.expect("sound samples");
        batch.batch().ids.iter().for_each(|id| seen[*id as usize] = true);
    }
    assert!(seen.iter().all(|seen| *seen), "an epoch has each sample");
    disk.seeks()
}

#[test]
fn permuted_blocks_are_read_with_a_seek_each_and_a_global_order_with_one_for_most_samples() {
    let (global, blocks, packed) =
        (seeks(Shuffle::Global), seeks(Shuffle::Block(TRACK)), seeks(Shuffle::Packed));
    assert_eq!(packed, TRACKS);
    // Where two windows meet, workers that overtake one another cost a track now and then.
    assert!((TRACKS..2 * TRACKS).contains(&blocks), "{blocks} seeks for {TRACKS} tracks");
    let (samples, cached) = (TRACK * TRACKS, CACHED as u64);
    let expected = samples * (TRACKS - cached) / TRACKS;
    assert!(global > expected * 9 / 10, "{global} seeks, and {expected} expected");
}
