//! Readers beside a writer see each diff whole or not at all.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dashmap::DashMap;
use homing_routing_table::{Diff, RoutingTable, Snapshot};
use homing_types::Slot;

use crate::{group, key, node, slot};

/// Spread over the table, so that a diff touches many places.
fn slots() -> impl Iterator<Item = Slot> {
    (0..64).map(|i| slot(i * 256 + 7))
}

/// Every group of a round has the round as epoch, and as primary.
fn round(number: u64) -> Diff {
    Diff::new(slots().map(|slot| (slot, group(number, number as usize % 100)))).unwrap()
}

/// The one round that a snapshot shows.
fn round_of(snapshot: &Snapshot) -> u64 {
    let rounds: BTreeSet<u64> = slots()
        .map(|slot| {
            let lookup = snapshot.lookup(key(slot, 1)).unwrap();
            let round = lookup.epoch().number();
            assert_eq!(*lookup.primary(), node(round as usize % 100));
            round
        })
        .collect();
    assert_eq!(rounds.len(), 1, "half a diff: {rounds:?}");
    *rounds.first().unwrap()
}

/// The writer goes on until each reader has seen this many rounds.
const ROUNDS: u64 = 60;

/// How a reader gets at the table.
#[derive(Clone, Copy)]
enum Look {
    Load,
    Keep,
    Reader,
}

fn watch(table: &RoutingTable, look: Look) {
    let (mut seen, mut last) = (0, 0);
    let mut kept = Vec::new();
    let mut reader = table.reader();
    while seen < ROUNDS {
        let round = match look {
            Look::Load => round_of(&table.load()),
            Look::Reader => round_of(reader.load()),
            Look::Keep => {
                let snapshot = table.snapshot();
                let round = round_of(&snapshot);
                kept.push((snapshot, round));
                round
            }
        };
        assert!(round >= last, "the table went back from {last} to {round}");
        seen += u64::from(round > last);
        last = round;
        kept.truncate(8);
    }
    assert!(kept.iter().all(|(snapshot, round)| round_of(snapshot) == *round));
}

#[test]
fn a_reader_never_sees_half_a_diff_and_never_goes_back() {
    let table = RoutingTable::new();
    table.apply(&round(1)).unwrap();
    thread::scope(|scope| {
        let watch = |look| {
            scope.spawn({
                let table = &table;
                move || watch(table, look)
            })
        };
        let readers = [Look::Load, Look::Reader, Look::Keep].map(watch);
        let mut number = 1;
        while readers.iter().any(|reader| !reader.is_finished()) {
            number += 1;
            table.apply(&round(number)).unwrap();
        }
    });
}

/// As soon as nobody looks any more; readers of other tests share the epochs, so it may take some diffs.
#[test]
fn what_was_replaced_is_freed_by_writers() {
    let table = RoutingTable::new();
    let old = Arc::downgrade(&table.snapshot());
    let freed = (1..2_000).any(|number| {
        table.apply(&round(number)).unwrap();
        old.strong_count() == 0
    });
    assert!(freed, "two thousand diffs, and the first snapshot still lives");

    let kept = table.snapshot();
    let round_kept = round_of(&kept);
    table.apply(&round(2_001)).unwrap();
    assert_eq!(round_of(&kept), round_kept, "while it is kept, it stays");
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let table = RoutingTable::new();
    let half = |odd: u16| Slot::all().filter(move |slot| slot.number() % 2 == odd).take(200);
    thread::scope(|scope| {
        for odd in [0, 1] {
            let table = &table;
            scope.spawn(move || {
                for slot in half(odd) {
                    table.apply(&Diff::one(slot, group(1, slot.index())).unwrap()).unwrap();
                }
            });
        }
    });
    let snapshot = table.snapshot();
    assert_eq!((snapshot.groups().count(), snapshot.version()), (400, 400));
}

/// The known-bad twin: the same readers catch a map of locks, so they would catch a table that publishes in pieces.
#[test]
fn a_map_of_locks_shows_half_a_diff() {
    let map: DashMap<Slot, u64> = slots().map(|slot| (slot, 0)).collect();
    let torn = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !torn.load(Ordering::Relaxed) {
                let rounds: BTreeSet<u64> = slots().map(|slot| *map.get(&slot).unwrap()).collect();
                torn.fetch_or(rounds.len() > 1, Ordering::Relaxed);
            }
        });
        let rounds = (1..1_000_000).take_while(|_| !torn.load(Ordering::Relaxed));
        for number in rounds {
            for slot in slots() {
                map.insert(slot, number);
            }
        }
        assert!(torn.swap(true, Ordering::Relaxed), "a million rounds, and the reader saw none in pieces");
    });
}
