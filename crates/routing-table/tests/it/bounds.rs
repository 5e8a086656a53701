//! What a table refuses to hold, and that it is then as it was.

use homing_routing_table::{ApplyError, Diff, DiffError, Group, MAX_NODES, MAX_PINS, RoutingTable};
use homing_types::Slot;

use crate::{group, groups, key, node, primary, slot};

fn pinned(epoch: u64, at: Slot, pins: usize) -> Group {
    let group = group(epoch, 0);
    let pins = (0..pins as u128).map(|low| (key(at, low), group.owners.clone())).collect();
    Group { pins, ..group }
}

#[test]
fn a_diff_holds_each_slot_once_with_an_epoch_and_pins_of_its_own() {
    let twice = Diff::new([(slot(1), group(1, 0)), (slot(1), group(2, 0))]);
    assert_eq!(twice, Err(DiffError::Twice { slot: slot(1) }));
    assert_eq!(Diff::one(slot(1), group(0, 0)), Err(DiffError::NoEpoch { slot: slot(1) }));
    let foreign = Diff::one(slot(1), pinned(1, slot(2), 1));
    assert_eq!(foreign, Err(DiffError::ForeignPin { slot: slot(1), key: key(slot(2), 0) }));
}

#[test]
fn a_diff_that_would_exceed_the_pins_changes_nothing() {
    let table = RoutingTable::new();
    let half = MAX_PINS / 2;
    table.apply(&Diff::one(slot(0), pinned(1, slot(0), half)).unwrap()).unwrap();
    let digest = table.load().digest();
    let counters = table.counters();

    let over = Diff::new([(slot(1), pinned(1, slot(1), half + 1)), (slot(2), group(1, 0))]).unwrap();
    assert_eq!(table.apply(&over), Err(ApplyError::TooManyPins { pins: MAX_PINS + 1 }));
    assert_eq!((table.load().digest(), table.load().version(), table.counters()), (digest, 1, counters));
    assert!(table.load().lookup(key(slot(2), 0)).is_none());

    // What a group replaces doesn't count.
    let swap = Diff::new([(slot(0), group(2, 0)), (slot(1), pinned(1, slot(1), half + 1))]).unwrap();
    table.apply(&swap).unwrap();
    assert_eq!(table.load().pins(), half + 1);
}

#[test]
fn a_diff_of_more_pins_than_a_table_holds_is_none() {
    let half = MAX_PINS / 2;
    let over = [(slot(0), pinned(1, slot(0), half)), (slot(1), pinned(1, slot(1), half + 1))];
    assert_eq!(Diff::new(over), Err(DiffError::TooManyPins));
}

/// One node a slot, as many as a table may name.
fn full() -> RoutingTable {
    let table = RoutingTable::new();
    let groups = Slot::all().take(MAX_NODES).map(|slot| (slot, group(1, slot.index())));
    table.apply(&Diff::new(groups).unwrap()).unwrap();
    table
}

#[test]
fn a_diff_that_would_exceed_the_nodes_changes_nothing() {
    let table = full();
    let (before, digest, counters) = (groups(&table), table.load().digest(), table.counters());
    let over =
        Diff::new([(slot(0), group(2, 1)), (slot(9_000), group(1, MAX_NODES)), (slot(9_001), group(1, 0))]);
    assert_eq!(table.apply(&over.unwrap()), Err(ApplyError::TooManyNodes));
    assert_eq!((table.load().digest(), table.load().version(), table.counters()), (digest, 1, counters));
    assert_eq!(groups(&table), before);
}

#[test]
fn nodes_that_nobody_names_any_more_make_room() {
    let table = full();
    table.apply(&Diff::one(slot(5), group(1, 6)).unwrap()).unwrap();
    let before = table.snapshot();
    assert!(before.conflict(slot(5)));
    for epoch in 2..4 {
        let newcomer = MAX_NODES + epoch as usize;
        table.apply(&Diff::one(slot(0), group(epoch, newcomer)).unwrap()).unwrap();
        assert_eq!(primary(&table.load(), key(slot(0), 0)), node(newcomer));
    }
    for slot in Slot::all().take(MAX_NODES).skip(1) {
        assert_eq!(primary(&table.load(), key(slot, 0)), node(slot.index()));
    }
    assert!(table.load().conflict(slot(5)), "a mark survives");
    assert_eq!(table.load().branches()[1..], before.branches()[1..]);
    assert_eq!(primary(&before, key(slot(0), 0)), node(0), "an old snapshot keeps its nodes");
}
