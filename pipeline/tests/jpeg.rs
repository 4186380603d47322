//! The JPEG decoder held to libjpeg-turbo, pixel for pixel. `tests/golden/jpeg.py` makes the files
//! and the checksums.

use pipeline::jpeg::{Decoder, Header, JpegError, Region};
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
}

fn wanted(list: &str) -> Vec<Wanted> {
    let text = std::fs::read_to_string(golden(list)).expect("part of the project");
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    assert!(head.starts_with("# made by") && head.contains("libjpeg-turbo"), "{head}");
    let wanted = lines.map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, width, height, crc] = words[..] else { panic!("{line}") };
        let number = |word: &str| word.parse().expect("a number");
        Wanted {
            name: name.into(),
            width: number(width),
            height: number(height),
            crc: u32::from_str_radix(crc, 16).expect("hexadecimal"),
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

/// Files of the corpus that Pillow decodes and that are refused here.
const REFUSED: [&str; 5] = [
    "go/video-001.progressive.truncated.jpeg", // without its last scans; libjpeg smooths it
    "libjpeg-turbo/testimgari.jpg",            // arithmetic coding
    "made/arith.jpg",
    "made/arith_prog.jpg",
    "made/rst_missing.jpg", // without a restart marker; libjpeg goes on as well as it can
];

#[test]
fn odd_files_decode_to_libjpeg_turbos_pixels_or_are_refused() {
    let Some(corpus) = data("jpeg-corpus") else { return };
    let (mut decoder, mut out) = (Decoder::new(), vec![]);
    let (mut agreeing, mut refused) = (0, vec![]);
    for wanted in wanted("jpeg-corpus.txt") {
        let bytes = std::fs::read(corpus.join(&wanted.name)).expect("readable");
        match decoder.decode(&bytes, &mut out) {
            Ok(_) => {
                assert_eq!(crc32fast::hash(&out), wanted.crc, "{}", wanted.name);
                agreeing += 1;
            }
            Err(_) => refused.push(wanted.name),
        }
    }
    assert_eq!(refused, REFUSED);
    assert!(agreeing > 60, "{agreeing}");
}
