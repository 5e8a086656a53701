//! What the routing table costs in memory: bytes a pin, counted by the allocator, beside a `DashMap` of as many names.
//!
//! The bytes of a pin are the difference between a table with a million pins and the same table without, divided by the
//! pins: so they hold everything that a pin brings along, also what is left empty in an index. Diffs are dropped before the
//! count, and old snapshots are reclaimed. They are bytes as they were asked for; what glibc makes of them stands beside.
//!
//! In the rival's favour: its value is three `u16`, whatever the number of replicas. In ours: it holds no names.
//!
//! Takes some seconds. Writes `target/bench/memory.json`, which the report of `routing_table` shows.

#![expect(clippy::print_stdout, reason = "a benchmark shows what it has measured")]

mod counting;

use std::fs;

use counting::Counting;
use dashmap::DashMap;
use homing_benches::{Diffs, Machine, Spaces, name, output_dir, table};
use homing_routing_table::RoutingTable;
use serde_json::{Value, json};

#[global_allocator]
static MEMORY: Counting = Counting::new();

const SPACES: u32 = 1_000_000;

fn main() {
    let spaces = if std::env::args().any(|arg| arg == "--bench") { SPACES } else { 1_000 };
    let machine = Machine::here();
    let empty = held(RoutingTable::new);
    let unpinned = held(|| filled(0, 2));
    let pins: Vec<Value> = [0, 2, 7].map(|replicas| pins(spaces, replicas)).into();
    let map = held(|| (0..spaces).map(|space| (name(space), [1_u16, 2, 3])).collect::<DashMap<_, _>>());
    let report = json!({
        "machine": machine.json(),
        "commit": machine.commit,
        "empty_table_bytes": empty.live,
        "unpinned_table_bytes": unpinned.live,
        "pins": pins,
        "dashmap_bytes_a_name": map.each(spaces).live,
        "dashmap_bytes_a_name_glibc": map.each(spaces).chunks,
        "peak_of_a_diff_bytes": { "pins_0": peak(0), "pins_1m": peak(spaces) },
    });
    let text = serde_json::to_string_pretty(&report).expect("a value is written as JSON");
    println!("{text}");
    if spaces == SPACES {
        let path = output_dir(env!("CARGO_TARGET_TMPDIR")).join("memory.json");
        fs::write(&path, text).expect("the target directory can be written");
        println!("wrote {}", path.display());
    }
}

/// What something holds.
#[derive(Clone, Copy)]
struct Held {
    live: f64,
    chunks: f64,
}

impl Held {
    fn each(self, count: u32) -> Self {
        Self { live: self.live / f64::from(count), chunks: self.chunks / f64::from(count) }
    }
}

/// What is live after `make`, and not before it or after its result is gone.
fn held<T>(make: impl FnOnce() -> T) -> Held {
    let before = (MEMORY.live(), MEMORY.chunks());
    let made = make();
    let held = Held { live: (MEMORY.live() - before.0) as f64, chunks: (MEMORY.chunks() - before.1) as f64 };
    drop(made);
    held
}

fn pins(count: u32, replicas: usize) -> Value {
    let (with, without) = (held(|| filled(count, replicas)), held(|| filled(0, replicas)));
    let pins = Held { live: with.live - without.live, chunks: with.chunks - without.chunks }.each(count);
    json!({ "replicas": replicas, "bytes_a_pin": pins.live, "bytes_a_pin_glibc": pins.chunks })
}

/// A filled table. What it was filled from is gone, and so is the empty snapshot before it: the writer freed that.
fn filled(pins: u32, replicas: usize) -> RoutingTable {
    table(&Spaces::new(0..pins, replicas))
}

/// The most that is live at once while a diff of 1,000 groups is applied: the diff itself doesn't count.
fn peak(pins: u32) -> usize {
    let spaces = Spaces::new(0..pins, 2);
    let table = table(&spaces);
    let diff = Diffs::new(&spaces, 1_000).diff();
    MEMORY.peak_of(|| drop(table.apply(&diff).expect("within the bounds")))
}
