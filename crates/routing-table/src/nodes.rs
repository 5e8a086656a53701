//! Node ids as small numbers, local to one table: an entry of the table holds two bytes, not a name.

use std::collections::HashMap;
use std::sync::Arc;

use homing_types::NodeId;

/// The most nodes a table may name.
pub const MAX_NODES: usize = 4_096;

/// The index of a node in a [`Nodes`]. It means nothing to another table, or on a wire.
pub(crate) type NodeIndex = u16;

/// A dictionary of node ids. Indices stay valid when it grows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    ids: Vec<NodeId>,
    indices: Arc<HashMap<NodeId, NodeIndex>>,
}

impl Nodes {
    pub(crate) fn id(&self, index: NodeIndex) -> &NodeId {
        &self.ids[usize::from(index)]
    }

    pub(crate) fn index(&self, id: &NodeId) -> Option<NodeIndex> {
        self.indices.get(id).copied()
    }

    /// The index of `id`, added if it is new; `None` if the dictionary is full.
    pub(crate) fn intern(&mut self, id: &NodeId) -> Option<NodeIndex> {
        if let Some(index) = self.index(id) {
            return Some(index);
        }
        if self.ids.len() >= MAX_NODES {
            return None;
        }
        let index = NodeIndex::try_from(self.ids.len()).ok()?;
        self.ids.push(id.clone());
        Arc::make_mut(&mut self.indices).insert(id.clone(), index);
        Some(index)
    }
}
