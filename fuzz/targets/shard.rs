//! `cargo +nightly fuzz run shard`; the body says what is held to what.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bodies::shard(bytes));
