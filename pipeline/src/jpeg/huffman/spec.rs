//! The definition as it stands in the file, and the canonical codes that follow from it.

use crate::jpeg::error::Reason;

/// The lengths and symbols of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::jpeg) struct Spec {
    /// `counts[i]` codes have `i + 1` bits.
    counts: [u8; 16],
    /// In the order of their codes; zeros after the last.
    symbols: [u8; 256],
}

impl Spec {
    /// # Errors
    /// If no set of codes has these lengths, or a DC symbol asks for more than 15 bits.
    pub(in crate::jpeg) fn new(
        counts: &[u8], symbols: &[u8], dc: bool,
    ) -> Result<Self, Reason> {
        let counts: [u8; 16] = counts.try_into().map_err(|_| Reason::HuffmanLengths)?;
        if symbols.len() > 256 {
            return Err(Reason::HuffmanLengths);
        }
        // Kraft's sum, in units of the longest code.
        let space: u32 = (1..).zip(counts).map(|(len, n)| u32::from(n) << (16 - len)).sum();
        if space > 1 << 16 {
            return Err(Reason::HuffmanLengths);
        }
        if dc && symbols.iter().any(|size| *size > 15) {
            return Err(Reason::HuffmanSymbol);
        }
        let mut all = [0; 256];
        all[..symbols.len()].copy_from_slice(symbols);
        Ok(Self { counts, symbols: all })
    }

    /// Codes of each length, and the symbols in the order of their codes: as they stand in a file.
    pub(in crate::jpeg) fn parts(&self) -> ([u8; 16], &[u8]) {
        let all: usize = self.counts.iter().map(|count| usize::from(*count)).sum();
        (self.counts, &self.symbols[..all])
    }

    /// Every code as (code, length in bits, symbol), in ascending order.
    pub(in crate::jpeg) fn codes(&self) -> impl Iterator<Item = (u32, u32, u8)> + '_ {
        let lengths = (1..).zip(self.counts).flat_map(|(len, n)| (0..n).map(move |_| len));
        let (mut next, mut last) = (0_u32, 1_u32);
        lengths.zip(self.symbols).map(move |(len, symbol)| {
            next <<= len - last;
            last = len;
            next += 1;
            (next - 1, len, symbol)
        })
    }
}

/// Finds a code bit length by bit length: for the codes that look-up tables leave out.
#[derive(Debug, Clone)]
pub(in crate::jpeg) struct Codes {
    /// `limits[i]`: the first 16-bit string above all codes of up to `i + 1` bits.
    limits: [u32; 16],
    /// `firsts[i]`: what to add to a code of `i + 1` bits for its symbol's index.
    firsts: [i32; 16],
    symbols: [u8; 256],
}

impl Codes {
    pub(in crate::jpeg) fn new(spec: &Spec) -> Self {
        let (mut limits, mut firsts) = ([0; 16], [0; 16]);
        let (mut code, mut index) = (0_u32, 0_i32);
        for (i, n) in spec.counts.into_iter().enumerate() {
            firsts[i] = index - code as i32;
            code += u32::from(n);
            index += i32::from(n);
            limits[i] = code << (15 - i);
            code <<= 1;
        }
        Self { limits, firsts, symbols: spec.symbols }
    }

    /// Length and symbol of the code that the highest of `bits` begin with.
    pub(in crate::jpeg) fn find(&self, bits: u64) -> Option<(u32, u8)> {
        let head = (bits >> 48) as u32;
        let i = self.limits.iter().position(|limit| head < *limit)?;
        let index = (head >> (15 - i)) as i32 + self.firsts[i];
        Some((i as u32 + 1, self.symbols[index as usize & 255]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T.81, table K.3: the luminance DC codes.
    fn luminance() -> Spec {
        let counts = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0];
        Spec::new(&counts, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], true).expect("sound")
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        let codes: Vec<_> = luminance().codes().collect();
        let wanted = [0b00, 0b010, 0b011, 0b100, 0b101, 0b110, 0b1110, 0b11110];
        for (symbol, (code, wanted)) in codes.iter().zip(wanted).enumerate() {
            assert_eq!((code.0, code.2), (wanted, symbol as u8));
        }
        assert_eq!(codes[11], (0b1_1111_1110, 9, 11));
    }

    #[test]
    fn every_code_is_found_by_its_bits() {
        let spec = luminance();
        let codes = Codes::new(&spec);
        for (code, len, symbol) in spec.codes() {
            for tail in [0, u64::MAX >> len] {
                let bits = (u64::from(code) << (64 - len)) | tail;
                assert_eq!(codes.find(bits), Some((len, symbol)));
            }
        }
        assert_eq!(codes.find(u64::MAX), None, "no code is all ones here");
    }

    #[test]
    fn impossible_tables_are_refused() {
        let three = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Spec::new(&three, &[1, 2, 3], false), Err(Reason::HuffmanLengths));
        let one = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Spec::new(&one, &[16], true), Err(Reason::HuffmanSymbol));
        assert!(Spec::new(&one, &[16], false).is_ok());
    }
}
