//! Nodes and spaces by their numbers.

use std::sync::LazyLock;

use homing_types::{NodeId, Slot, Space};

/// Those that are asked for all the time.
static SPACES: LazyLock<Vec<(Space, Slot)>> = LazyLock::new(|| {
    let space =
        |number| Space::new(&format!("space-{number}")).unwrap_or_else(|error| unreachable!("{error}"));
    (0..*crate::plan::SPACES.end()).map(space).map(|space| (space.clone(), space.key().slot())).collect()
});

pub(crate) fn node_id(node: usize) -> NodeId {
    NodeId::new(&format!("n{node}")).unwrap_or_else(|error| unreachable!("{error}"))
}

/// The number in a node's name.
pub(crate) fn number_of(id: &NodeId) -> usize {
    id.as_str()[1..].parse().unwrap_or(usize::MAX)
}

pub(crate) fn space_of(space: usize) -> Space {
    SPACES[space].0.clone()
}

/// The number in a space's name.
pub(crate) fn number_of_space(space: &Space) -> usize {
    space.as_str()[6..].parse().unwrap_or(usize::MAX)
}

pub(crate) fn slot_of(space: usize) -> Slot {
    SPACES[space].1
}
