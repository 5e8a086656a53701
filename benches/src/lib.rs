//! Benchmarks over the public APIs of Homing; each issue that sets a budget brings its own.
//!
//! **Never knows** internals: what it measures is what a user gets.
//!
//! Here stands what the benchmarks share: the names that requests bring, the cluster that a table is filled for, the bare
//! wires, the clock, the machine that a figure was measured on, and the page of a report. `benches/bench` is `cargo xtask bench`:
//! whole calls between real processes. The benchmarks of parts are in `benches/benches`:
//! - `routing_table`: our table and its rivals, in one run; ends with a report in `target/bench`.
//! - `memory`: what a pin costs, counted by the allocator.
//! - `instructions`: how many instructions a lookup takes, counted by callgrind.

mod bare;
mod clock;
mod cluster;
mod diffs;
mod machine;
mod names;
mod others;
mod page;
mod rng;

pub use bare::{Bare, BareClient, BareError, EchoService, GrpcEcho};
pub use clock::{now, since_epoch, sleep_until, timed};
pub use cluster::{NODES, Seats, Spaces, group_seats, pin_seats, table};
pub use diffs::Diffs;
pub use machine::{Machine, output_dir};
pub use names::{BATCH, Batch, Keys, name, shuffled};
pub use others::Others;
pub use page::{Chart, page};
pub use rng::Rng;
