use std::collections::HashMap;
use std::sync::Arc;

use foldhash::quality::RandomState;
use homing_types::{Locality, NodeId};
use parking_lot::RwLock;

/// A node as others need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Where it listens for nodes: `host:port`.
    pub address: String,
    /// The wire it listens on: the name of a transport.
    pub wire: String,
    /// Where it stands.
    pub locality: Locality,
    /// Its share of the spaces relative to others; 0 for none.
    pub weight: u32,
}

/// The nodes of the cluster. Who is *not* in it can't be dialled and isn't planned with.
#[derive(Debug, Default)]
pub struct Directory {
    nodes: RwLock<Arc<HashMap<NodeId, Arc<Node>, RandomState>>>,
}

impl Directory {
    /// A directory of these nodes.
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let nodes = nodes.into_iter().map(|node| (node.id.clone(), Arc::new(node))).collect();
        Self { nodes: RwLock::new(Arc::new(nodes)) }
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<Arc<Node>> {
        self.nodes.read().get(id).cloned()
    }

    /// All nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let mut nodes: Vec<_> = self.nodes.read().values().cloned().collect();
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes
    }
}
