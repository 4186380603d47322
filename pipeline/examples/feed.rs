//! Feeds a loop of one's own: `cargo run --release -p pipeline --example feed -- DIR`, where DIR holds
//! train/CLASS/*.JPEG or what `prepack build` wrote. There is no device and no runtime: slots are plain
//! memory, and batches come in order, the same for any number of workers.

#![expect(clippy::print_stdout, reason = "it is an example")]

use pipeline::{
    dataset::Split,
    feed::{Feed, FeedConfig},
    order::steps_per_epoch,
    source,
};
use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("pass a folder")?);
    let config = FeedConfig::new(64, 224);
    let source = source::open(&dir, 256, config.workers)?;
    let slots = (0..Feed::<Vec<u8>>::slots(1)).map(|_| vec![0; config.slot_bytes()]).collect();
    let steps = steps_per_epoch(source.len(Split::Train), config.batch);
    let mut feed = Feed::train(source, &config, slots, 0, steps)?;
    while let Some(batch) = feed.next() {
        let ready = batch?; // its slot goes home when it is dropped
        let (pixels, labels) = (ready.bytes(), &ready.batch().labels); // [64, 3, 224, 224] f32
        println!("step {}: {} bytes, labels {labels:?}", ready.batch().step, pixels.len());
    }
    Ok(())
}
