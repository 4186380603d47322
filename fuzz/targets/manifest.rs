//! `cargo +nightly fuzz run manifest`; the body says what is held to what.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::manifest(bytes));
