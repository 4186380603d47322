//! A reservoir of 64 bits.

use super::Fault;

/// Bits of a stream of bytes, the next ones highest.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::jpeg) struct Reader {
    /// At least [`count`](Self::count) modulo 64 of them are the stream's; those below are either
    /// the stream's as well or zero.
    pub(super) bits: u64,
    /// Modulo 64 the bits left, so that taking some is one subtraction of a whole table entry.
    count: u32,
    /// The next byte to be loaded.
    at: usize,
}

impl Reader {
    /// Bits that are there after a refill.
    pub(in crate::jpeg) const REFILLED: u32 = 56;

    /// Loads bytes until at least 56 bits are there. Those that are loaded but not counted are
    /// loaded again, over themselves.
    #[inline(always)]
    pub(in crate::jpeg) fn refill(&mut self, data: &[u8]) -> Result<(), Fault> {
        let Some(bytes) = data.get(self.at..).and_then(|rest| rest.first_chunk::<8>()) else {
            return Err(Fault::Starved);
        };
        let count = self.count & 63;
        self.bits |= u64::from_be_bytes(*bytes) >> count;
        self.at += ((63 - count) >> 3) as usize;
        self.count = count | Self::REFILLED;
        Ok(())
    }

    /// The bits, the next one highest. After a refill, 56 are the stream's.
    #[inline(always)]
    pub(in crate::jpeg) fn bits(&self) -> u64 {
        self.bits
    }

    /// Takes `len` bits, up to 32, of which as many must be left.
    #[inline(always)]
    pub(in crate::jpeg) fn take_bits(&mut self, len: u32) -> u32 {
        let taken = (self.bits >> 32 >> (32 - len)) as u32;
        self.take(len);
        taken
    }

    /// Takes as many bits as the lowest 6 bits of a table's entry say.
    #[inline(always)]
    pub(super) fn take(&mut self, entry: u32) {
        self.bits <<= entry & 63;
        self.count = self.count.wrapping_sub(entry);
    }

    /// The value of a long entry's coefficient, whose code is the next in the stream.
    #[inline(always)]
    pub(super) fn long_value(&self, entry: u32) -> i32 {
        let (len, size) = (entry >> 21, (entry >> 17) & 15);
        let value = self.bits << len;
        let raw = ((value >> 1) >> (63 - size)) as i32;
        // Below half of their range, values are negative (T.81, figure F.12).
        let negative = !((value as i64 >> 63) as i32);
        raw + (((-1 << size) + 1) & negative)
    }

    /// Bits taken since the start of the data.
    pub(in crate::jpeg) fn position_bits(&self) -> usize {
        8 * self.at - (self.count & 63) as usize
    }

    /// The first byte that need not be kept.
    pub(in crate::jpeg) fn loaded(&self) -> usize {
        self.at
    }

    /// After the first `bytes` of the data were dropped.
    pub(in crate::jpeg) fn rebase(&mut self, bytes: usize) {
        self.at -= bytes;
    }

    /// As if whole bytes had been taken.
    #[cfg(test)]
    pub(in crate::jpeg) fn advance_bytes(&mut self, bytes: usize) {
        self.at += bytes;
    }
}
