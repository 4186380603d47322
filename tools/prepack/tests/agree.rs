//! A tree, its raw shards and its original shards give the same batches, byte for byte.

use crate::common::{build, skip, test_data, tree};
use pipeline::{
    augment::{Element, Lighting},
    dataset::Split,
    feed::{DecodeMode, Feed, FeedConfig, OnCorrupt, slot_bytes},
    order::Shuffle,
    ring::Batch,
    source::{self, Source},
    trace::Trace,
};
use std::{
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

/// Samples in a batch.
const BATCH: usize = 4;

/// Memory aligned for `f32`.
#[derive(Debug)]
struct Words(Vec<u32>);

impl Deref for Words {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Words {
    fn deref_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// The first `steps` training batches, and all of the evaluation of the training set.
fn batches(source: &Arc<dyn Source>, workers: usize, steps: u64) -> Vec<(Batch, Vec<u8>)> {
    let crop = source.size() * 7 / 8; // 224 of 256
    let config = FeedConfig {
        batch: BATCH,
        crop,
        seed: 3,
        shuffle: Shuffle::Global,
        workers,
        element: Element::F32,
        lighting: Lighting::Stddev,
        decode: DecodeMode::Exact,
        on_corrupt: OnCorrupt::Fail,
        mean: None,
        corrupt_max: 0,
        trace: Trace::off(),
    };
    let slots = || {
        let words = slot_bytes(BATCH, crop, Element::F32) / 4;
        (0..Feed::<Words>::slots(1)).map(|_| Words(vec![0; words])).collect::<Vec<_>>()
    };
    let feeds = [
        Feed::train(Arc::clone(source), &config, slots(), 0, steps),
        Feed::evaluate(Arc::clone(source), &config, Split::Train, slots()),
    ];
    let mut all = Vec::new();
    for feed in feeds {
        let mut feed = feed.expect("threads");
        while let Some(batch) = feed.next() {
            let batch = batch.expect("sound");
            all.push((batch.batch().clone(), batch.bytes().to_vec()));
        }
    }
    all
}

/// Packs `tree` raw and original, and holds both against the tree for 1, 2 and 16 workers.
fn agree(dir: &Path, tree: &Path, size: usize, steps: u64) {
    let open = |path: &Path| source::open(path, size, 2).expect("a sound set");
    let packed = |encoding: &str| {
        let out = dir.join(encoding);
        build(tree, &out, &format!("--size {size} --encoding {encoding}")).well();
        open(&out)
    };
    let (tree, raw, original) = (open(tree), packed("raw"), packed("original"));
    assert_eq!((tree.statistics(), tree.classes()), (raw.statistics(), raw.classes()));
    assert_eq!(raw.statistics(), original.statistics());
    let wanted = batches(&tree, 1, steps);
    let evaluated = tree.len(Split::Train).div_ceil(BATCH as u64);
    assert_eq!(wanted.len() as u64, steps + evaluated);
    for source in [tree, raw, original] {
        for workers in [1, 2, 16] {
            let same = batches(&source, workers, steps) == wanted;
            assert!(same, "{}: {workers} workers", source.describe());
        }
    }
}

#[test]
fn shards_of_procedural_pictures_give_the_tree_s_batches() {
    let dir = tempfile::tempdir().expect("a folder");
    let tree = tree(dir.path(), 3, 5, 0);
    agree(dir.path(), &tree, 32, 7); // two epochs of 3 steps, and one of the third
}

#[test]
fn shards_of_real_pictures_give_the_tree_s_batches() {
    let Some(archive) = test_data("ilsvrc-samples.tar") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let Some(tree) = some_pictures(&archive, dir.path()) else { return };
    agree(dir.path(), &tree, 256, 2);
}

/// A dozen of the archive's pictures, of as many classes, spread over all of it.
fn some_pictures(archive: &Path, dir: &Path) -> Option<PathBuf> {
    let tar = |flags: &[&str]| Command::new("tar").args(flags).arg("-f").arg(archive).output();
    let Ok(listed) = tar(&["-t"]) else {
        skip("there is no tar");
        return None;
    };
    let names = String::from_utf8(listed.stdout).expect("plain names");
    let names: Vec<_> = names.lines().filter(|name| !name.ends_with('/')).collect();
    let chosen = names.iter().step_by(names.len().div_ceil(12).max(1));
    let tree = dir.join("tree");
    std::fs::create_dir(&tree).expect("room");
    let mut extract = Command::new("tar");
    extract
        .arg("-xf")
        .arg(archive)
        .arg("-C")
        .arg(&tree)
        .arg("--strip-components=1")
        .args(chosen);
    assert!(extract.status().expect("tar was there").success());
    Some(tree)
}
