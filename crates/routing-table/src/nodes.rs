//! Node ids as small numbers, local to one table: an entry of the table holds two bytes, not a name.

use std::collections::HashMap;
use std::sync::Arc;

use homing_types::NodeId;

use crate::packed::Position;

/// The most nodes a table may name, and the most a diff may.
pub const MAX_NODES: usize = 4_096;

/// A table's dictionary of nodes. While it grows, positions stay what they were; one that is full is replaced as a whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    ids: Arc<[NodeId]>,
    positions: Arc<HashMap<NodeId, Position>>,
}

impl Nodes {
    #[inline]
    pub(crate) fn id(&self, position: Position) -> &NodeId {
        &self.ids[usize::from(position)]
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The positions of these ids. Those that are new are added; `None` if they are too many.
    pub(crate) fn intern<'a>(&mut self, ids: impl Iterator<Item = &'a str> + Clone) -> Option<Vec<Position>> {
        let new: Vec<NodeId> = ids.clone().filter(|id| !self.positions.contains_key(*id)).map(id).collect();
        if self.len() + new.len() > MAX_NODES {
            return None;
        }
        if !new.is_empty() {
            let positions = Arc::make_mut(&mut self.positions);
            positions.extend(new.iter().cloned().zip(self.ids.len() as Position..));
            self.ids = self.ids.iter().cloned().chain(new).collect();
        }
        Some(ids.map(|id| self.positions[id]).collect())
    }
}

/// An id of a diff.
pub(crate) fn id(id: &str) -> NodeId {
    match NodeId::new(id) {
        Ok(id) => id,
        Err(_) => unreachable!("the ids of a diff were checked"),
    }
}
