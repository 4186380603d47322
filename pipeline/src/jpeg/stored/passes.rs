//! The four kinds of a progressive picture's scans (T.81, annex G.1.2): the DC coefficients' higher
//! bits, one more bit of them, a band of AC coefficients' higher bits, one more bit of them.

use crate::jpeg::{
    entropy::{Fault, Order, Reader},
    error::JpegError,
    header::{COMPONENTS_MAX, Headers},
    huffman::{Symbols, extend},
};

/// Most bytes of a block: for each coefficient a code, and 14 bits of a value or a run.
pub(super) const BLOCK_BYTES_MAX: usize = 64 * (16 + 15) / 8 + 8;

/// A scan under way.
pub(super) struct Pass {
    order: Order,
    kind: Kind,
    /// The first and the last coefficient.
    band: [usize; 2],
    /// The lowest bit that is coded.
    low: u32,
    /// By component; of AC scans, the first is the only one's.
    symbols: [Option<Symbols>; COMPONENTS_MAX],
    prediction: [i32; COMPONENTS_MAX],
    /// Blocks that have no more new coefficients, this one included.
    ended: u32,
}

#[derive(Clone, Copy)]
enum Kind {
    DcFirst,
    DcMore,
    AcFirst,
    AcMore,
}

impl Pass {
    pub(super) fn new(order: Order, headers: &Headers) -> Result<Self, JpegError> {
        let scan = &headers.scan;
        let kind = match (scan.band[0], scan.bits[0]) {
            (0, 0) => Kind::DcFirst,
            (0, _) => Kind::DcMore,
            (_, 0) => Kind::AcFirst,
            (..) => Kind::AcMore,
        };
        let mut symbols = [const { None }; COMPONENTS_MAX];
        for component in &scan.components {
            let [dc, ac] = headers.components[*component].tables;
            symbols[*component] = match kind {
                Kind::DcFirst => Some(Symbols::new(&headers.spec(0, dc)?)),
                Kind::DcMore => None,
                Kind::AcFirst | Kind::AcMore => Some(Symbols::new(&headers.spec(1, ac)?)),
            };
        }
        let (band, low) = (scan.band, scan.bits[1]);
        Ok(Self { order, kind, band, low, symbols, prediction: [0; COMPONENTS_MAX], ended: 0 })
    }

    /// At a restart marker.
    pub(super) fn restart(&mut self) {
        (self.prediction, self.ended) = ([0; COMPONENTS_MAX], 0);
    }

    /// Decodes one block's part of the scan.
    pub(super) fn block(
        &mut self, reader: &mut Reader, data: &[u8], component: usize, block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        let mut local = *reader; // in registers
        let outcome = match self.kind {
            Kind::DcFirst => self.dc_first(&mut local, data, component, block),
            Kind::DcMore => {
                local.refill(data)?;
                block[0] |= (local.take_bits(1) << self.low) as i16;
                Ok(())
            }
            Kind::AcFirst => self.ac_first(&mut local, data, component, block),
            Kind::AcMore => self.ac_more(&mut local, data, component, block),
        };
        *reader = local;
        outcome
    }

    /// The next symbol; at least 40 bits are left after it.
    #[inline(always)]
    fn symbol(&self, reader: &mut Reader, data: &[u8], component: usize) -> Result<u8, Fault> {
        reader.refill(data)?;
        let symbols = self.symbols[component].as_ref();
        let found = symbols.and_then(|symbols| symbols.find(reader.bits()));
        let (len, symbol) = found.ok_or(Fault::Code)?;
        reader.take_bits(len);
        Ok(symbol)
    }

    fn dc_first(
        &mut self, reader: &mut Reader, data: &[u8], component: usize, block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        let size = u32::from(self.symbol(reader, data, component)?);
        let difference = extend(reader.take_bits(size) as i32, size);
        let dc = &mut self.prediction[component];
        *dc = dc.wrapping_add(difference);
        block[0] = (*dc << self.low) as i16;
        Ok(())
    }

    fn ac_first(
        &mut self, reader: &mut Reader, data: &[u8], component: usize, block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(());
        }
        let mut k = self.band[0];
        while k <= self.band[1] {
            let symbol = self.symbol(reader, data, component)?;
            let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if size == 0 && run < 15 {
                self.ended = (1 << run) - 1 + reader.take_bits(run as u32);
                break;
            }
            k += run;
            if k > self.band[1] {
                return Err(Fault::Overrun);
            }
            let value = extend(reader.take_bits(size) as i32, size);
            block[self.order.place(k)] = (value << self.low) as i16;
            k += 1;
        }
        Ok(())
    }

    fn ac_more(
        &mut self, reader: &mut Reader, data: &[u8], component: usize, block: &mut [i16; 64],
    ) -> Result<(), Fault> {
        let mut k = self.band[0];
        while self.ended == 0 && k <= self.band[1] {
            let symbol = self.symbol(reader, data, component)?;
            let (run, size) = (u32::from(symbol >> 4), symbol & 15);
            let new = match size {
                0 if run < 15 => {
                    self.ended = (1 << run) + reader.take_bits(run);
                    break;
                }
                0 => 0, // sixteen zeros
                1 if reader.take_bits(1) == 1 => 1 << self.low,
                1 => -1 << self.low,
                _ => return Err(Fault::Code),
            };
            k = self.correct(reader, data, block, k, Some(run))?;
            if k > self.band[1] {
                // The last of sixteen zeros may be the band's last coefficient.
                return if new == 0 { Ok(()) } else { Err(Fault::Overrun) };
            }
            if new != 0 {
                block[self.order.place(k)] = new;
            }
            k += 1;
        }
        if self.ended > 0 {
            self.correct(reader, data, block, k, None)?;
            self.ended -= 1;
        }
        Ok(())
    }

    /// One more bit for each coefficient that is not zero from `k` on, past `zeros` that are, or up
    /// to the band's end: where the next zero is.
    fn correct(
        &self, reader: &mut Reader, data: &[u8], block: &mut [i16; 64], mut k: usize,
        zeros: Option<u32>,
    ) -> Result<usize, Fault> {
        let mut left = zeros.unwrap_or(u32::MAX);
        let bit = 1 << self.low;
        // At most 56 coefficients between refills, and few enough bits before the first one.
        reader.refill(data)?;
        let mut bits = Reader::REFILLED;
        while k <= self.band[1] {
            let value = &mut block[self.order.place(k)];
            if *value == 0 {
                if left == 0 {
                    break;
                }
                left -= 1;
            } else {
                if bits == 0 {
                    reader.refill(data)?;
                    bits = Reader::REFILLED;
                }
                bits -= 1;
                if reader.take_bits(1) == 1 && *value & bit == 0 {
                    *value += if *value > 0 { bit } else { -bit };
                }
            }
            k += 1;
        }
        Ok(k)
    }
}
