use homing_types::{Access, Epoch, NodeId, Owners, ReplicaState, Role};

use crate::branch::Leaf;
use crate::nodes::Nodes;
use crate::packed::Packed;

/// What a table knows of one space.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    nodes: &'a Nodes,
    leaf: Leaf<'a>,
    pin: Option<Packed<'a>>,
}

impl<'a> Lookup<'a> {
    #[inline]
    pub(crate) const fn new(nodes: &'a Nodes, leaf: Leaf<'a>, pin: Option<Packed<'a>>) -> Self {
        Self { nodes, leaf, pin }
    }

    /// The epoch of the space's group; never zero.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.leaf.entry().epoch
    }

    /// The space's primary.
    #[inline]
    #[must_use]
    pub fn primary(&self) -> &'a NodeId {
        self.nodes.id(self.pin.map_or(self.leaf.entry().primary, Packed::primary))
    }

    /// The space's replicas, in the order in which they were minted.
    #[inline]
    pub fn replicas(&self) -> impl Iterator<Item = (&'a NodeId, ReplicaState)> + use<'a> {
        let nodes = self.nodes;
        self.packed().replicas().map(move |(position, state)| (nodes.id(position), state))
    }

    /// The owners, as a value.
    #[must_use]
    pub fn owners(&self) -> Owners {
        self.packed().owners(|position| self.nodes.id(position))
    }

    /// Whether the space has owners of its own.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }

    /// Whether two contents came with this epoch. Writes stop until the group is minted anew.
    #[must_use]
    pub const fn conflict(&self) -> bool {
        self.leaf.entry().conflict
    }

    /// In which role `node` may serve `access`, if it may. A conflict is not looked at here.
    #[must_use]
    pub fn serves(&self, node: &NodeId, access: Access) -> Option<Role> {
        if self.primary() == node {
            Some(Role::Primary)
        } else if access.any_replica()
            && self.replicas().any(|(replica, state)| replica == node && state == ReplicaState::InSync)
        {
            Some(Role::Replica)
        } else {
            None
        }
    }

    #[inline]
    fn packed(&self) -> Packed<'a> {
        self.pin.unwrap_or_else(|| self.leaf.owners())
    }
}
