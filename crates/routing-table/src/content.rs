//! A stored group: what a [`Group`] becomes inside a table.

use homing_types::Slot;
use xxhash_rust::xxh3::xxh3_64;

use crate::Group;
use crate::nodes::Nodes;
use crate::pins::{Packed, Pins};
use crate::wire::encode_group;

/// All of a group but what every lookup needs, which stands in the snapshot's own arrays.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) owners: Packed,
    pub(crate) pins: Pins,
    /// Hash of the group's wire form: of node *ids*, so that it is the same in every table.
    pub(crate) hash: u64,
}

impl Content {
    /// `None` if the dictionary of nodes is full.
    pub(crate) fn new(slot: Slot, group: &Group, nodes: &mut Nodes) -> Option<Self> {
        Some(Self {
            owners: Packed::new(&group.owners, nodes)?,
            pins: Pins::new(group.pins.iter(), nodes)?,
            hash: hash(slot, group),
        })
    }
}

/// Hash of a group's wire form, which is canonical and includes slot and epoch.
pub(crate) fn hash(slot: Slot, group: &Group) -> u64 {
    xxh3_64(&encode_group(slot, group))
}
