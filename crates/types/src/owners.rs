use thiserror::Error;

use crate::{Access, NodeId, Role};

/// The most replicas a space can have.
pub const MAX_REPLICAS: usize = 7;

/// Who holds a space: a primary and up to [`MAX_REPLICAS`] replicas, all different nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owners {
    primary: NodeId,
    replicas: Vec<Replica>,
}

/// One replica of a space.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Replica {
    /// The node that holds the copy.
    pub node: NodeId,
    /// Whether the copy may be read and promoted.
    pub state: ReplicaState,
}

/// Whether a replica holds all that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// Holds every acknowledged write: serves reads, may be promoted, and must acknowledge each write.
    InSync,
    /// Is being filled: serves nothing yet.
    CatchingUp,
}

impl Owners {
    /// Owners with these replicas, in this order.
    ///
    /// # Errors
    /// [`OwnersError`] if there are too many replicas or a node stands twice.
    pub fn new(primary: NodeId, replicas: Vec<Replica>) -> Result<Self, OwnersError> {
        if replicas.len() > MAX_REPLICAS {
            return Err(OwnersError::TooMany { replicas: replicas.len() });
        }
        for (i, replica) in replicas.iter().enumerate() {
            if replica.node == primary || replicas[..i].iter().any(|other| other.node == replica.node) {
                return Err(OwnersError::Twice { node: replica.node.clone() });
            }
        }
        Ok(Self { primary, replicas })
    }

    /// The node that executes writes.
    #[must_use]
    pub const fn primary(&self) -> &NodeId {
        &self.primary
    }

    /// The replicas, in the order in which they were given.
    #[must_use]
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The replicas that must acknowledge a write and may serve a read.
    pub fn in_sync(&self) -> impl Iterator<Item = &NodeId> {
        self.replicas
            .iter()
            .filter(|replica| replica.state == ReplicaState::InSync)
            .map(|replica| &replica.node)
    }

    /// Every owner, the primary first.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        std::iter::once(&self.primary).chain(self.replicas.iter().map(|replica| &replica.node))
    }

    /// In which role `node` may serve `access`, if it may.
    #[must_use]
    pub fn serves(&self, node: &NodeId, access: Access) -> Option<Role> {
        if self.primary == *node {
            Some(Role::Primary)
        } else if access.any_replica() && self.in_sync().any(|replica| replica == node) {
            Some(Role::Replica)
        } else {
            None
        }
    }
}

/// Why nodes can't be the [`Owners`] of a space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OwnersError {
    /// More than [`MAX_REPLICAS`] replicas.
    #[error("{replicas} replicas are too many: a space has at most 7")]
    TooMany {
        /// How many there were.
        replicas: usize,
    },
    /// A node stands twice.
    #[error("{node} stands twice among the owners: each owner is another node")]
    Twice {
        /// The node.
        node: NodeId,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn replica(node: &str, state: ReplicaState) -> Replica {
        Replica { node: id(node), state }
    }

    #[test]
    fn owners_are_different_nodes_and_at_most_eight() {
        let twice = Owners::new(id("a"), vec![replica("a", ReplicaState::InSync)]);
        assert_eq!(twice, Err(OwnersError::Twice { node: id("a") }));
        let many = (0..8).map(|i| replica(&format!("n{i}"), ReplicaState::InSync)).collect();
        assert_eq!(Owners::new(id("a"), many), Err(OwnersError::TooMany { replicas: 8 }));
    }

    #[test]
    fn only_the_primary_writes_and_only_in_sync_replicas_read() {
        let replicas = vec![replica("b", ReplicaState::InSync), replica("c", ReplicaState::CatchingUp)];
        let owners = Owners::new(id("a"), replicas).unwrap();
        for access in Access::ALL {
            assert_eq!(owners.serves(&id("a"), access), Some(Role::Primary));
            assert_eq!(owners.serves(&id("c"), access), None);
            assert_eq!(owners.serves(&id("d"), access), None);
        }
        assert_eq!(owners.serves(&id("b"), Access::Read), Some(Role::Replica));
        assert_eq!(owners.serves(&id("b"), Access::Write), None);
        assert_eq!(owners.serves(&id("b"), Access::ReadPrimary), None);
    }
}
