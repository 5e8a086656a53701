//! Two groups under one epoch: somebody minted dishonestly.

use homing_routing_table::{ApplyError, Diff, Group, RoutingTable};
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

/// As a node that restarts does with what it kept.
#[test]
fn a_conflict_that_was_known_before_is_one_until_a_higher_epoch_comes() {
    let table = RoutingTable::new();
    apply(&table, 4, 0);
    table.mark_conflicts(&[slot(3), slot(9)]);
    assert_eq!(table.load().conflicts().collect::<Vec<_>>(), [slot(3)], "of slot 9 nothing is known");
    apply(&table, 4, 0);
    assert!(table.load().conflict(slot(3)));
    apply(&table, 5, 0);
    assert_eq!(table.load().conflicts().count(), 0);
}

/// Which diffs fit depends on what is held meanwhile; one that was refused has to come again.
#[test]
fn a_refused_diff_is_taken_when_there_is_room() {
    let table = RoutingTable::new();
    let pinned = |epoch, at, pins: u128| {
        let group = group(epoch, 0);
        let pins = (0..pins).map(|low| (key(at, low), group.owners.clone())).collect();
        Diff::one(at, Group { pins, ..group }).unwrap()
    };
    let (first, second) = (pinned(1, slot(0), 600_000), pinned(1, slot(1), 600_000));
    table.apply(&first).unwrap();
    assert_eq!(table.apply(&second), Err(ApplyError::TooManyPins { pins: 1_200_000 }));
    table.apply(&pinned(2, slot(0), 0)).unwrap();
    assert_eq!(table.apply(&second).unwrap().changed, [slot(1)]);
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
