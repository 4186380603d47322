//! Look-up tables: the next bits of the stream to up to two coefficients at once.
//!
//! A table is indexed by the next `N` bits. An entry is one word:
//!
//! | bits | of most entries | of [`LONG`] ones |
//! |---|---|---|
//! | 0..6 | bits used up by all that the entry tells | by the code and its value |
//! | 6..10 | zeros before the first coefficient | the same |
//! | 10..16 | from the first to the second: 0 for none, or an end of block | 0, or [`BLOCK_END`] |
//! | 16 | 0 | 1 |
//! | 17..24 | the second's value, signed | 17..21 the value's bits; 21..26 the code's |
//! | 24..32 | the first's value, signed | |
//!
//! A long entry stands for a code whose value does not fit the index or the field; where not even
//! the code fits, it holds no more than [`LONG`]. Photographs of high quality have 5.8 bits per
//! coefficient: with 11 bits 97 % of them, and pairs in 40 % of the look-ups, come from a table of
//! 8 KB, so that those of luminance and chrominance stay in the first-level cache. 10 and 12 bits
//! are both slower, by 5 % and 8 %.

use super::{Codes, Spec};

/// Index bits of an AC table.
pub(in crate::jpeg) const AC_BITS: u32 = 11;
/// Index bits of a DC table, whose second coefficient is the first AC one.
pub(in crate::jpeg) const DC_BITS: u32 = 9;
/// Index bits of a table for blocks that are passed over.
pub(in crate::jpeg) const SKIP_BITS: u32 = 10;

/// Look-ups between two refills of at least 56 bits: 5 x [`AC_BITS`].
pub(in crate::jpeg) const LOOKUPS: usize = 5;
/// The same of passed-over blocks: 3 x [`SKIP_LEN_MAX`].
pub(in crate::jpeg) const SKIP_LOOKUPS: usize = 3;
/// Most bits that an entry of a skip table uses up.
const SKIP_LEN_MAX: u32 = 18;
/// Most coefficients of an entry of a skip table.
const SKIP_SYMBOLS: usize = 3;

/// Flag of an entry whose value is not in it.
pub(in crate::jpeg) const LONG: u32 = 1 << 16;
/// In place of a second coefficient: the entry is an end of block and nothing else.
pub(in crate::jpeg) const BLOCK_END: usize = 62;
/// In place of a second coefficient: the block ends after the first.
pub(in crate::jpeg) const BLOCK_END_AFTER: usize = 63;
/// Of a skip entry's advance: the block ends.
pub(in crate::jpeg) const SKIP_END: usize = 64;

/// All that decoding a component needs.
#[derive(Debug)]
pub(in crate::jpeg) struct Tables {
    pub(in crate::jpeg) dc: Box<[u32; 1 << DC_BITS]>,
    pub(in crate::jpeg) ac: Box<[u32; 1 << AC_BITS]>,
    /// Bits 0..6 as above, 8..15 the coefficients passed plus [`SKIP_END`], 16 as above.
    pub(in crate::jpeg) skip: Box<[u32; 1 << SKIP_BITS]>,
    pub(in crate::jpeg) dc_codes: Codes,
    pub(in crate::jpeg) ac_codes: Codes,
    specs: (Spec, Spec),
    has_skip: bool,
    /// When it was used last, in pictures.
    used: u64,
}

/// The tables of the last few pictures: many files share theirs.
#[derive(Debug, Default)]
pub(in crate::jpeg) struct TableCache {
    slots: Vec<Tables>,
    pictures: u64,
}

/// Pairs of specs kept; a picture has at most four.
const SLOTS: usize = 8;

impl TableCache {
    /// Begins a picture: what it selects stays until the next begins.
    pub(in crate::jpeg) fn begin(&mut self) {
        self.pictures += 1;
    }

    /// The tables for a DC and an AC definition, built unless they are there.
    pub(in crate::jpeg) fn select(&mut self, dc: &Spec, ac: &Spec, skip: bool) -> usize {
        let has = |slot: &Tables| slot.specs.0 == *dc && slot.specs.1 == *ac;
        let index = self.slots.iter().position(has).unwrap_or_else(|| {
            if self.slots.len() < SLOTS {
                self.slots.push(Tables::new(dc, ac));
                return self.slots.len() - 1;
            }
            let oldest = (0..SLOTS).min_by_key(|i| self.slots[*i].used).unwrap_or_default();
            self.slots[oldest].build(dc, ac);
            oldest
        });
        let slot = &mut self.slots[index];
        slot.used = self.pictures;
        if skip && !slot.has_skip {
            skip_table(&slot.specs.1, &mut slot.skip);
            slot.has_skip = true;
        }
        index
    }

    pub(in crate::jpeg) fn get(&self, index: usize) -> &Tables {
        &self.slots[index]
    }
}

impl Tables {
    fn new(dc: &Spec, ac: &Spec) -> Self {
        let mut tables = Self {
            dc: Box::new([0; 1 << DC_BITS]),
            ac: Box::new([0; 1 << AC_BITS]),
            skip: Box::new([0; 1 << SKIP_BITS]),
            dc_codes: Codes::new(dc),
            ac_codes: Codes::new(ac),
            specs: (*dc, *ac),
            has_skip: false,
            used: 0,
        };
        tables.build(dc, ac);
        tables
    }

    fn build(&mut self, dc: &Spec, ac: &Spec) {
        (self.dc_codes, self.ac_codes) = (Codes::new(dc), Codes::new(ac));
        (self.specs, self.has_skip) = ((*dc, *ac), false);
        let mut first_dc = [LONG; 1 << DC_BITS];
        let mut first_ac = [LONG; 1 << AC_BITS];
        singles(dc, true, DC_BITS, &mut first_dc);
        singles(ac, false, AC_BITS, &mut first_ac);
        let second = first_ac.map(as_second);
        pairs(&first_dc, DC_BITS, &second, &mut *self.dc);
        pairs(&first_ac, AC_BITS, &second, &mut *self.ac);
    }
}

/// Run and size of a symbol.
fn split(symbol: u8, dc: bool) -> (u32, u32) {
    let run = if dc { 0 } else { u32::from(symbol >> 4) };
    (run, u32::from(symbol & 15))
}

/// The entry of a code that is followed by the bits of its value in the stream.
pub(in crate::jpeg) fn long_entry(len: u32, symbol: u8, dc: bool) -> u32 {
    if !dc && symbol == 0 {
        return len | (BLOCK_END as u32) << 10 | LONG | len << 21;
    }
    let (run, size) = split(symbol, dc);
    (len + size) | run << 6 | LONG | size << 17 | len << 21
}

/// Entries of one coefficient each. `table` is [`LONG`] where no code reaches.
fn singles(spec: &Spec, dc: bool, bits: u32, table: &mut [u32]) {
    for (code, len, symbol) in spec.codes().take_while(|(_, len, _)| *len <= bits) {
        let at = (code as usize) << (bits - len);
        let (run, size) = split(symbol, dc);
        let entries = &mut table[at..at + (1 << (bits - len))];
        if !dc && symbol == 0 {
            entries.fill(len | (BLOCK_END as u32) << 10);
        } else if len + size > bits || size > 7 {
            entries.fill(long_entry(len, symbol, dc));
        } else {
            let each = 1 << (bits - len - size);
            for (raw, entries) in (0..).zip(entries.chunks_exact_mut(each)) {
                entries.fill((len + size) | run << 6 | (extend(raw, size) as u32) << 24);
            }
        }
    }
}

/// The value that `size` bits stand for (T.81, figure F.12).
pub(in crate::jpeg) fn extend(raw: i32, size: u32) -> i32 {
    let half = (1 << size) >> 1;
    if raw < half { raw - (1 << size) + 1 } else { raw }
}

/// What an entry adds to the one before it in the stream; 0 if it cannot follow.
fn as_second(entry: u32) -> u32 {
    let (len, run) = (entry & 63, (entry >> 6) & 15);
    let value = (entry as i32) >> 24;
    if entry & LONG != 0 {
        0
    } else if (entry >> 10) & 63 == BLOCK_END as u32 {
        len | (BLOCK_END_AFTER as u32) << 10
    } else if (-64..64).contains(&value) {
        len | (run + 1) << 10 | (value as u32 & 127) << 17
    } else {
        0
    }
}

/// Entries of up to two coefficients each. `second` has [`AC_BITS`].
fn pairs(first: &[u32], bits: u32, second: &[u32; 1 << AC_BITS], out: &mut [u32]) {
    let mut at = 0;
    while at < first.len() {
        let entry = first[at];
        let (len, rest) = (entry & 63, bits.saturating_sub(entry & 63));
        if entry & LONG != 0 || (entry >> 10) & 63 == BLOCK_END as u32 || rest < 2 {
            out[at] = entry;
            at += 1;
            continue;
        }
        // All entries of the same first coefficient; the second is told by the bits after it.
        let step = 1 << (AC_BITS - bits + len);
        let entries = &mut out[at..at + (1 << rest)];
        for (out, second) in entries.iter_mut().zip(second.iter().step_by(step)) {
            *out = if second & 63 <= rest { entry + second } else { entry };
        }
        at += 1 << rest;
    }
}

/// Entries of up to [`SKIP_SYMBOLS`] coefficients without their values, which may even lie beyond
/// the index.
fn skip_table(ac: &Spec, out: &mut [u32; 1 << SKIP_BITS]) {
    const CODE: u32 = 24; // the code's own length, in the entries of one
    let mut single = [LONG; 1 << SKIP_BITS];
    for (code, len, symbol) in ac.codes().take_while(|(_, len, _)| *len <= SKIP_BITS) {
        let (run, size) = split(symbol, false);
        if len + size <= SKIP_LEN_MAX {
            let at = (code as usize) << (SKIP_BITS - len);
            let advance = if symbol == 0 { SKIP_END as u32 } else { run + 1 };
            let entry = (len + size) | advance << 8 | len << CODE;
            single[at..at + (1 << (SKIP_BITS - len))].fill(entry);
        }
    }
    for (at, out) in out.iter_mut().enumerate() {
        let mut entry = single[at] & !(63 << CODE);
        for _ in 1..SKIP_SYMBOLS {
            let len = entry & 63;
            if entry & (LONG | (SKIP_END as u32) << 8) != 0 || len >= SKIP_BITS {
                break;
            }
            let next = single[(at << len) & ((1 << SKIP_BITS) - 1)];
            let seen = (next >> CODE) <= SKIP_BITS - len;
            if next & LONG != 0 || !seen || len + (next & 63) > SKIP_LEN_MAX {
                break;
            }
            entry += next & !(63 << CODE);
        }
        *out = entry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Draws;

    /// A table with codes of many lengths, one of them an end of block.
    fn spec() -> Spec {
        let counts = [0, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2];
        let symbols = [
            0x01, 0x02, 0x11, 0x00, 0x03, 0x21, 0x12, 0x04, 0x05, 0x31, 0x41, 0x07, 0x06, 0xF0,
            0x22, 0x13, 0x08, 0x51, 0x09, 0x0A, 0x61, 0xF1, 0x23, 0xA8,
        ];
        Spec::new(&counts, &symbols[..24], false).expect("sound")
    }

    /// One coefficient at a time, by the codes alone: (bits used, zeros before, value), or none
    /// for an end of block.
    fn one(codes: &Codes, bits: u64) -> Option<(u32, Option<(u32, i32)>)> {
        let (len, symbol) = codes.find(bits)?;
        if symbol == 0 {
            return Some((len, None));
        }
        let (run, size) = split(symbol, false);
        let raw = if size == 0 { 0 } else { (bits << len) >> (64 - size) };
        Some((len + size, Some((run, extend(raw as i32, size)))))
    }

    #[test]
    fn pairs_say_what_single_codes_say() {
        let spec = spec();
        let (tables, codes) = (Tables::new(&spec, &spec), Codes::new(&spec));
        let mut draws = Draws::new(1, 0, 0, 0);
        let (mut pairs, mut ends) = (0, 0);
        for _ in 0..200_000 {
            let bits = u64::from(draws.below(1 << 31)) << 33 | u64::from(draws.below(1 << 31));
            let entry = tables.ac[(bits >> (64 - AC_BITS)) as usize];
            if entry & LONG != 0 {
                continue;
            }
            let (run, next) = ((entry >> 6) & 15, ((entry >> 10) & 63) as usize);
            let (len, first) = one(&codes, bits).expect("a code");
            if next == BLOCK_END {
                assert_eq!((entry & 63, first), (len, None));
                continue;
            }
            assert_eq!(first, Some((run, (entry as i32) >> 24)));
            let second = one(&codes, bits << len);
            match next {
                0 => assert_eq!(entry & 63, len),
                BLOCK_END_AFTER => {
                    ends += 1;
                    assert_eq!(second, Some((entry & 63) - len).map(|len| (len, None)));
                }
                _ => {
                    pairs += 1;
                    let value = ((entry << 8) as i32) >> 25;
                    let wanted = ((entry & 63) - len, Some((next as u32 - 1, value)));
                    assert_eq!(second, Some(wanted));
                }
            }
        }
        assert!(pairs > 10_000 && ends > 1000, "{pairs} pairs, {ends} ends");
    }

    #[test]
    fn skip_entries_pass_what_single_codes_pass() {
        let spec = spec();
        let codes = Codes::new(&spec);
        let mut tables = Tables::new(&spec, &spec);
        skip_table(&spec, &mut tables.skip);
        let mut draws = Draws::new(2, 0, 0, 0);
        let mut several = 0;
        for _ in 0..200_000 {
            let bits = u64::from(draws.below(1 << 31)) << 33 | u64::from(draws.below(1 << 31));
            let entry = tables.skip[(bits >> (64 - SKIP_BITS)) as usize];
            if entry & LONG != 0 {
                continue;
            }
            let (mut used, mut passed, mut symbols) = (0, 0, 0);
            while used < entry & 63 {
                let (len, coefficient) = one(&codes, bits << used).expect("a code");
                passed += coefficient.map_or(SKIP_END as u32, |(run, _)| run + 1);
                used += len;
                symbols += 1;
            }
            assert_eq!((entry & 63, entry >> 8), (used, passed));
            assert!(used <= SKIP_LEN_MAX);
            several += u32::from(symbols > 1);
        }
        assert!(several > 50_000, "{several} of several coefficients");
    }

    #[test]
    fn the_cache_keeps_what_a_picture_uses() {
        let mut cache = TableCache::default();
        let spec =
            |i: u8| Spec::new(&[0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[i, 9], true);
        let spec = |i| spec(i).expect("sound");
        for picture in 0..20 {
            cache.begin();
            let pairs = [(0, 1), (1, 0), (picture % 10, 2)];
            let slots = pairs.map(|(dc, ac)| cache.select(&spec(dc), &spec(ac), false));
            for (slot, (dc, ac)) in slots.into_iter().zip(pairs) {
                assert_eq!(cache.get(slot).specs, (spec(dc), spec(ac)));
            }
        }
        assert_eq!(cache.slots.len(), SLOTS);
    }
}
