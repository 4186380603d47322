//! A Huffman table's definition (T.81, annex C) to look-up tables that give whole coefficients.

mod spec;
mod standard;
mod symbols;
mod tables;

pub(super) use spec::{Codes, Spec};
pub(super) use standard::standard;
pub(super) use symbols::Symbols;
pub(super) use tables::{
    AC_BITS, BLOCK_END, BLOCK_END_AFTER, DC_BITS, LONG, LOOKUPS, SKIP_BITS, SKIP_END,
    SKIP_LOOKUPS, TableCache, Tables, extend, long_entry,
};
