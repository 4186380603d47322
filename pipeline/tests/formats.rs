//! Shards of version 1 and `dataset.json` of format 1 are read for ever: `tests/golden/formats/v1`
//! holds a set that was written once. `ALEXNET_GOLDEN=write cargo test -p pipeline --test formats`
//! writes it again, which is right only when a new version gets a folder of its own.
//!
//! Two classes of two training pictures, and one validation picture each, 8 x 8, raw; two records a
//! shard. All values tell where they stand.

use pipeline::{
    dataset::{
        Class, Dataset, Encoding, FORMAT, ShardInfo, Skipped, Split, SplitInfo, Statistics,
    },
    pack,
    shard::{Shard, ShardWriter, VERSION},
    source::{Shards, Source as _},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Once,
};

const SIZE: usize = 8;

fn golden() -> PathBuf {
    static WRITTEN: Once = Once::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/formats/v1");
    if std::env::var_os("ALEXNET_GOLDEN").is_some_and(|what| what == "write") {
        WRITTEN.call_once(|| write(&dir));
    }
    dir
}

/// Picture `i` of class `label`: column, row, and who it is.
fn pixels(label: u32, i: u32) -> Vec<u8> {
    let pixel = |x, y| [x as u8, 16 * y as u8, (100 * (label + 1) + i) as u8];
    (0..SIZE).flat_map(|y| (0..SIZE).flat_map(move |x| pixel(x, y))).collect()
}

/// Label and picture.
type Record = (u32, u32);

/// What is in the shards: file, split, records.
const SHARDS: [(&str, Split, &[Record]); 3] = [
    ("train-00000.shard", Split::Train, &[(0, 0), (0, 1)]),
    ("train-00001.shard", Split::Train, &[(1, 0), (1, 1)]),
    ("val-00000.shard", Split::Val, &[(0, 2), (1, 2)]),
];

fn dataset(shards: &[ShardInfo]) -> Dataset {
    let class = |wnid: &str, name: &str| Class { wnid: wnid.into(), name: name.into() };
    let split = |split, records, range: std::ops::Range<usize>, skipped| SplitInfo {
        split,
        records,
        per_class: vec![records / 2; 2],
        shards: shards[range].to_vec(),
        skipped,
        duplicates: vec![],
    };
    let path = "train/n02123045/a \u{201c}cat\u{201d}.JPEG".into();
    let skipped = Skipped { path, reason: "JPEG: truncated: no end-of-image marker".into() };
    Dataset {
        format: FORMAT,
        size: SIZE,
        encoding: Encoding::Raw,
        filter: "shorter side, antialiased bilinear, centre square".into(),
        quality: None,
        classes: vec![class("n01440764", "tench"), class("n02123045", "tabby, cat")],
        ilsvrc_ids: vec![],
        splits: vec![
            split(Split::Train, 4, 0..2, vec![skipped]),
            split(Split::Val, 2, 2..3, vec![]),
        ],
        statistics: Statistics {
            images: 4,
            mean: (0..3 * SIZE * SIZE).map(|i| i as f32 / 3.0).collect(),
            covariance: [[0.1, 0.2, 0.3], [0.2, 1e-9, 5.0], [0.3, 5.0, 1.0 / 3.0]],
            eigenvalues: [14830.4, 1376.0, 2.0_f64.sqrt()],
            eigenvectors: [[0.1, -0.2, 1.0], [0.0, 1.0, 0.5], [2.0 / 3.0, 0.25, -0.125]],
        },
    }
}

/// Writes the whole set.
fn write(dir: &Path) {
    fs::create_dir_all(dir).expect("room");
    let shards = SHARDS.map(|(file, _, records)| {
        let mut writer =
            ShardWriter::create(&dir.join(file), Encoding::Raw, SIZE).expect("room");
        for (label, i) in records {
            writer.push(*label, &pixels(*label, *i)).expect("room");
        }
        writer.finish().expect("room")
    });
    dataset(&shards).store(dir).expect("room");
}

#[test]
fn a_set_of_version_1_is_read_for_ever() {
    let dir = golden();
    let set = Shards::open(&dir).expect("version 1");
    let shards = set.dataset().splits.iter().flat_map(|info| info.shards.clone());
    let shards: Vec<_> = shards.collect();
    assert_eq!(*set.dataset(), Dataset { format: 1, ..dataset(&shards) });
    let crcs = [0xfb07_d2cf, 0x7345_9886, 0xd2fa_ce99];
    for (((file, split, records), info), crc32) in SHARDS.into_iter().zip(&shards).zip(crcs) {
        // 64 for the header, 192 a picture, 24 an index entry.
        let wanted = ShardInfo { file: file.into(), records: 2, bytes: 64 + 2 * 216, crc32 };
        assert_eq!(*info, wanted);
        let shard = Shard::open(&dir.join(file)).expect("version 1");
        assert_eq!((shard.encoding(), shard.size(), shard.len()), (Encoding::Raw, SIZE, 2));
        for (record, (label, i)) in records.iter().enumerate() {
            let found = shard.record(record as u32).expect("whole");
            assert_eq!((found.label, found.bytes), (*label, &pixels(*label, *i)[..]));
            assert_eq!(shard.offset(record as u32), 64 + 192 * record as u64);
        }
        assert_eq!(
            set.shards(split).iter().filter(|one| one.path() == shard.path()).count(),
            1
        );
    }
    let labels = |split| (0..set.len(split)).map(|i| set.label(split, i)).collect::<Vec<_>>();
    assert_eq!((labels(Split::Train), labels(Split::Val)), (vec![0, 0, 1, 1], vec![0, 1]));
    let report = pack::verify(&dir, &|_| ()).expect("version 1");
    assert_eq!((report.shards, report.records, report.problems), (3, 6, vec![]));
}

#[test]
fn the_header_is_as_its_table_says() {
    let bytes = fs::read(golden().join("train-00001.shard")).expect("part of the project");
    let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
    let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    assert_eq!(&bytes[..8], b"ALEXSHRD");
    assert_eq!([8, 12, 16, 20].map(u32_at), [1, 0, 8, 2]);
    assert_eq!([24, 32].map(u64_at), [64 + 2 * 192, bytes.len() as u64]);
    assert_eq!(u32_at(40), crc32fast::hash(&bytes[448..]));
    assert_eq!(bytes[44..60], [0; 16]);
    assert_eq!(u32_at(60), crc32fast::hash(&bytes[..60]));
    for (record, at) in [(0, 448), (1, 472)] {
        let picture = pixels(1, record);
        assert_eq!(u64_at(at), 64 + 192 * u64::from(record));
        let wanted = [192, 1, crc32fast::hash(&picture), 0];
        assert_eq!([at + 8, at + 12, at + 16, at + 20].map(u32_at), wanted);
    }
}

/// As long as no later version is written, today's writer and yesterday's agree on every byte.
#[test]
fn what_is_written_today_is_what_was_written_once() {
    assert_eq!((VERSION, FORMAT), (1, 1), "later versions need golden files of their own");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path());
    for file in SHARDS.map(|(file, ..)| file).into_iter().chain(["dataset.json"]) {
        let (found, wanted) = (fs::read(dir.path().join(file)), fs::read(golden().join(file)));
        assert!(found.expect("just written") == wanted.expect("part of the project"), "{file}");
    }
}
