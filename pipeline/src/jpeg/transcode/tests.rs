use super::*;
use crate::jpeg::{
    level::Level,
    tests::{files, mutated},
};
use crate::random::Draws;

#[test]
fn every_pixel_stays_and_every_row_has_its_marker() {
    let (mut decoder, mut out, mut before, mut after) =
        (Decoder::new(), vec![], vec![], vec![]);
    let (mut old, mut new) = (0, 0);
    for (name, bytes) in files() {
        let header = decoder.decode(&bytes, &mut before).expect("sound");
        decoder.transcode(&bytes, &mut out).expect("sound");
        let found = decoder.decode(&out, &mut after).expect("sound");
        assert!(before == after, "{name}");
        let across = decoder.plan(Region::whole(&header)).expect("sound").mcus_across;
        assert_eq!((found.restart_interval, found.progressive), (across, false), "{name}");
        assert!(header.width == found.width && header.height == found.height, "{name}");
        // What is rewritten once stays as it is.
        let once = out.clone();
        decoder.transcode(&once, &mut out).expect("sound");
        assert!(once == out, "{name}");
        for level in Level::all() {
            Decoder::with_level(level).transcode(&bytes, &mut out).expect("sound");
            assert!(once == out, "{name} at {level:?}");
        }
        (old, new) = (old + bytes.len(), new + once.len());
    }
    assert!(new < old, "{new} bytes of {old}");
}

#[test]
fn rows_above_a_region_are_passed_over_undecoded() {
    let (_, bytes) = files().into_iter().find(|(name, _)| name == "420.jpg").expect("it");
    let (mut decoder, mut out, mut whole, mut part) = (Decoder::new(), vec![], vec![], vec![]);
    decoder.transcode(&bytes, &mut out).expect("sound");
    let Region { width, height, .. } =
        Region::whole(&decoder.decode(&out, &mut whole).expect("sound"));
    // Damage to the first row's data, other than their marker: ones, which are no code.
    let start = decoder.headers.data;
    let end = start + out[start..].windows(2).position(|b| b == [0xFF, 0xD0]).expect("one");
    out[start..end].fill(0xFE);
    decoder.decode(&out, &mut part).expect_err("damaged");
    let region = Region { x: 3, y: 34, width: width - 3, height: height - 34 };
    decoder.decode_region(&out, region, &mut part).expect("it is not read");
    let rows = whole.chunks_exact(3 * width).skip(34);
    assert!(part.iter().eq(rows.flat_map(|row| &row[9..])));
}

#[test]
fn what_is_broken_is_refused_and_what_is_rewritten_is_the_same() {
    let mut draws = Draws::new(6, 0, 0, 0);
    let (mut decoder, mut out, mut before, mut after) =
        (Decoder::new(), vec![], vec![], vec![]);
    let (mut same, mut refused) = (0, 0);
    for (name, bytes) in files() {
        for round in 0..60 {
            let bytes = mutated(&bytes, &mut draws);
            let small = |header: super::super::Header| header.width * header.height < 1 << 16;
            if !decoder.header(&bytes).is_ok_and(small) {
                continue;
            }
            if decoder.transcode(&bytes, &mut out).is_err() {
                refused += 1;
                continue;
            }
            decoder.decode(&bytes, &mut before).expect("it was read to its end");
            decoder.decode(&out, &mut after).expect("it was just written");
            assert!(before == after, "{name}, round {round}");
            same += 1;
        }
    }
    assert!(same > 500 && refused > 300, "{same} the same, {refused} refused");
}
