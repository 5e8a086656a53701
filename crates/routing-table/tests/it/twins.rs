//! Tables that break a rule, and the check that finds each. The table itself passes it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use homing_routing_table::{Diff, Group, RoutingTable};
use homing_types::{Epoch, Owners, Slot};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::{key, node, slot};

trait Table: Default {
    fn apply(&self, diff: &Diff);
    fn groups(&self) -> BTreeMap<Slot, Group>;
}

impl Table for RoutingTable {
    fn apply(&self, diff: &Diff) {
        self.apply(diff).unwrap();
    }

    fn groups(&self) -> BTreeMap<Slot, Group> {
        crate::groups(self)
    }
}

/// A plain map, and what it does with a group for a slot that it knows already.
#[derive(Default)]
struct Map<const RULE: u8>(RefCell<BTreeMap<Slot, Group>>);

/// The highest epoch wins, and the first content of an epoch.
const GOOD: u8 = 0;
/// The last content of an epoch wins, whoever minted it.
const TAKES_EQUAL_EPOCHS: u8 = 1;
/// What the new group doesn't mention stays: there is nothing that says it was removed.
const KEEPS_PINS: u8 = 2;

impl<const RULE: u8> Table for Map<RULE> {
    fn apply(&self, diff: &Diff) {
        let mut held = self.0.borrow_mut();
        for (slot, mut group) in diff.iter() {
            let known = held.get(&slot).map_or(Epoch::ZERO, |group| group.epoch);
            if group.epoch > known || (RULE == TAKES_EQUAL_EPOCHS && group.epoch == known) {
                if let Some(old) = held.remove(&slot).filter(|_| RULE == KEEPS_PINS) {
                    group.pins = old.pins.into_iter().chain(group.pins).collect();
                }
                held.insert(slot, group);
            }
        }
    }

    fn groups(&self) -> BTreeMap<Slot, Group> {
        self.0.borrow().clone()
    }
}

/// One slot, some epochs, owners and pins.
fn group() -> impl Strategy<Value = Group> {
    let owners = || (0..3_usize).prop_map(|n| Owners::new(node(n), Vec::new()).unwrap());
    let pins = prop::collection::btree_map((0..3_u128).prop_map(|low| key(slot(7), low)), owners(), 0..3);
    (1..4_u64, owners(), pins).prop_map(|(epoch, owners, pins)| Group {
        epoch: Epoch::new(epoch),
        owners,
        pins,
    })
}

/// Of all groups that came, the table shows the first of those with the highest epoch, and all of it.
fn follows_the_rule<T: Table>() -> Result<(), TestError<Vec<Group>>> {
    let mut runner =
        TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() });
    runner.run(&prop::collection::vec(group(), 1..6), |groups| {
        let table = T::default();
        for group in &groups {
            table.apply(&Diff::one(slot(7), group.clone()).unwrap());
        }
        let highest = groups.iter().rev().max_by_key(|group| group.epoch).unwrap();
        prop_assert_eq!(table.groups(), BTreeMap::from([(slot(7), highest.clone())]));
        Ok(())
    })
}

#[test]
fn the_table_and_a_plain_map_follow_the_rule() {
    follows_the_rule::<RoutingTable>().unwrap();
    follows_the_rule::<Map<GOOD>>().unwrap();
}

#[test]
fn other_content_taken_under_an_equal_epoch_is_found() {
    follows_the_rule::<Map<TAKES_EQUAL_EPOCHS>>().unwrap_err();
}

#[test]
fn a_removed_pin_that_comes_back_is_found() {
    follows_the_rule::<Map<KEEPS_PINS>>().unwrap_err();
}
