use std::collections::BTreeMap;

use homing_types::{Epoch, NodeId, Owners, SpaceKey};

/// All that is known of one slot, under one epoch: the unit of change.
///
/// A group replaces an older one as a whole, pins included. So what was removed stays removed, without a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The version of this group.
    pub epoch: Epoch,
    /// Who owns the slot's spaces.
    pub owners: Owners,
    /// Spaces of this slot with owners of their own.
    pub pins: BTreeMap<SpaceKey, Owners>,
}

impl Group {
    /// A group without pins.
    #[must_use]
    pub const fn new(epoch: Epoch, owners: Owners) -> Self {
        Self { epoch, owners, pins: BTreeMap::new() }
    }

    /// The owners of one space of this group.
    #[must_use]
    pub fn owners_of(&self, key: SpaceKey) -> &Owners {
        self.pins.get(&key).unwrap_or(&self.owners)
    }

    /// Every node that the group names, as often as it does.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.owners.nodes().chain(self.pins.values().flat_map(Owners::nodes))
    }
}
