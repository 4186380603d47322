//! Blocks to symbols (T.81, annex F.1.2), which are counted first and written then.

use super::TABLES;
use crate::jpeg::{entropy::Order, error::JpegError, huffman::Spec};

/// Most bits of a sequential picture's DC difference and AC coefficient, of 8-bit samples.
const DC_SIZE_MAX: u32 = 11;
const AC_SIZE_MAX: u32 = 10;
/// Sixteen zeros.
const ZEROS: u8 = 0xF0;
const BLOCK_END: u8 = 0;

/// Takes symbols.
pub(super) trait Sink {
    /// A symbol of class 0 (DC) or 1 (AC) of a table, and the `size` bits that follow its code.
    fn put(&mut self, table: usize, class: usize, symbol: u8, value: u32, size: u32);
    /// A row of MCUs ends.
    fn end_row(&mut self, row: usize, is_last: bool);
}

/// How often each symbol is put, by table and class.
#[derive(Debug)]
pub(super) struct Counts(pub(super) [[[u32; 256]; 2]; TABLES]);

impl Default for Counts {
    fn default() -> Self {
        Self([[[0; 256]; 2]; TABLES])
    }
}

impl Sink for Counts {
    fn put(&mut self, table: usize, class: usize, symbol: u8, _: u32, _: u32) {
        self.0[table][class][usize::from(symbol)] += 1;
    }

    fn end_row(&mut self, _: usize, _: bool) {}
}

/// Code and length of each symbol.
type Codes = [(u32, u32); 256];

/// Writes codes and values, stuffed, and a marker after each row.
pub(super) struct Bits<'a> {
    codes: Box<[[Codes; 2]; TABLES]>,
    out: &'a mut Vec<u8>,
    /// The last bits, of which `count` are not written yet.
    last: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(specs: &[[Spec; 2]; TABLES], out: &'a mut Vec<u8>) -> Self {
        let mut codes = Box::new([[[(0, 0); 256]; 2]; TABLES]);
        for (codes, specs) in codes.as_flattened_mut().iter_mut().zip(specs.as_flattened()) {
            for (code, len, symbol) in specs.codes() {
                codes[usize::from(symbol)] = (code, len);
            }
        }
        Self { codes, out, last: 0, count: 0 }
    }

    /// At most 32 bits.
    fn push(&mut self, bits: u32, len: u32) {
        self.last = self.last << len | u64::from(bits);
        self.count += len;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.last >> self.count) as u8;
            self.out.push(byte);
            if byte == 0xFF {
                self.out.push(0);
            }
        }
    }
}

impl Sink for Bits<'_> {
    fn put(&mut self, table: usize, class: usize, symbol: u8, value: u32, size: u32) {
        let (code, len) = self.codes[table][class][usize::from(symbol)];
        self.push(code << size | value, len + size);
    }

    fn end_row(&mut self, row: usize, is_last: bool) {
        let missing = (8 - self.count % 8) % 8;
        self.push((1 << missing) - 1, missing);
        if !is_last {
            self.out.extend([0xFF, 0xD0 + (row % 8) as u8]);
        }
    }
}

/// Gives a block's symbols to `sink`.
///
/// # Errors
/// If it has values that no sequential picture has.
pub(super) fn block(
    order: Order, table: usize, block: &[i16; 64], prediction: &mut i32, sink: &mut impl Sink,
) -> Result<(), JpegError> {
    let dc = i32::from(block[0]);
    let (value, size) = coded(dc - *prediction);
    if size > DC_SIZE_MAX {
        return Err(JpegError::Unsupported("a DC difference of more than 11 bits"));
    }
    *prediction = dc;
    sink.put(table, 0, size as u8, value, size);
    let mut zeros = 0;
    for k in 1..64 {
        let coefficient = block[order.place(k)];
        if coefficient == 0 {
            zeros += 1;
            continue;
        }
        while zeros > 15 {
            sink.put(table, 1, ZEROS, 0, 0);
            zeros -= 16;
        }
        let (value, size) = coded(coefficient.into());
        if size > AC_SIZE_MAX {
            return Err(JpegError::Unsupported("a coefficient of more than 10 bits"));
        }
        sink.put(table, 1, (zeros << 4 | size) as u8, value, size);
        zeros = 0;
    }
    if zeros > 0 {
        sink.put(table, 1, BLOCK_END, 0, 0);
    }
    Ok(())
}

/// A value's bits and their number: negative ones less one, without the sign's bits.
fn coded(value: i32) -> (u32, u32) {
    let size = 32 - value.unsigned_abs().leading_zeros();
    let bits = value - i32::from(value < 0);
    (bits as u32 & ((1 << size) - 1), size)
}
