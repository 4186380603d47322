//! A feed takes no more memory and no more files after twenty epochs than after three.

#![cfg(target_os = "linux")]

use pipeline::{
    dataset::{Encoding, Split},
    feed::{Feed, FeedConfig},
    order::steps_per_epoch,
    pack::{self, PackConfig},
    source,
    synth::{self, SynthConfig},
};
use std::{fs, path::Path};

/// What the allocator may keep more of at one moment than at another, KiB.
const SLACK_KIB: u64 = 1024;

/// Anonymous memory in KiB, and open files, of this process.
fn held() -> (u64, usize) {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line =
        status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("since 4.5");
    let kib = line.trim().trim_end_matches(" kB").parse().expect("a number");
    (kib, fs::read_dir("/proc/self/fd").expect("Linux has it").count())
}

fn is_flat(data: &Path) {
    let config = FeedConfig { workers: 3, ..FeedConfig::new(16, 56) };
    let source = source::open(data, 64, config.workers).expect("a data set");
    let slots = (0..Feed::<Vec<u8>>::slots(1)).map(|_| vec![0; config.slot_bytes()]).collect();
    let per_epoch = steps_per_epoch(source.len(Split::Train), config.batch);
    let mut feed = Feed::train(source, &config, slots, 0, 20 * per_epoch).expect("a feed");
    let mut after_three = None;
    let mut step = 0;
    while let Some(batch) = feed.next() {
        drop(batch.expect("sound pictures"));
        step += 1;
        if step == 3 * per_epoch {
            after_three = Some(held());
        }
    }
    let ((before, files_before), (after, files)) = (after_three.expect("20 epochs"), held());
    assert!(after <= before + SLACK_KIB, "{before} KiB after 3 epochs, {after} after 20");
    // One by one, a worker opens pictures of a tree.
    assert!(files <= files_before + config.workers, "{files_before} files, then {files}");
}

#[test]
fn memory_and_files_stay_as_they_were() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = dir.path().join("tree");
    let made = SynthConfig {
        classes: 4,
        per_class: 40,
        val_per_class: 0,
        seed: 1,
        jobs: 2,
        shorter_side: Some(80),
    };
    synth::synth(&made, &tree, &|_| {}).expect("a tree");
    is_flat(&tree);
    for encoding in [Encoding::Raw, Encoding::Jpeg] {
        let out = dir.path().join(encoding.name());
        let config = PackConfig { size: 64, encoding, ..PackConfig::new(&tree, &out) };
        pack::build(&config, &|_| {}).expect("a set");
        is_flat(&out);
    }
}
