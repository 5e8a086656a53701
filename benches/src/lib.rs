//! Benchmarks over the public APIs of Homing; each issue that sets a budget brings its own.
//!
//! **Never knows** internals: what it measures is what a user gets.
