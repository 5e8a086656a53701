//! Operations on a routing table against a plain map.
//!
//! `cargo fuzz run table --sanitizer none` on stable, `cargo +nightly fuzz run table` with AddressSanitizer.

#![no_main]

#[path = "../../crates/routing-table/tests/it/operations.rs"]
#[expect(dead_code, reason = "the other fuzz target runs the other half")]
mod operations;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| operations::run(bytes));
