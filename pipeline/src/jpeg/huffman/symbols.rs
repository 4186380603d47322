//! A plain look-up table of symbols, for scans whose symbols mean other things than coefficients.

use super::{Codes, Spec};

/// Index bits.
const BITS: u32 = 9;

/// Symbols by the bits of their codes.
#[derive(Debug)]
pub(in crate::jpeg) struct Symbols {
    /// Length and symbol of codes of up to [`BITS`] bits; zeros for others.
    short: [(u8, u8); 1 << BITS],
    codes: Codes,
}

impl Symbols {
    pub(in crate::jpeg) fn new(spec: &Spec) -> Self {
        let mut short = [(0, 0); 1 << BITS];
        for (code, len, symbol) in spec.codes().take_while(|(_, len, _)| *len <= BITS) {
            let at = (code as usize) << (BITS - len);
            short[at..at + (1 << (BITS - len))].fill((len as u8, symbol));
        }
        Self { short, codes: Codes::new(spec) }
    }

    /// Length and symbol of the code that the highest of `bits` begin with.
    #[inline]
    pub(in crate::jpeg) fn find(&self, bits: u64) -> Option<(u32, u8)> {
        match self.short[(bits >> (64 - BITS)) as usize] {
            (0, _) => self.codes.find(bits),
            (len, symbol) => Some((u32::from(len), symbol)),
        }
    }
}
