//! Resizing held to Pillow's, value by value. `tests/golden/resize.py` makes the file.

use pipeline::{decode::Image, resize::Resizer};
use std::path::Path;

/// Both filters work in fixed point, with roundings of their own.
const TOLERANCE_LEVELS: u8 = 1;

/// The script's formula.
fn picture(width: usize, height: usize) -> Image {
    let pixel = |x: usize, y: usize| {
        [
            ((x * 7 + y * 3) % 256) as u8,
            ((x * y + 5 * y) % 251) as u8,
            ((x * x + y * y) / 64 % 256) as u8,
        ]
    };
    let rgb = (0..height).flat_map(|y| (0..width).flat_map(move |x| pixel(x, y))).collect();
    Image { width, height, rgb }
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().chunks_exact(2);
    let pairs = digits.map(|pair| str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

#[test]
fn every_golden_value_is_within_one_level_of_pillow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/resize.txt");
    let text = std::fs::read_to_string(path).expect("the golden file is part of the project");
    let mut lines = text.lines();
    assert!(
        lines
            .next()
            .is_some_and(|head| head.starts_with("# made by") && head.contains("Pillow"))
    );
    let (mut resizer, mut square, mut drawn) = (Resizer::new(), vec![], None);
    let (mut values, mut off) = (0, 0);
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [width, height, size, row, wanted] = words[..] else { panic!("{line:.80}") };
        let [width, height, size, row] =
            [width, height, size, row].map(|word| word.parse::<usize>().expect("a number"));
        if drawn != Some((width, height, size)) {
            resizer.square(&picture(width, height), size, &mut square).expect("pixels");
            drawn = Some((width, height, size));
        }
        let (found, wanted) = (&square[row * size * 3..][..size * 3], bytes(wanted));
        assert_eq!(wanted.len(), size * 3);
        for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let distance = found.abs_diff(wanted);
            assert!(
                distance <= TOLERANCE_LEVELS,
                "{width} x {height} to {size}, row {row}, column {}, channel {}: {found}, Pillow \
                 {wanted}",
                i / 3,
                i % 3
            );
            (values, off) = (values + 1, off + usize::from(distance > 0));
        }
    }
    assert!(values > 25_000, "{values} values");
    // Roundings differ at 1 in 18; a filter that is another one would differ nearly everywhere.
    assert!(off * 10 < values, "{off} of {values} are off by a level");
}
