use std::hint::black_box;

use gungraun::prelude::*;
use homing_benches::{Diffs, Spaces, name, table};
use homing_routing_table::{Diff, RoutingTable};
use homing_types::SpaceKey;

const PINS: u32 = 100_000;

/// Runs all measurements.
pub(crate) fn run() {
    main();
}

#[library_benchmark]
#[bench::short(name(7))]
#[bench::tagged(format!("{{{}}}/orders", name(7)))]
fn space_key(name: String) -> (SpaceKey, String) {
    // What is given back is not dropped within the count.
    (SpaceKey::of(black_box(&name)), name)
}

/// A table, warm, and the name to look up in it.
fn warm(pins: u32, space: u32) -> (RoutingTable, String) {
    let (table, name) = (table(&Spaces::new(0..pins, 2)), name(space));
    // What a thread does once, at its first load, is not what a lookup costs.
    let _ = table.load().lookup(SpaceKey::of(&name)).map(|found| found.is_pinned());
    (table, name)
}

#[library_benchmark]
#[bench::unpinned(warm(0, 7))]
#[bench::unpinned_beside_pins(warm(PINS, PINS + 7))]
#[bench::pinned(warm(PINS, 7))]
fn primary((table, name): (RoutingTable, String)) -> (RoutingTable, String) {
    let found =
        table.load().lookup(SpaceKey::of(black_box(&name))).map(|found| found.primary().as_str().len());
    black_box(found);
    (table, name)
}

#[library_benchmark]
#[bench::unpinned(warm(0, 7))]
#[bench::pinned(warm(PINS, 7))]
fn replicas((table, name): (RoutingTable, String)) -> (RoutingTable, String) {
    let found = table.load().lookup(SpaceKey::of(black_box(&name))).map(|found| {
        found.replicas().fold(0, |all, (node, state)| all + node.as_str().len() + state as usize)
    });
    black_box(found);
    (table, name)
}

/// A table and a diff for it.
fn with_diff(pins: u32, groups: usize) -> (RoutingTable, Diff) {
    let spaces = Spaces::new(0..pins, 2);
    (table(&spaces), Diffs::new(&spaces, groups).diff())
}

#[library_benchmark]
#[bench::one_group(with_diff(0, 1))]
#[bench::thousand_groups(with_diff(0, 1_000))]
#[bench::thousand_groups_with_pins(with_diff(PINS, 1_000))]
fn diff((table, diff): (RoutingTable, Diff)) -> (RoutingTable, Diff) {
    black_box(table.apply(black_box(&diff)).is_ok());
    (table, diff)
}

library_benchmark_group!(name = routing_table, benchmarks = [space_key, primary, replicas, diff]);
gungraun::main!(library_benchmark_groups = routing_table);
