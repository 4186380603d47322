//! Crops made of decoded regions, held to the crops of whole pictures.

use pipeline::{
    dataset::Encoding,
    resize::{Stored, Window},
    source::Encoded,
};
use std::path::{Path, PathBuf};

/// Two passes of the filter, each of which may round to the other neighbour.
const TOLERANCE_LEVELS: u8 = 2;
const STORED: usize = 256;
const CROP: usize = 224;

#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn photographs() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = std::env::var_os("ALEXNET_DATA").map_or(beside, PathBuf::from);
    let found = found.join("ilsvrc-samples.tar");
    if !found.exists() {
        println!("SKIP: no ilsvrc-samples.tar in $ALEXNET_DATA or ../shared/data");
        return None;
    }
    Some(found)
}

#[test]
fn crops_of_photographs_are_within_two_levels_by_regions_and_nearly_always_equal() {
    let Some(archive) = photographs() else { return };
    let file = std::fs::File::open(archive).expect("readable");
    let mut archive = tar::Archive::new(file);
    let (mut stored, mut square, mut crop) = (Stored::new(), vec![], vec![]);
    let (mut pictures, mut values, mut off) = (0, 0_u64, 0_u64);
    for (i, entry) in archive.entries().expect("an archive").enumerate() {
        let mut entry = entry.expect("whole");
        let path = entry.path().expect("a name").into_owned();
        if path.extension().is_none_or(|extension| extension != "JPEG") || i % 3 != 0 {
            continue;
        }
        let mut bytes = vec![];
        std::io::Read::read_to_end(&mut entry, &mut bytes).expect("readable");
        let encoded = Encoded { encoding: Encoding::Original, bytes: &bytes };
        stored.square(encoded, STORED, &mut square).expect("a photograph");
        pictures += 1;
        for (x, y) in [(0, 0), (32, 32), (i * 7 % 33, i * 11 % 33)] {
            let window = Window { x, y, side: CROP };
            stored.decode_window(encoded, STORED, window).expect("a photograph");
            stored.resize(STORED, &mut crop).expect("pixels");
            let rows = square.chunks_exact(3 * STORED).skip(y).take(CROP);
            let wanted = rows.flat_map(|row| &row[3 * x..][..3 * CROP]);
            assert_eq!(crop.len(), 3 * CROP * CROP);
            for (found, wanted) in crop.iter().zip(wanted) {
                let distance = found.abs_diff(*wanted);
                assert!(distance <= TOLERANCE_LEVELS, "{}, {window:?}", path.display());
                (values, off) = (values + 1, off + u64::from(distance > 0));
            }
        }
    }
    assert!(pictures > 150, "{pictures}");
    assert!(off * 10_000 < values, "{off} of {values} differ");
}
