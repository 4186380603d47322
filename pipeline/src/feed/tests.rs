use super::*;
use crate::{
    dataset::{Class, Encoding, Statistics},
    random::Draws,
    source::Encoded,
};

const SIZE: usize = 12;
const CROP: usize = 8;
const BATCH: usize = 4;

/// Pictures made up on the spot, of three classes by turns; some cannot be read.
#[derive(Debug)]
struct Made {
    len: u64,
    /// As files of some size, not raw.
    jpegs: bool,
    corrupt: Vec<u64>,
    panics: Option<u64>,
    classes: Vec<Class>,
    statistics: Statistics,
}

impl Made {
    fn new(len: u64) -> Self {
        let class = |i| Class { wnid: format!("n{i}"), name: String::new() };
        let statistics = Statistics {
            images: len,
            mean: vec![100.0; 3 * SIZE * SIZE],
            covariance: [[0.0; 3]; 3],
            eigenvalues: [900.0, 30.0, 1.0],
            eigenvectors: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        };
        let classes = (0..3).map(class).collect();
        Self { len, jpegs: false, corrupt: vec![], panics: None, classes, statistics }
    }
}

impl Source for Made {
    fn size(&self) -> usize {
        SIZE
    }
    fn classes(&self) -> &[Class] {
        &self.classes
    }
    fn statistics(&self) -> &Statistics {
        &self.statistics
    }
    fn len(&self, _: Split) -> u64 {
        self.len
    }
    fn label(&self, _: Split, index: u64) -> u32 {
        (index % 3) as u32
    }
    fn read<'a>(
        &'a self, _: Split, index: u64, scratch: &'a mut Vec<u8>,
    ) -> Result<Encoded<'a>, SampleError> {
        assert_ne!(self.panics, Some(index), "a made-up bug");
        let mut draws = Draws::new(9, 0, 0, index);
        scratch.clear();
        if self.jpegs {
            let (width, height) = (20 + 3 * (index % 4), 31 - 2 * (index % 5));
            let smooth = (0..width * height * 3).map(|i| (i * (index + 3) / 40) as u8);
            let smooth: Vec<u8> = smooth.collect();
            let encoder = jpeg_encoder::Encoder::new(&mut *scratch, 90);
            let colour = jpeg_encoder::ColorType::Rgb;
            encoder.encode(&smooth, width as u16, height as u16, colour).expect("a picture");
            return Ok(Encoded { encoding: Encoding::Original, bytes: scratch });
        }
        let len = if self.corrupt.contains(&index) { 7 } else { SIZE * SIZE * 3 };
        scratch.extend((0..len).map(|_| draws.next_u32() as u8));
        // Workers overtake one another.
        std::thread::sleep(std::time::Duration::from_micros(u64::from(draws.below(300))));
        Ok(Encoded { encoding: Encoding::Raw, bytes: scratch })
    }
    fn place(&self, _: Split, index: u64) -> String {
        format!("picture {index}")
    }
    fn describe(&self) -> String {
        "made up".into()
    }
}

fn config(workers: usize, on_corrupt: OnCorrupt) -> FeedConfig {
    FeedConfig {
        batch: BATCH,
        crop: CROP,
        seed: 5,
        shuffle: Shuffle::Global,
        workers,
        element: Element::F32,
        lighting: Lighting::Stddev,
        decode: DecodeMode::Exact,
        on_corrupt,
        mean: None,
        corrupt_max: 100,
        trace: Trace::off(),
    }
}

/// Memory aligned for `f32`.
#[derive(Debug)]
struct Words(Vec<u32>);

impl std::ops::Deref for Words {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl std::ops::DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

fn slots(batch: usize) -> Vec<Words> {
    let words = slot_bytes(batch, CROP, Element::F32) / 4;
    (0..Feed::<Words>::slots(2)).map(|_| Words(vec![0; words])).collect()
}

type Seen = (crate::ring::Batch, Vec<u8>);

fn take(mut feed: Feed<Words>) -> Result<Vec<Seen>, FeedError> {
    let mut all = Vec::new();
    while let Some(batch) = feed.next() {
        let batch = batch?;
        all.push((batch.batch().clone(), batch.bytes().to_vec()));
    }
    Ok(all)
}

fn train(
    source: Made, config: &FeedConfig, first: u64, steps: u64,
) -> Result<Vec<Seen>, FeedError> {
    take(Feed::train(Arc::new(source), config, slots(config.batch), first, steps)?)
}

#[test]
fn the_bytes_are_the_same_for_any_workers_and_any_first_step() {
    let run = |workers, first, steps| {
        train(Made::new(18), &config(workers, OnCorrupt::Fail), first, steps).expect("sound")
    };
    let one = run(1, 0, 10); // four steps an epoch: two and a half epochs
    assert_eq!(one.len(), 10);
    assert!(one.iter().enumerate().all(|(i, seen)| seen.0.step == i as u64));
    assert_eq!(one[9].0.epoch, 2);
    assert!(one == run(2, 0, 10));
    assert!(one == run(16, 0, 10));
    assert!(one[5..] == run(3, 5, 5));
}

#[test]
fn crops_of_decoded_regions_are_those_of_whole_pictures_for_any_workers() {
    let run = |decode, workers| {
        let config = FeedConfig { decode, ..config(workers, OnCorrupt::Fail) };
        train(Made { jpegs: true, ..Made::new(18) }, &config, 0, 6).expect("sound")
    };
    let (exact, regions) = (run(DecodeMode::Exact, 2), run(DecodeMode::Region, 1));
    assert!(regions == run(DecodeMode::Region, 3));
    let mut off = 0;
    for ((_, exact), (_, region)) in exact.iter().zip(&regions) {
        let [exact, region] =
            [exact, region].map(|bytes| bytemuck::cast_slice::<u8, f32>(bytes));
        for (exact, region) in exact.iter().zip(region) {
            // Two levels, divided by 1.1 as the source does.
            assert!((exact - region).abs() < 2.01 / 1.1, "{exact}, {region}");
            off += usize::from(exact != region);
        }
    }
    let values = 6 * BATCH * 3 * CROP * CROP;
    assert!(off * 20 < values, "{off} of {values} differ");
}

#[test]
fn the_bytes_are_the_same_however_many_samples_a_task_has() {
    let run = |workers| {
        let config = FeedConfig { batch: 36, ..config(workers, OnCorrupt::Substitute) };
        train(Made { corrupt: vec![4, 40], ..Made::new(80) }, &config, 1, 4).expect("sound")
    };
    let runs = [1, 2, 3, 9].map(|workers| (dispatch::run_len(36, workers), run(workers)));
    assert_eq!(runs.each_ref().map(|(len, _)| *len), [9, 4, 3, 1]);
    for (_, seen) in &runs[1..] {
        assert!(*seen == runs[0].1);
    }
}

#[test]
fn an_epoch_has_each_sample_at_most_once_and_epochs_drop_different_ones() {
    let all = train(Made::new(18), &config(2, OnCorrupt::Fail), 0, 8).expect("sound");
    let ids = |epoch: usize| -> Vec<u64> {
        let mut ids: Vec<_> =
            all[4 * epoch..4 * epoch + 4].iter().flat_map(|seen| seen.0.ids.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    assert_eq!((ids(0).len(), ids(1).len()), (16, 16));
    assert_ne!(ids(0), ids(1));
    for (batch, _) in &all {
        let labels = batch.ids.iter().map(|id| (id % 3) as u32);
        assert!(batch.labels.iter().copied().eq(labels));
    }
}

#[test]
fn evaluation_sees_every_sample_once_and_masks_the_last_batch() {
    let source = Arc::new(Made::new(10));
    let feed =
        Feed::evaluate(source, &config(3, OnCorrupt::Substitute), Split::Val, slots(BATCH));
    let all = take(feed.expect("threads")).expect("sound");
    let ids: Vec<_> = all.iter().flat_map(|(b, _)| b.ids[..b.valid].to_vec()).collect();
    assert_eq!(ids, (0..10).collect::<Vec<_>>());
    let (last, bytes) = &all[2];
    assert_eq!((last.valid, &last.labels[2..]), (2, &[0, 0][..]));
    assert!(bytes[bytes.len() / 2..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_corrupt_sample_is_replaced_by_the_next_of_its_class() {
    let source = Made { corrupt: vec![4, 7], ..Made::new(12) };
    let all = train(source, &config(2, OnCorrupt::Substitute), 0, 3).expect("substituted");
    let mut ids: Vec<_> = all.iter().flat_map(|seen| seen.0.ids.clone()).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2, 3, 5, 6, 8, 9, 10, 10, 10, 11]);
    for (batch, _) in &all {
        assert!(
            batch.ids.iter().zip(&batch.labels).all(|(id, label)| id % 3 == u64::from(*label))
        );
    }
}

#[test]
fn a_skipped_sample_leaves_an_empty_place() {
    let source = Made { corrupt: vec![4], ..Made::new(12) };
    let all = train(source, &config(2, OnCorrupt::Skip), 0, 3).expect("skipped");
    let skipped: Vec<_> = (all.iter())
        .flat_map(|(batch, bytes)| {
            let places = bytes.chunks_exact(bytes.len() / BATCH);
            batch.labels.iter().zip(places).filter(|(label, _)| **label == SKIPPED)
        })
        .collect();
    let [(_, place)] = skipped.as_slice() else { panic!("{} skipped", skipped.len()) };
    assert!(place.iter().all(|byte| *byte == 0));
}

#[test]
fn errors_name_the_place_and_end_the_feed() {
    let fails = |source: Made, config: &FeedConfig| {
        let error = train(source, config, 0, 3).expect_err("a bad sample");
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let corrupt = |corrupt| Made { corrupt, ..Made::new(12) };
    let text = fails(corrupt(vec![4]), &config(2, OnCorrupt::Fail));
    assert!(text.contains("picture 4: 7 bytes, and a raw picture has 432"), "{text}");
    let text = fails(corrupt(vec![1, 4, 7, 10]), &config(2, OnCorrupt::Substitute));
    assert!(text.contains("no sample of its class"), "{text}");
    let few = FeedConfig { corrupt_max: 1, ..config(1, OnCorrupt::Skip) };
    assert!(fails(corrupt(vec![1, 2, 3]), &few).contains("more than 1 samples"));
    let text = fails(Made { panics: Some(3), ..Made::new(12) }, &config(2, OnCorrupt::Skip));
    assert!(text.contains("a made-up bug"), "{text}");
    let text = fails(Made::new(3), &config(2, OnCorrupt::Skip));
    assert!(text.contains("3 images do not fill a batch of 4"), "{text}");
}

#[test]
fn a_feed_can_be_dropped_at_any_time() {
    for taken in 0..4 {
        let source = Arc::new(Made::new(40));
        let config = config(3, OnCorrupt::Fail);
        let mut feed = Feed::train(source, &config, slots(BATCH), 0, 1000).expect("threads");
        let held: Vec<_> = (0..taken.min(2)).filter_map(|_| feed.next()).collect();
        drop(feed);
        drop(held);
    }
}

#[test]
fn what_does_not_fit_is_refused_before_a_thread_is_started() {
    let refused = |slots: Vec<Words>, config: &FeedConfig| {
        let feed = Feed::train(Arc::new(Made::new(20)), config, slots, 0, 1);
        feed.expect_err("it does not fit").to_string()
    };
    let fits = config(2, OnCorrupt::Fail);
    let few = |count| slots(BATCH).into_iter().take(count).collect();
    assert!(refused(few(0), &fits).starts_with("0 slots"));
    assert!(refused(few(1), &fits).starts_with("1 slots"));
    assert!(refused(slots(BATCH - 1), &fits).starts_with("a slot of 2304 bytes"));
    let mean = FeedConfig { mean: Some(vec![0.0; 7]), ..fits.clone() };
    assert!(refused(slots(BATCH), &mean).starts_with("a mean image of 7 values"));
    let none = FeedConfig { batch: 0, ..fits.clone() };
    assert!(refused(slots(BATCH), &none).contains("no images"));
    assert!(
        refused(slots(BATCH), &FeedConfig { workers: 0, ..fits }).contains("without workers")
    );
}
