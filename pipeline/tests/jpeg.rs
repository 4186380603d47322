//! The JPEG decoder held to libjpeg-turbo, pixel for pixel. `tests/golden/jpeg.py` makes the files
//! and the checksums.

use pipeline::{
    decode::Image,
    jpeg::{Decoder, Header, JpegError, Region},
};
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

/// Test data outside of the project.
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn data(name: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = std::env::var_os("ALEXNET_DATA").map_or(beside, PathBuf::from).join(name);
    if !found.exists() {
        println!("SKIP: no {name} in $ALEXNET_DATA or ../shared/data");
        return None;
    }
    Some(found)
}

/// One line of a golden file.
struct Wanted {
    name: String,
    width: usize,
    height: usize,
    crc: u32,
    /// Of inks, or the means of 16 parts.
    more: Option<String>,
}

fn wanted(list: &str) -> Vec<Wanted> {
    let text = std::fs::read_to_string(golden(list)).expect("part of the project");
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    assert!(head.starts_with("# made by") && head.contains("libjpeg-turbo"), "{head}");
    let wanted = lines.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, width, height, crc, ref more @ ..] = words[..] else { panic!("{line}") };
        let number = |word: &str| word.parse().expect("a number");
        Wanted {
            name: name.into(),
            width: number(width),
            height: number(height),
            crc: u32::from_str_radix(crc, 16).expect("hexadecimal"),
            more: more.first().map(|more| (*more).to_owned()),
        }
    });
    wanted.collect()
}

/// Whether the pixels are libjpeg-turbo's; `None` if the file is for other decoders.
fn agrees(
    decoder: &mut Decoder, bytes: &[u8], wanted: &Wanted, out: &mut Vec<u8>,
) -> Option<bool> {
    match decoder.decode(bytes, out) {
        Ok(Header { width, height, .. }) => {
            assert_eq!((width, height), (wanted.width, wanted.height), "{}", wanted.name);
            Some(crc32fast::hash(out) == wanted.crc)
        }
        Err(JpegError::Unsupported(_)) => None,
        Err(error) => panic!("{}: {error}", wanted.name),
    }
}

#[test]
fn small_files_of_every_kind_decode_to_libjpeg_turbos_pixels() {
    let (mut decoder, mut out) = (Decoder::new(), vec![]);
    let mut others = vec![];
    for wanted in wanted("jpeg.txt") {
        let bytes =
            std::fs::read(golden("jpeg").join(&wanted.name)).expect("part of the project");
        match agrees(&mut decoder, &bytes, &wanted, &mut out) {
            Some(agrees) => assert!(agrees, "{}", wanted.name),
            None => others.push(wanted.name),
        }
    }
    assert_eq!(others, Vec::<String>::new());
}

#[test]
fn every_region_is_cut_from_the_whole_picture() {
    let (mut decoder, mut whole, mut out) = (Decoder::new(), vec![], vec![]);
    let mut seed = 1_u64;
    let mut below = |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % n
    };
    let mut regions = 0;
    for Wanted { name, width, height, .. } in wanted("jpeg.txt") {
        let bytes = std::fs::read(golden("jpeg").join(&name)).expect("part of the project");
        if decoder.decode(&bytes, &mut whole).is_err() {
            continue;
        }
        for _ in 0..100 {
            let (x, y) = (below(width), below(height));
            let region =
                Region { x, y, width: 1 + below(width - x), height: 1 + below(height - y) };
            decoder.decode_region(&bytes, region, &mut out).expect("sound");
            let rows = whole.chunks_exact(3 * width).skip(y).take(region.height);
            let cut = rows.flat_map(|row| &row[3 * x..3 * (x + region.width)]);
            assert!(out.iter().eq(cut), "{name}: {region:?}");
            regions += 1;
        }
        let beyond = Region { x: 1, y: 0, width, height };
        let error = decoder.decode_region(&bytes, beyond, &mut out).expect_err("beyond");
        assert!(matches!(error, JpegError::Region { .. }), "{error}");
    }
    assert!(regions > 3000);
}

#[test]
fn photographs_decode_to_libjpeg_turbos_pixels() {
    let Some(archive) = data("ilsvrc-samples.tar") else { return };
    let archive = std::fs::read(archive).expect("readable");
    let all = wanted("jpeg-ilsvrc.txt");
    let (mut decoder, mut out, mut agreeing) = (Decoder::new(), vec![], 0);
    for (name, bytes) in tar(&archive) {
        let wanted = all.iter().find(|wanted| name.ends_with(&wanted.name));
        let Some(wanted) = wanted else { continue };
        assert_eq!(agrees(&mut decoder, bytes, wanted, &mut out), Some(true), "{name}");
        agreeing += 1;
    }
    assert_eq!(agreeing, all.len());
}

#[test]
fn photographs_are_rewritten_without_a_pixel_changed() {
    let Some(archive) = data("ilsvrc-samples.tar") else { return };
    let archive = std::fs::read(archive).expect("readable");
    let (mut decoder, mut out, mut before, mut after) =
        (Decoder::new(), vec![], vec![], vec![]);
    let (mut old, mut new) = (0, 0);
    let all = wanted("jpeg-ilsvrc.txt");
    for (name, bytes) in tar(&archive) {
        if !all.iter().any(|wanted| name.ends_with(&wanted.name)) {
            continue;
        }
        decoder.decode(bytes, &mut before).expect("sound");
        decoder.transcode(bytes, &mut out).unwrap_or_else(|error| panic!("{name}: {error}"));
        decoder.decode(&out, &mut after).expect("sound");
        assert!(before == after, "{name}");
        (old, new) = (old + bytes.len(), new + out.len());
    }
    assert!(new * 100 < old * 101, "{new} bytes of {old}");
}

/// Names and contents of the files of an archive of the plain kind.
fn tar(archive: &[u8]) -> Vec<(String, &[u8])> {
    let (mut files, mut at) = (vec![], 0);
    while let Some(head) = archive.get(at..at + 512).filter(|head| head[0] != 0) {
        let text = |range: std::ops::Range<usize>| {
            let bytes = &head[range];
            let len = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..len]).into_owned()
        };
        let size = usize::from_str_radix(text(124..136).trim(), 8).expect("an octal size");
        let content = &archive[at + 512..at + 512 + size];
        if head[156] == b'0' {
            files.push((text(0..100), content));
        }
        at += 512 + size.next_multiple_of(512);
    }
    files
}

/// Files of the corpus that are refused, and what is said of them.
const REFUSED: [(&str, &str); 15] = [
    ("gdk-pixbuf/CVE-2017-2862.jpg", "arithmetic coding, which is not supported"),
    ("gdk-pixbuf/bug775218.jpg", "a segment shorter than its content, at byte 3815"),
    ("gdk-pixbuf/issue205.jpg", "64250 x 64250 pixels, more than"),
    ("gdk-pixbuf/premature-end.jpg", "the entropy-coded data end early, at byte 8715"),
    ("go/video-001.progressive.truncated.jpeg", "coefficients that no scan codes"),
    ("libjpeg-turbo/testimgari.jpg", "arithmetic coding, which is not supported"),
    ("libjpeg-turbo/testorig12.jpg", "samples of more than 8 bits, which is not supported"),
    ("made/arith.jpg", "arithmetic coding, which is not supported"),
    ("made/arith_prog.jpg", "arithmetic coding, which is not supported"),
    ("made/empty.jpg", "an empty file"),
    ("made/rst_missing.jpg", "restart marker 2 is missing, at byte 6769"),
    ("made/trunc_half.jpg", "the entropy-coded data end early, at byte 13916"),
    ("made/trunc_hdr.jpg", "the header ends early, at byte 300"),
    ("made/trunc_noeoi.jpg", "truncated: no end-of-image marker"),
    ("vips/truncated.jpg", "the entropy-coded data end early, at byte 10000"),
];

/// The picture's difference to libjpeg's, in levels; of a format of others, to Pillow's at most.
fn difference(found: &Image, wanted: &Wanted) -> u8 {
    assert_eq!((found.width, found.height), (wanted.width, wanted.height), "{}", wanted.name);
    if crc32fast::hash(&found.rgb) == wanted.crc {
        return 0;
    }
    let means = wanted.more.as_ref().filter(|more| more.len() == 2 * 48);
    let means = means.unwrap_or_else(|| panic!("{}: other pixels", wanted.name));
    let (width, height) = (found.width, found.height);
    let difference = |(i, wanted): (usize, u8)| {
        let (part, channel) = (i / 3, i % 3);
        let [rows, columns] = [(height, part / 4), (width, part % 4)].map(|(len, part)| {
            // As numpy's array_split: the first parts are the longer ones.
            let start = |part: usize| part * (len / 4) + part.min(len % 4);
            start(part)..start(part + 1)
        });
        let count = rows.len() * columns.len();
        let at = |y| columns.clone().map(move |x| 3 * (y * width + x) + channel);
        let sum: u64 = rows.flat_map(at).map(|at| u64::from(found.rgb[at])).sum();
        (((sum as f64 / count as f64).round()) as u8).abs_diff(wanted)
    };
    let hex = |i: usize| u8::from_str_radix(&means[2 * i..2 * i + 2], 16).expect("hexadecimal");
    (0..48).map(|i| difference((i, hex(i)))).max().unwrap_or(0)
}

/// Every file below a folder, by name, sorted.
fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    let (mut found, mut folders) = (vec![], vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("readable").path();
            let name =
                path.strip_prefix(folder).expect("below it").to_string_lossy().into_owned();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("jpg" | "jpeg" | "JPEG" | "gif") => found.push((name, path)),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Run with `--nocapture`, it prints the table.
#[expect(clippy::print_stdout, reason = "the table is to be seen")]
fn every_file_is_right_or_refused(folder: &Path) -> usize {
    let all = wanted("jpeg-corpus.txt");
    let (mut decoder, mut out) = (pipeline::decode::Decoder::new(), Image::default());
    let files = files(folder);
    for (name, path) in &files {
        let bytes = std::fs::read(path).expect("readable");
        let began = std::time::Instant::now();
        let outcome = decoder.decode(&bytes, &mut out);
        assert!(began.elapsed().as_secs() < 5, "{name} takes {:?}", began.elapsed());
        let refused = REFUSED.iter().find(|(refused, _)| refused == name);
        match (outcome, refused) {
            (Ok(()), None) => {
                let wanted = all.iter().find(|wanted| wanted.name == *name);
                let wanted = wanted.unwrap_or_else(|| panic!("{name}: Pillow refuses it"));
                let levels = difference(&out, wanted);
                assert!(levels <= 2, "{name}: {levels} levels off");
                println!("| {name} | {} x {} | {levels} |", out.width, out.height);
            }
            (Err(error), Some((_, says))) => {
                assert!(error.to_string().contains(says), "{name}: {error}");
                println!("| {name} | {error} | |");
            }
            (Ok(()), Some(_)) => panic!("{name}: decoded"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
    files.len()
}

#[test]
fn the_corpus_is_decoded_to_libjpegs_pictures_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/corpus");
    assert_eq!(every_file_is_right_or_refused(&corpus), 79);
}

#[test]
fn the_whole_corpus_is_decoded_to_libjpegs_pictures_or_refused() {
    let Some(corpus) = data("jpeg-corpus") else { return };
    assert_eq!(every_file_is_right_or_refused(&corpus), 96);
}
