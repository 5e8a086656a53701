//! What a routing table promises, from outside.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod conflict;
mod model;
mod operations;
mod readers;
mod twins;
mod wire;

use std::collections::BTreeMap;

use homing_routing_table::{Group, RoutingTable, Snapshot};
use homing_types::{Epoch, NodeId, Owners, Slot, SpaceKey};

fn node(number: usize) -> NodeId {
    NodeId::new(&format!("n{number}")).unwrap()
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

/// A key of `slot`.
fn key(slot: Slot, low: u128) -> SpaceKey {
    SpaceKey::from_u128(u128::from(slot.number()) << 114 | low)
}

/// A group with this primary and nothing else.
fn group(epoch: u64, primary: usize) -> Group {
    Group::new(Epoch::new(epoch), Owners::new(node(primary), Vec::new()).unwrap())
}

fn groups(table: &RoutingTable) -> BTreeMap<Slot, Group> {
    table.snapshot().groups().collect()
}

fn primary(snapshot: &Snapshot, key: SpaceKey) -> NodeId {
    snapshot.lookup(key).unwrap().primary().clone()
}
