use super::{header::Colour, *};
use crate::random::Draws;
use std::{fs, path::Path};

/// The project's small files, by name.
pub(super) fn files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/jpeg");
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("part of the project")
        .map(|entry| {
            let path = entry.expect("readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(path).expect("readable"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_level_decodes_the_same_pixels() {
    for (name, bytes) in files() {
        let mut wanted = vec![];
        Decoder::with_level(Level::all()[0]).decode(&bytes, &mut wanted).expect("sound");
        for level in Level::all() {
            let mut out = vec![];
            Decoder::with_level(level).decode(&bytes, &mut out).expect("sound");
            assert!(out == wanted, "{name} at {level:?}");
        }
    }
}

/// libjpeg's own cyan, magenta and yellow, as the golden file has them; black is held to it by the
/// colours that Pillow makes of all four.
#[test]
fn inks_are_libjpegs_samples() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/jpeg.txt");
    let golden = fs::read_to_string(golden).expect("part of the project");
    let mut seen = 0;
    for (name, bytes) in files() {
        let line = golden.lines().find(|line| line.starts_with(&format!("{name} ")));
        let words: Vec<&str> = line.expect("all of them").split(' ').collect();
        let &[_, _, _, _, inks] = &words[..] else { continue };
        let (mut decoder, mut out) = (Decoder::new(), vec![]);
        let header = decoder.header(&bytes).expect("sound");
        if header.progressive {
            continue; // whose later scans' headers tell the colours again
        }
        // Without black, stored inks come out as colours would, and those of YCCK inverted.
        let ycck = decoder.headers.colour == Colour::Ycck;
        decoder.headers.colour = if ycck { Colour::YCbCr } else { Colour::Rgb };
        decoder.pixels(&bytes, Region::whole(&header), &mut out).expect("sound");
        if ycck {
            out.iter_mut().for_each(|value| *value = 255 - *value);
        }
        assert_eq!(format!("{:08x}", crc32fast::hash(&out)), inks, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 3);
}

/// The outcome at a level; as text, so that all outcomes can be compared.
fn outcome(level: Level, bytes: &[u8], out: &mut Vec<u8>) -> Result<Header, String> {
    Decoder::with_level(level).decode(bytes, out).map_err(|error| error.to_string())
}

#[test]
fn no_truncation_passes_for_a_picture() {
    let mut out = vec![];
    for (name, bytes) in files().into_iter().filter(|(_, bytes)| bytes.len() < 1600) {
        // One scan is whole without its end-of-image marker.
        let several = name.starts_with("progressive") || name.starts_with("scans");
        let whole = bytes.len() - if several { 0 } else { 2 };
        for len in 0..whole {
            let found = Decoder::new().decode(&bytes[..len], &mut out);
            assert!(
                matches!(found, Err(JpegError::Broken { offset, .. }) if offset <= len),
                "{name}, {len} of {} bytes: {found:?}",
                bytes.len()
            );
        }
    }
}

#[test]
fn a_region_is_decoded_though_the_file_is_broken_below_it() {
    let (name, bytes) = files().into_iter().find(|(name, _)| name == "444.jpg").expect("it");
    let (mut whole, mut out) = (vec![], vec![]);
    let mut decoder = Decoder::new();
    let Header { width, height, .. } = decoder.decode(&bytes, &mut whole).expect("sound");
    let region = Region { x: 0, y: 0, width, height: 16 };
    let half = &bytes[..bytes.len() * 3 / 4];
    decoder.decode_region(half, region, &mut out).expect("what the region needs is there");
    assert!(out == whole[..3 * width * 16], "{name}");
    let all = Region { height, ..region };
    let error = decoder.decode_region(half, all, &mut out).expect_err("and the rest is not");
    let JpegError::Broken { offset, reason: Reason::DataEnd } = error else {
        panic!("{error}")
    };
    assert!(half.len() - offset <= 2, "{offset} of {}", half.len());
}

/// Changes some bytes: others, fewer, more, or bits.
pub(super) fn mutated(bytes: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len() as u32) as usize;
        match draws.below(6) {
            0 => bytes[at] = draws.below(256) as u8,
            1 => bytes[at] ^= 1 << draws.below(8),
            2 => bytes[at] = [0xFF, 0xD0, 0xD9, 0][draws.below(4) as usize],
            3 => drop(bytes.remove(at)),
            4 => bytes.insert(at, draws.below(256) as u8),
            _ => {
                let len = (draws.below(30) as usize).min(bytes.len() - at);
                let to = draws.below((bytes.len() - len) as u32) as usize;
                bytes.copy_within(at..at + len, to);
            }
        }
    }
    bytes
}

/// What zune-jpeg makes of a file, being strict.
fn zune(bytes: &[u8]) -> Option<Vec<u8>> {
    use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let bytes = bytes.to_vec();
    let decode = move || {
        zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(&bytes), options).decode().ok()
    };
    std::panic::catch_unwind(decode).ok().flatten()
}

/// Sound files that zune-jpeg 0.5.15 decodes to other pictures than libjpeg-turbo.
const ZUNE_DIFFERS: [&str; 2] = ["coarse-luma.jpg", "scans.jpg"];

#[test]
fn broken_files_neither_panic_nor_pass_for_other_pictures() {
    let mut draws = Draws::new(5, 0, 0, 0);
    let (mut ours, mut wanted) = (vec![], vec![]);
    let (mut sound, mut both, mut alike) = (0, 0, 0);
    for (name, bytes) in files() {
        for round in 0..250 {
            let bytes = mutated(&bytes, &mut draws);
            let mut decoder = Decoder::new();
            // A header may well ask for a picture of 2^27 pixels; not 100 times in a test.
            let small = |header: &Header| header.width * header.height < 1 << 16;
            if !decoder.header(&bytes).as_ref().is_ok_and(small) {
                continue;
            }
            let found = outcome(Level::all()[0], &bytes, &mut wanted);
            for level in &Level::all()[1..] {
                assert_eq!(outcome(*level, &bytes, &mut ours), found, "{name}, round {round}");
                assert!(found.is_err() || ours == wanted, "{name}, round {round}, {level:?}");
            }
            let Ok(header) = found else { continue };
            sound += 1;
            let theirs = zune(&bytes).filter(|theirs| theirs.len() == wanted.len());
            if let Some(theirs) = theirs.filter(|_| !ZUNE_DIFFERS.contains(&&*name)) {
                both += 1;
                let distances =
                    theirs.iter().zip(&wanted).map(|(a, b)| u64::from(a.abs_diff(*b)));
                let mean = distances.sum::<u64>() as f64 / wanted.len() as f64;
                alike += usize::from(mean < 3.0);
            }
            let Header { width, height, .. } = header;
            let (x, y) =
                (draws.below(width as u32) as usize, draws.below(height as u32) as usize);
            let region = Region { x, y, width: width - x, height: height - y };
            decoder.decode_region(&bytes, region, &mut ours).expect("part of what is sound");
            let rows = wanted.chunks_exact(3 * width).skip(y);
            assert!(
                ours.iter().eq(rows.flat_map(|row| &row[3 * x..])),
                "{name}, round {round}"
            );
        }
    }
    assert!(sound > 2000 && both > 1000, "{sound} sound, {both} for zune-jpeg as well");
    assert!(alike * 100 > both * 97, "{alike} of {both} alike");
}
