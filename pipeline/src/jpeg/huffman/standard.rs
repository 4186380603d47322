//! The typical tables of T.81, annex K.3: what a file without tables of its own means, as those of
//! cameras that write motion JPEG.

use super::Spec;

/// Lengths and symbols of a DC table: K.3 for luminance, K.4 for chrominance.
const DC: [[u8; 16]; 2] = [
    [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
    [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
];
const DC_SYMBOLS: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// The same of an AC table: K.5 and K.6. Their symbols end alike: all runs and sizes that have not
/// had a code yet.
const AC: [[u8; 16]; 2] = [
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
];
const LUMINANCE: [u8; 37] = [
    0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61,
    0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xA1, 0x08, 0x23, 0x42, 0xB1, 0xC1, 0x15, 0x52,
    0xD1, 0xF0, 0x24, 0x33, 0x62, 0x72, 0x82,
];
const CHROMINANCE: [u8; 43] = [
    0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61,
    0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xA1, 0xB1, 0xC1, 0x09, 0x23, 0x33,
    0x52, 0xF0, 0x15, 0x62, 0x72, 0xD1, 0x0A, 0x16, 0x24, 0x34, 0xE1, 0x25, 0xF1,
];

/// The table for a class (0 for DC, 1 for AC) and a number, if it is 0 or 1.
pub(in crate::jpeg) fn standard(class: usize, number: usize) -> Option<Spec> {
    let spec = if class == 0 {
        Spec::new(DC.get(number)?, &DC_SYMBOLS, true)
    } else {
        let first = [&LUMINANCE[..], &CHROMINANCE[..]].get(number).copied()?;
        let mut symbols = first.to_vec();
        let all = (0..16).flat_map(|run| (1..=10).map(move |size| run << 4 | size));
        symbols.extend(all.filter(|symbol| !first.contains(symbol)));
        Spec::new(AC.get(number)?, &symbols, false)
    };
    spec.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_that_encoders_write() {
        let mut bytes = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut bytes, 90);
        encoder.encode(&[7; 48], 4, 4, jpeg_encoder::ColorType::Rgb).expect("a picture");
        let mut headers = crate::jpeg::header::Headers::default();
        headers.read(&bytes).expect("sound");
        for (class, tables) in headers.huffman.iter().enumerate() {
            for (number, written) in tables.iter().enumerate().take(2) {
                assert_eq!(standard(class, number), *written, "{class} {number}");
            }
        }
    }
}
