//! `cargo +nightly fuzz run archives`; the body says what is held to what.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::archives(bytes));
