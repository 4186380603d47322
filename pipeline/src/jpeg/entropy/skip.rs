//! Passing over blocks: their bits are counted, of their values only the DC differences are kept.

use super::{Fault, Mcu, Prediction, Reader, block::by_code};
use crate::jpeg::{
    header::COMPONENTS_MAX,
    huffman::{
        BLOCK_END, BLOCK_END_AFTER, DC_BITS, LONG, SKIP_BITS, SKIP_END, SKIP_LOOKUPS, Tables,
    },
};

#[inline(always)]
pub(super) fn skip(
    reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize, prediction: &mut Prediction,
) -> Result<(), Fault> {
    let mut local = *reader; // in registers
    let mut run = || {
        for _ in 0..count {
            for slot in mcu.slots {
                let component = slot.component.min(COMPONENTS_MAX - 1);
                let difference = block(&mut local, data, mcu.tables[component])?;
                let dc = &mut prediction[component];
                *dc = dc.wrapping_add(difference);
            }
        }
        Ok(())
    };
    let outcome = run();
    *reader = local;
    outcome
}

/// Passes over a block; its DC difference.
#[inline(always)]
fn block(reader: &mut Reader, data: &[u8], tables: &Tables) -> Result<i32, Fault> {
    let passing = &*tables.skip;
    reader.refill(data)?;
    let mut entry = tables.dc[(reader.bits >> (64 - DC_BITS)) as usize];
    let mut k = 1;
    let difference = if entry & LONG == 0 {
        reader.take(entry);
        // The first AC coefficient, or the end of the block, may be in it.
        let advance = ((entry >> 10) & 63) as usize;
        if advance == BLOCK_END_AFTER {
            return Ok(entry as i32 >> 24);
        }
        k += advance;
        entry as i32 >> 24
    } else {
        if entry >> 21 == 0 {
            entry = by_code(reader.bits, tables, true)?;
        }
        let difference = reader.long_value(entry);
        reader.take(entry);
        difference
    };
    loop {
        reader.refill(data)?;
        for _ in 0..SKIP_LOOKUPS {
            let entry = passing[(reader.bits >> (64 - SKIP_BITS)) as usize];
            if entry & LONG != 0 {
                if one(reader, data, tables, &mut k)? {
                    return Ok(difference);
                }
                break;
            }
            let after = k + ((entry >> 8) & 127) as usize;
            if after < 64 {
                reader.take(entry);
                k = after;
                continue;
            }
            let ends = (entry >> 8) & SKIP_END as u32 != 0;
            if if ends { after < 64 + SKIP_END } else { after == 64 } {
                reader.take(entry);
                return Ok(difference);
            }
            // One of its coefficients fills the block, and the rest are another's; or an error.
            if one(reader, data, tables, &mut k)? {
                return Ok(difference);
            }
            break;
        }
    }
}

/// Passes over one coefficient, by its code. Whether the block has ended.
#[inline(always)]
fn one(
    reader: &mut Reader, data: &[u8], tables: &Tables, k: &mut usize,
) -> Result<bool, Fault> {
    reader.refill(data)?;
    let entry = by_code(reader.bits, tables, false)?;
    reader.take(entry);
    if (entry >> 10) & 63 == BLOCK_END as u32 {
        return Ok(true);
    }
    *k += ((entry >> 6) & 15) as usize + 1;
    if *k > 64 { Err(Fault::Overrun) } else { Ok(*k == 64) }
}
