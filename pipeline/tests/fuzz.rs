//! The bodies of `fuzz` over their corpus and seeded mutations of it: some seconds in all.

#[path = "../../fuzz/bodies.rs"]
#[expect(unreachable_pub, reason = "for cargo fuzz, they are a library's")]
mod bodies;

use pipeline::random::Draws;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

/// Longer files are tried as they are; mutating them would take the time of many short ones.
const MUTATED_BYTES_MAX: usize = 4096;
/// No input may take longer, even where nothing is optimised.
const SECONDS_MAX: f64 = 5.0;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// All files below a folder, in the order of their names.
fn files(folder: &str) -> Vec<Vec<u8>> {
    let (mut found, mut folders) = (vec![], vec![project(folder)]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("part of the project") {
            let path = entry.expect("readable").path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found.iter().map(|path| fs::read(path).expect("readable")).collect()
}

/// Changes some bytes: others, fewer, more, of elsewhere, or an end that comes early.
fn mutated(bytes: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draws.below(6) {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len() as u32;
        let at = draws.below(len) as usize;
        match draws.below(8) {
            0 => bytes[at] = draws.below(256) as u8,
            1 => bytes[at] ^= 1 << draws.below(8),
            2 => {
                let telling = [0xFF, 0xD0, 0xD9, 0, b',', b'"', b'9', 0x7F];
                bytes[at] = telling[draws.below(8) as usize];
            }
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, draws.below(256) as u8),
            5 => bytes.truncate(bytes.len() - draws.below(len / 4 + 1) as usize),
            _ => {
                let few = (draws.below(30) as usize).min(bytes.len() - at);
                let to = draws.below(len - few as u32 + 1) as usize;
                bytes.copy_within(at..at + few, to);
            }
        }
    }
    bytes
}

/// Every seed as it is, and `rounds` mutations of those that are short.
fn over(body: fn(&[u8]), seeds: &[Vec<u8>], rounds: u64) {
    assert!(!seeds.is_empty());
    let timed = |bytes: &[u8], what: &dyn std::fmt::Display| {
        let began = Instant::now();
        body(bytes);
        let seconds = began.elapsed().as_secs_f64();
        assert!(seconds < SECONDS_MAX, "{what}: {seconds:.1} s");
    };
    for (i, seed) in seeds.iter().enumerate() {
        timed(seed, &format_args!("seed {i}"));
        for round in (0..rounds).filter(|_| seed.len() <= MUTATED_BYTES_MAX) {
            let mut draws = Draws::new(7, i as u32, 0, round);
            timed(&mutated(seed, &mut draws), &format_args!("seed {i}, round {round}"));
        }
    }
}

#[test]
fn pictures() {
    let seeds = [files("tests/corpus"), files("tests/golden/jpeg")].concat();
    over(bodies::decode, &seeds, 60);
}

#[test]
fn regions() {
    let seeds = files("tests/golden/jpeg");
    let placed = seeds.iter().map(|seed| [seed, &[40, 90, 130, 77][..]].concat());
    over(bodies::region, &placed.collect::<Vec<_>>(), 200);
}

#[test]
fn shards() {
    let seeds = files("tests/golden/formats/v1");
    let shards: Vec<_> = seeds.into_iter().filter(|s| s.starts_with(b"ALEXSHRD")).collect();
    over(bodies::shard, &shards, 1000);
}

#[test]
fn sets() {
    let seeds = files("tests/golden/formats/v1");
    let sets: Vec<_> = seeds.into_iter().filter(|s| s.starts_with(b"{")).collect();
    over(bodies::dataset, &sets, 2000);
}

#[test]
fn archives() {
    let tar = |files: &[(&str, &[u8])]| {
        let mut builder = tar::Builder::new(vec![]);
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).expect("room");
        }
        // Less the end's zeros, of which most mutations would be.
        let mut bytes = builder.into_inner().expect("room");
        bytes.truncate(bytes.len() - 1024);
        bytes
    };
    let pictures = tar(&[("n1_1.JPEG", b"a"), ("n1_2.JPEG", b"bc")]);
    let long = "x".repeat(130);
    let seeds = [
        pictures.clone(),
        tar(&[("n1.tar", &pictures)]),
        tar(&[(&long, b"a"), ("./n1_2.JPEG", b"bc")]),
    ];
    over(bodies::archives, &seeds, 600);
}

#[test]
fn devkits() {
    over(bodies::mat, &[fs::read(project("tests/golden/meta.mat")).expect("ours")], 1500);
}

#[test]
fn tables() {
    let solution = "ImageId,PredictionString\nx,n00000010 1 2 3 4\n";
    let mapping = "n00000010 tench, Tinca tinca\nn00000020 p\u{e8}re\n";
    over(bodies::tables, &[solution.into(), mapping.into()], 700);
}

#[test]
fn manifests() {
    let dir = tempfile::tempdir().expect("a folder");
    bodies::part(dir.path());
    over(bodies::manifest, &[fs::read(dir.path().join("manifest")).expect("written")], 1500);
}
