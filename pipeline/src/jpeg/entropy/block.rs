//! Decoding blocks.

use super::{Fault, Mcu, Prediction, Reader, ZIGZAG};
use crate::jpeg::{
    header::COMPONENTS_MAX,
    huffman::{
        AC_BITS, BLOCK_END, BLOCK_END_AFTER, DC_BITS, LONG, LOOKUPS, Tables, long_entry,
    },
};

/// Where coefficient `k` of the zigzag goes.
pub(super) trait Place {
    /// # Panics
    /// If `k` is not below 64.
    fn of(k: usize) -> usize;
}

/// Row by row.
pub(super) struct Natural;

impl Place for Natural {
    #[inline(always)]
    fn of(k: usize) -> usize {
        usize::from(ZIGZAG[k])
    }
}

/// Where it stands.
pub(super) struct Coded;

impl Place for Coded {
    #[inline(always)]
    fn of(k: usize) -> usize {
        k
    }
}

/// After an entry.
enum Next {
    More,
    BlockEnd,
    /// The entry does not say it all.
    Long,
}

#[inline(always)]
pub(super) fn decode<P: Place>(
    reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize, prediction: &mut Prediction,
    blocks: &mut [[i16; 64]],
) -> Result<(), Fault> {
    let mut local = *reader; // in registers
    let mut run = || {
        for i in 0..count {
            for slot in mcu.slots {
                let block = &mut blocks[slot.first + i * slot.step];
                let component = slot.component.min(COMPONENTS_MAX - 1);
                self::block::<P>(&mut local, data, mcu.tables[component], block)?;
                let dc = &mut prediction[component];
                *dc = dc.wrapping_add(i32::from(block[0]));
                block[0] = *dc as i16;
            }
        }
        Ok(())
    };
    let outcome = run();
    *reader = local;
    outcome
}

/// One block, its DC value still a difference.
#[inline(always)]
fn block<P: Place>(
    reader: &mut Reader, data: &[u8], tables: &Tables, block: &mut [i16; 64],
) -> Result<(), Fault> {
    let (dc, ac) = (&*tables.dc, &*tables.ac); // in registers, whatever is written to the block
    let mut k = 0;
    reader.refill(data)?;
    let entry = dc[(reader.bits >> (64 - DC_BITS)) as usize];
    match short::<P>(reader, entry, &mut k, block) {
        Next::More => {}
        Next::BlockEnd => return Ok(()),
        Next::Long => {
            if long::<P>(reader, data, entry, tables, &mut k, block)? {
                return Ok(());
            }
            reader.refill(data)?;
        }
    }
    let mut left = LOOKUPS - 1; // DC_BITS are gone
    loop {
        while left > 0 {
            let entry = ac[(reader.bits >> (64 - AC_BITS)) as usize];
            match short::<P>(reader, entry, &mut k, block) {
                Next::More => left -= 1,
                Next::BlockEnd => return Ok(()),
                Next::Long => {
                    if long::<P>(reader, data, entry, tables, &mut k, block)? {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        reader.refill(data)?;
        left = LOOKUPS;
    }
}

/// Up to two coefficients, by a table's entry alone.
#[inline(always)]
fn short<P: Place>(
    reader: &mut Reader, entry: u32, k: &mut usize, block: &mut [i16; 64],
) -> Next {
    if entry & LONG != 0 {
        return Next::Long;
    }
    let first = *k + ((entry >> 6) & 15) as usize;
    let advance = ((entry >> 10) & 63) as usize;
    let second = first + advance;
    let values = ((entry as i32 >> 24) as i16, (((entry << 8) as i32) >> 25) as i16);
    // Where there is no second coefficient, the first overwrites it.
    if second < 63 {
        reader.take(entry);
        block[P::of(second)] = values.1;
        block[P::of(first & 63)] = values.0;
        *k = second + 1;
        return Next::More;
    }
    let ends = if advance >= BLOCK_END {
        // An end of block by itself writes a zero where none has been written yet.
        first < 63 || advance == BLOCK_END
    } else {
        second == 63 && (first < 63 || advance == 0)
    };
    if !ends {
        return Next::Long; // the first fills the block, and the second is another's; or an error
    }
    reader.take(entry);
    if advance < BLOCK_END {
        block[P::of(63)] = values.1;
    }
    block[P::of(first & 63)] = values.0;
    Next::BlockEnd
}

/// One coefficient, by its code. Whether the block has ended.
#[inline(always)]
fn long<P: Place>(
    reader: &mut Reader, data: &[u8], entry: u32, tables: &Tables, k: &mut usize,
    block: &mut [i16; 64],
) -> Result<bool, Fault> {
    reader.refill(data)?;
    let whole = entry & LONG != 0 && entry >> 21 != 0;
    let entry = if whole { entry } else { by_code(reader.bits, tables, *k == 0)? };
    if (entry >> 10) & 63 == BLOCK_END as u32 {
        reader.take(entry);
        return Ok(true);
    }
    let place = *k + ((entry >> 6) & 15) as usize;
    if place > 63 {
        return Err(Fault::Overrun);
    }
    block[P::of(place)] = reader.long_value(entry) as i16;
    reader.take(entry);
    *k = place + 1;
    Ok(place == 63)
}

/// The long entry of the next code, whatever its length.
#[cold]
#[inline(never)]
pub(super) fn by_code(bits: u64, tables: &Tables, dc: bool) -> Result<u32, Fault> {
    let codes = if dc { &tables.dc_codes } else { &tables.ac_codes };
    codes.find(bits).map(|(len, symbol)| long_entry(len, symbol, dc)).ok_or(Fault::Code)
}

const _: () = {
    let after_dc = DC_BITS + (LOOKUPS as u32 - 1) * AC_BITS;
    assert!(after_dc <= Reader::REFILLED && LOOKUPS as u32 * AC_BITS <= Reader::REFILLED);
    assert!(BLOCK_END + 1 > 62 && BLOCK_END_AFTER >= 63); // from any place, they pass the 62nd
};
