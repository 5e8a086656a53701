//! The routing table, asked as a router asks it: every lookup loads the table anew.

use homing_benches::{Spaces, table};
use homing_routing_table::RoutingTable;
use homing_types::{NodeId, SpaceKey};

use super::{Contestant, Field, Lookup, called};

/// A filled table.
pub(crate) struct Ours(pub(crate) RoutingTable);

pub(super) fn build(field: &Field) -> Box<dyn Contestant> {
    let pinned = if field.pinned { field.spaces.clone() } else { 0..0 };
    Box::new(Ours(table(&Spaces::new(pinned, 2))))
}

impl Lookup for Ours {
    fn name(&self) -> &'static str {
        called::OURS
    }

    fn primary(&self, name: &str) -> usize {
        self.0.load().lookup(SpaceKey::of(name)).map_or(0, |found| address(found.primary()))
    }

    fn replicas(&self, name: &str) -> usize {
        let table = self.0.load();
        table.lookup(SpaceKey::of(name)).map_or(0, |found| {
            let primary = address(found.primary());
            found.replicas().fold(primary, |all, (node, state)| all ^ address(node) ^ state as usize)
        })
    }

    fn seat(&self, name: &str) -> Option<u16> {
        let table = self.0.load();
        let primary = table.lookup(SpaceKey::of(name)).expect("every group is filled").primary();
        primary.as_str().strip_prefix("node-")?.parse().ok()
    }
}

fn address(node: &NodeId) -> usize {
    std::ptr::from_ref(node).addr()
}
