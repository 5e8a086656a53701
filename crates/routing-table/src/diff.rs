use std::collections::{BTreeMap, HashSet};

use homing_types::{MAX_REPLICAS, Slot, SpaceKey};
use thiserror::Error;

use crate::table::MAX_PINS;
use crate::{Group, MAX_NODES};

/// A batch of groups, published all or nothing. A slot stands in it at most once, so it has at most
/// [`SLOTS`](homing_types::SLOTS) groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    groups: BTreeMap<Slot, Group>,
}

impl Diff {
    /// A diff of these groups.
    ///
    /// # Errors
    /// [`DiffError`] names the slot whose group can't be right.
    pub fn new(groups: impl IntoIterator<Item = (Slot, Group)>) -> Result<Self, DiffError> {
        let mut diff = Self::default();
        let mut pins = 0;
        for (slot, group) in groups {
            check(slot, &group)?;
            pins += group.pins.len();
            if pins > MAX_PINS {
                return Err(DiffError::TooManyPins);
            }
            if diff.groups.insert(slot, group).is_some() {
                return Err(DiffError::Twice { slot });
            }
        }
        Ok(diff)
    }

    /// A diff of one group.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn one(slot: Slot, group: Group) -> Result<Self, DiffError> {
        Self::new([(slot, group)])
    }

    /// The groups, by slot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Slot, &Group)> {
        self.groups.iter().map(|(slot, group)| (*slot, group))
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// What must be true of each group alone.
pub(crate) fn check(slot: Slot, group: &Group) -> Result<(), DiffError> {
    if group.epoch.is_zero() {
        return Err(DiffError::NoEpoch { slot });
    }
    if let Some(key) = group.pins.keys().find(|key| key.slot() != slot) {
        return Err(DiffError::ForeignPin { slot, key: *key });
    }
    if group.pins.len() > MAX_PINS {
        return Err(DiffError::TooManyPins);
    }
    if names_too_many_nodes(group) {
        return Err(DiffError::TooManyNodes { slot });
    }
    Ok(())
}

fn names_too_many_nodes(group: &Group) -> bool {
    let at_most = (group.pins.len() + 1) * (MAX_REPLICAS + 1);
    at_most > MAX_NODES && group.nodes().collect::<HashSet<_>>().len() > MAX_NODES
}

/// Why groups form no [`Diff`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiffError {
    /// A group's epoch is zero, which stands for nothing known.
    #[error("the group of slot {slot} has epoch 0: an authority mints epochs from 1")]
    NoEpoch {
        /// The slot.
        slot: Slot,
    },
    /// A slot stands twice.
    #[error("slot {slot} stands twice: a diff holds one group a slot")]
    Twice {
        /// The slot.
        slot: Slot,
    },
    /// A pin belongs to another slot.
    #[error("the pin {key} in the group of slot {slot} belongs to slot {}", key.slot())]
    ForeignPin {
        /// The slot of the group.
        slot: Slot,
        /// The pin.
        key: SpaceKey,
    },
    /// There are more pins than a table may hold.
    #[error("the diff has more than {MAX_PINS} pins, the most a table may hold")]
    TooManyPins,
    /// A group names more nodes than a table may.
    #[error("the group of slot {slot} names more than {MAX_NODES} nodes, the most a table may name")]
    TooManyNodes {
        /// The slot.
        slot: Slot,
    },
}
