//! `cargo +nightly fuzz run tables`; the body says what is held to what.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::tables(bytes));
