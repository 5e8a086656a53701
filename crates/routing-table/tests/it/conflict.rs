//! Two groups under one epoch: somebody minted dishonestly.

use homing_routing_table::{Diff, RoutingTable};
use homing_types::Epoch;

use crate::{group, groups, key, node, primary, slot};

fn apply(table: &RoutingTable, epoch: u64, owner: usize) -> homing_routing_table::Applied {
    table.apply(&Diff::one(slot(3), group(epoch, owner)).unwrap()).unwrap()
}

#[test]
fn the_first_content_of_an_epoch_stays_and_is_marked_until_a_higher_epoch_comes() {
    let table = RoutingTable::new();
    let space = key(slot(3), 5);
    apply(&table, 4, 0);
    let second = apply(&table, 4, 1);
    assert_eq!((second.changed, second.conflicts, second.version), (vec![], vec![slot(3)], 2));
    assert_eq!(primary(&table.load(), space), node(0));
    assert!(table.load().conflict(slot(3)) && table.load().lookup(space).unwrap().conflict());
    assert!(!table.load().conflict(slot(4)));

    // Neither a repetition of either content nor an older group heals it.
    for (epoch, owner) in [(4, 0), (4, 1), (3, 0)] {
        assert_eq!(apply(&table, epoch, owner).version, 2);
        assert!(table.load().conflict(slot(3)));
    }
    apply(&table, 5, 1);
    assert!(!table.load().conflict(slot(3)));
    assert_eq!(table.load().epoch(slot(3)), Epoch::new(5));
    let counters = table.counters();
    assert_eq!((counters.diffs, counters.groups), (6, 2));
    assert_eq!((counters.conflicts, counters.regressions), (2, 1));
}

#[test]
fn owners_pins_and_their_order_are_content() {
    let mut pinned = group(4, 0);
    pinned.pins.insert(key(slot(3), 1), group(4, 1).owners);
    let table = RoutingTable::new();
    apply(&table, 4, 0);
    let applied = table.apply(&Diff::one(slot(3), pinned).unwrap()).unwrap();
    assert_eq!(applied.conflicts, [slot(3)]);
}

/// Else two nodes that hold the same would exchange their tables for ever, since only one of them saw the other content.
#[test]
fn a_mark_does_not_show_in_the_digest() {
    let (marked, unmarked) = (RoutingTable::new(), RoutingTable::new());
    apply(&marked, 4, 0);
    apply(&unmarked, 4, 0);
    apply(&marked, 4, 1);
    assert_eq!(marked.load().digest(), unmarked.load().digest());
    assert_eq!(groups(&marked), groups(&unmarked));
}
