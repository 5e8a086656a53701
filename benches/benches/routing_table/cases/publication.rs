//! How a reader gets at the snapshot of the moment: our table with what it uses, and the same snapshot published in other ways.

use std::hint::black_box;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use homing_benches::{Keys, Spaces, table};
use homing_routing_table::Snapshot;
use homing_types::SpaceKey;

use crate::bench::Bench;
use crate::lookups::time_fresh;

pub(crate) const CASE: &str = "publication-1m";

pub(crate) fn run(bench: &mut Bench) {
    if !bench.wants(CASE) {
        return;
    }
    let table = table(&Spaces::new(0..0, 2));
    let mut reader = table.reader();
    let swap = ArcSwap::new(table.snapshot());
    let mut cache = Cache::new(&swap);
    let snapshot: Arc<Snapshot> = table.snapshot();
    measure(bench, "ours", |name| look_up(table.load(), name));
    measure(bench, "ours, cached handle", |name| look_up(reader.load(), name));
    measure(bench, "arc-swap", |name| look_up(&**swap.load(), name));
    measure(bench, "arc-swap, cached handle", |name| look_up(&**cache.load(), name));
    measure(bench, "floor: nothing published", |name| look_up(&*snapshot, name));
}

fn measure(bench: &mut Bench, contestant: &str, mut primary: impl FnMut(&str) -> usize) {
    let mut keys = Keys::new(0..bench.effort.million(), 1);
    bench.measure(CASE, contestant, |lookups| {
        time_fresh(&mut keys, lookups, |names| {
            for name in names {
                black_box(primary(name));
            }
        })
    });
}

fn look_up(snapshot: impl Deref<Target = Snapshot>, name: &str) -> usize {
    snapshot.lookup(SpaceKey::of(name)).map_or(0, |found| std::ptr::from_ref(found.primary()).addr())
}
