//! Hostile bytes: never a panic, and what decodes has one encoding.
//!
//! `cargo fuzz run wire --sanitizer none` on stable, `cargo +nightly fuzz run wire` with AddressSanitizer.

#![no_main]

#[path = "../../crates/routing-table/tests/it/operations.rs"]
#[expect(dead_code, reason = "the other fuzz target runs the other half")]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| operations::decode(bytes));
