//! What is fuzzed: everything that reads files of others. Each body takes any bytes; a panic, or an
//! assertion that fails, is a finding. `cargo fuzz` calls them from `targets`, and
//! `pipeline/tests/fuzz.rs` on stable, over the corpus and seeded mutations of it.

use pipeline::{
    dataset::{Dataset, Split},
    decode::{self, Image},
    jpeg::{Decoder, Header, Region},
    pack::{self, PackConfig, Part},
    shard::Shard,
    source::{ListConfig, Listing},
};
use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

/// Larger pictures take too long to be of use here.
const PIXELS_MAX: usize = 1 << 20;

/// Whether a JPEG is small enough; other formats always are.
fn is_small(bytes: &[u8]) -> bool {
    let header = Decoder::new().header(bytes);
    header.map_or(true, |header| header.width * header.height <= PIXELS_MAX)
}

/// Any picture, whole.
pub fn decode(bytes: &[u8]) {
    if !is_small(bytes) {
        return;
    }
    // Beneath `catch_unwind`, which would hide a panic.
    let mut rgb = vec![];
    if let Ok(Header { width, height, .. }) = Decoder::new().decode(bytes, &mut rgb) {
        assert_eq!(rgb.len(), 3 * width * height);
    }
    let mut image = Image::default();
    if decode::Decoder::new().decode(bytes, &mut image).is_ok() {
        assert_eq!(image.rgb.len(), 3 * image.width * image.height);
    }
}

/// A JPEG's region, chosen by the last four bytes: the pixels that it has in the whole picture.
pub fn region(bytes: &[u8]) {
    let Some((bytes, place)) = bytes.split_last_chunk::<4>() else { return };
    if !is_small(bytes) {
        return;
    }
    let (mut decoder, mut whole, mut part) = (Decoder::new(), vec![], vec![]);
    let Ok(Header { width, height, .. }) = decoder.header(bytes) else { return };
    let [x, y, right, down] = place.map(usize::from);
    let (x, y) = (x * width / 256, y * height / 256);
    let region = Region {
        x,
        y,
        width: (right * width / 256).clamp(1, width - x),
        height: (down * height / 256).clamp(1, height - y),
    };
    let found = decoder.decode_region(bytes, region, &mut part);
    if decoder.decode(bytes, &mut whole).is_ok() {
        found.expect("a part of what is sound");
        let rows = whole.chunks_exact(3 * width).skip(y).take(region.height);
        assert!(part.iter().eq(rows.flat_map(|row| &row[3 * x..][..3 * region.width])));
    }
}

thread_local! {
    /// A folder for each kind of file, kept from call to call: making one takes far longer than
    /// reading what is in it.
    static FOLDERS: RefCell<BTreeMap<&'static str, TempDir>> = RefCell::default();
}

/// Writes one file, and gives the folder to `read`. What stands beside it, `others` writes once.
fn file(name: &'static str, bytes: &[u8], others: fn(&Path), read: fn(&Path)) {
    FOLDERS.with_borrow_mut(|folders| {
        let folder = folders.entry(name).or_insert_with(|| {
            // In memory, where Linux has such a folder: rewriting a file on a disk takes milliseconds.
            let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
            let folder = folder.expect("a folder for scratch");
            others(folder.path());
            folder
        });
        fs::write(folder.path().join(name), bytes).expect("room");
        read(folder.path());
    });
}

fn alone(_: &Path) {}

/// A shard: as it is, and with its checksums made to fit, so that what lies behind them is met.
pub fn shard(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    if sealed.len() >= 64 {
        let index = u64::from_le_bytes(sealed[24..32].try_into().expect("eight bytes"));
        let index = usize::try_from(index).unwrap_or(usize::MAX).min(sealed.len());
        let crc = crc32fast::hash(&sealed[index..]);
        sealed[40..44].copy_from_slice(&crc.to_le_bytes());
        let crc = crc32fast::hash(&sealed[..60]);
        sealed[60..64].copy_from_slice(&crc.to_le_bytes());
    }
    for bytes in [bytes, &sealed] {
        file("train-00000.shard", bytes, alone, |folder| {
            let Ok(shard) = Shard::open(&folder.join("train-00000.shard")) else { return };
            for record in 0..shard.len() {
                if let Ok(record) = shard.record(record) {
                    decode(record.bytes);
                }
            }
        });
    }
}

/// A `dataset.json`: as it is, and with its checksum made to fit.
pub fn dataset(bytes: &[u8]) {
    let mut sealed = b"{\"crc32\":\"00000000\",".to_vec();
    sealed.extend_from_slice(bytes.get(sealed.len()..).unwrap_or_default());
    let crc = crc32fast::hash(&sealed[20..]);
    sealed[10..18].copy_from_slice(format!("{crc:08x}").as_bytes());
    for bytes in [bytes, &sealed] {
        file("dataset.json", bytes, alone, |folder| {
            let Ok(set) = Dataset::load(folder) else { return };
            for split in Split::ALL {
                let _ = set.split(split).map(|split| split.records);
            }
        });
    }
}

/// Lists a folder and reads everything: each sample may be an error of its own.
fn list(folder: &Path) {
    let Ok(listing) = Listing::open(folder, &ListConfig { halves: Some(1) }) else { return };
    let mut bytes = vec![];
    for split in Split::ALL {
        for index in 0..listing.len(split).min(100) {
            let _ = listing.read(split, index, &mut bytes);
        }
    }
}

/// A sound archive of one picture, or of what is no picture: nothing here decodes.
fn archive(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    builder.append_data(&mut header, name, bytes).expect("room");
    builder.into_inner().expect("room")
}

/// An archive: of archives as ILSVRC-2012's, and of pictures as those of a synset.
pub fn archives(bytes: &[u8]) {
    file("ILSVRC2012_img_train.tar", bytes, alone, list);
    let another = |folder: &Path| {
        fs::write(folder.join("n00000020.tar"), archive("1.JPEG", b"a")).expect("room");
    };
    file("n00000010.tar", bytes, another, list);
}

/// A devkit's `meta.mat`, beside the archives that want it.
pub fn mat(bytes: &[u8]) {
    let archives = |folder: &Path| {
        let write =
            |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).expect("room");
        let inner = archive("n00000010_1.JPEG", b"a");
        write("ILSVRC2012_img_train.tar", &archive("n00000010.tar", &inner));
        write("ILSVRC2012_img_val.tar", &archive("ILSVRC2012_val_00000001.JPEG", b"b"));
        write("ILSVRC2012_validation_ground_truth.txt", b"1\n");
    };
    file("meta.mat", bytes, archives, list);
}

/// Kaggle's folders, for the tables beside them.
fn kaggle(folder: &Path) {
    let base = folder.join("ILSVRC/Data/CLS-LOC");
    for name in ["train/n00000010/1.JPEG", "train/n00000020/2.JPEG", "val/x.JPEG"] {
        let path = base.join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("room");
        fs::write(path, b"a").expect("room");
    }
    let solution = "ImageId,PredictionString\nx,n00000010 1\n";
    fs::write(folder.join("LOC_val_solution.csv"), solution).expect("room");
}

/// Kaggle's tables: the same bytes as the one and as the other.
pub fn tables(bytes: &[u8]) {
    file("LOC_val_solution.csv", bytes, kaggle, list);
    file("LOC_synset_mapping.txt", bytes, kaggle, list);
}

/// A part of a data set, as a machine of many would have it: two pictures in a shard and a manifest.
pub fn part(folder: &Path) {
    // The smallest GIF: one pixel.
    let pixel =
        b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";
    for path in ["in/train/a/1.gif", "in/train/b/2.gif"] {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("below")).expect("room");
        fs::write(path, pixel).expect("room");
    }
    let out = folder.join("part");
    let config = PackConfig { size: 4, ..PackConfig::new(folder.join("in"), &out) };
    pack::build_part(&config, Part { index: 1, of: 1 }, &|_| {}).expect("a part");
    for entry in fs::read_dir(&out).expect("written").flatten() {
        fs::rename(entry.path(), folder.join(entry.file_name())).expect("room");
    }
}

/// The manifest of a part that is merged, with its checksum made to fit.
pub fn manifest(bytes: &[u8]) {
    let json = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let check = format!("\n{:08x}\n", crc32fast::hash(json));
    file("manifest", &[json, check.as_bytes()].concat(), part, |folder| {
        let out = folder.join("out");
        let _ = pack::merge(&[folder.into()], &out, 1);
        let _ = fs::remove_dir_all(&out);
        assert!(!folder.with_file_name("train-00000.shard").exists());
    });
}
