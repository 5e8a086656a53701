//! How long a diff takes: until its `apply` returns, and until a reader on another core has seen it.
//!
//! Each diff is made before the clock starts: random groups, each with all its pins, and every owner may have changed. A map of
//! locked shards gets the same changes one by one: a reader sees a thousand states on the way.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use homing_benches::{Diffs, Spaces, name, now, table, timed};
use homing_routing_table::RoutingTable;
use homing_types::{Slot, SpaceKey};

use crate::bench::Bench;

pub(crate) const VISIBLE: &str = "until seen by a reader";
pub(crate) const APPLIED: &str = "apply alone";
pub(crate) const THOUSAND_PINNED: &str = "diff-1000-pins-1m";

pub(crate) fn run(bench: &mut Bench) {
    let pins = bench.effort.million();
    let wanted = ["diff-1000-pins-0", "diff-1-pins-0", THOUSAND_PINNED, "diff-1-pins-1m"];
    for (cases, pins) in wanted.chunks(2).zip([0, pins]) {
        if cases.iter().any(|case| bench.wants(case)) {
            let spaces = Spaces::new(0..pins, 2);
            ours(bench, cases[0], &spaces, 1_000);
            if pins == 0 {
                by_slot(bench, cases[0], &spaces)
            } else {
                by_name(bench, cases[0], &spaces, pins)
            }
            ours(bench, cases[1], &spaces, 1);
        }
    }
}

fn ours(bench: &mut Bench, case: &str, spaces: &Spaces, groups: usize) {
    let table = table(spaces);
    let mut diffs = Diffs::new(spaces, groups);
    let watch = Watch::new();
    thread::scope(|scope| {
        scope.spawn(|| watch.run(&table));
        bench.measure_each(case, VISIBLE, || watch.time(&table, &mut diffs));
        watch.stop.store(true, Ordering::Release);
    });
    bench.measure_each(case, APPLIED, || {
        let diff = diffs.diff();
        timed(|| drop(table.apply(&diff).expect("within the bounds")))
    });
}

/// A reader that waits for a version to be seen, and says when it was.
struct Watch {
    start: Instant,
    /// The version that is waited for; 0 if none is.
    wanted: AtomicU64,
    /// Whether the reader is looking for it.
    looking: AtomicBool,
    /// When it was seen, in nanoseconds since `start`; 0 if it wasn't yet.
    seen: AtomicU64,
    stop: AtomicBool,
}

impl Watch {
    fn new() -> Self {
        Self {
            start: now(),
            wanted: AtomicU64::new(0),
            looking: AtomicBool::new(false),
            seen: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        }
    }

    fn run(&self, table: &RoutingTable) {
        while !self.stop.load(Ordering::Acquire) {
            let wanted = self.wanted.swap(0, Ordering::AcqRel);
            if wanted == 0 {
                // Beside other work on few cores, a reader that has nothing to look for makes room.
                thread::yield_now();
                continue;
            }
            self.looking.store(true, Ordering::Release);
            while table.load().version() < wanted {
                spin_loop();
            }
            self.seen.store(self.start.elapsed().as_nanos() as u64, Ordering::Release);
        }
    }

    /// From the moment at which a diff is given to the table to the moment at which the reader has seen it.
    fn time(&self, table: &RoutingTable, diffs: &mut Diffs<'_>) -> Duration {
        let diff = diffs.diff();
        self.looking.store(false, Ordering::Release);
        self.seen.store(0, Ordering::Release);
        self.wanted.store(table.load().version() + 1, Ordering::Release);
        while !self.looking.load(Ordering::Acquire) {
            spin_loop();
        }
        let start = self.start.elapsed().as_nanos() as u64;
        table.apply(&diff).expect("within the bounds");
        loop {
            match self.seen.load(Ordering::Acquire) {
                0 => spin_loop(),
                seen => return Duration::from_nanos(seen.saturating_sub(start)),
            }
        }
    }
}

/// Without pins, a map by slot has as many entries to change as there are groups.
fn by_slot(bench: &mut Bench, case: &str, spaces: &Spaces) {
    let map: DashMap<u16, [u16; 3]> = Slot::all().map(|slot| (slot.number(), [1, 2, 3])).collect();
    let mut diffs = Diffs::new(spaces, 1_000);
    bench.measure_each(case, "DashMap by slot, 1,000 inserts", || {
        let slots = diffs.choose();
        timed(|| {
            for slot in slots {
                map.insert(slot.number(), [3, 2, 1]);
            }
        })
    });
}

/// With pins, a map by name has to change the entry of every pinned space of these groups. Written in place: no name is
/// allocated.
fn by_name(bench: &mut Bench, case: &str, spaces: &Spaces, pins: u32) {
    let map: DashMap<String, [u16; 3]> = (0..pins).map(|space| (name(space), [1, 2, 3])).collect();
    let mut by_slot = vec![Vec::new(); Slot::all().len()];
    for space in 0..pins {
        by_slot[SpaceKey::of(&name(space)).slot().index()].push(space);
    }
    let mut diffs = Diffs::new(spaces, 1_000);
    bench.measure_each(case, "DashMap by name, the pins of 1,000 groups", || {
        let spaces = diffs.choose().iter().flat_map(|slot| &by_slot[slot.index()]);
        let names: Vec<String> = spaces.map(|space| name(*space)).collect();
        timed(|| {
            for name in &names {
                *map.get_mut(name.as_str()).expect("every name is in the map") = [3, 2, 1];
            }
        })
    });
}
