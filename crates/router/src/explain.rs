use std::sync::Arc;

use homing_failover::{Planned, Standing, Tier};
use homing_types::{Access, Epoch, NodeId, ReplicaState, Slot, Space, SpaceKey};

use crate::router::Router;

/// Where a request would go now, and why: what `homing route` shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// The space's key.
    pub key: SpaceKey,
    /// Its slot.
    pub slot: Slot,
    /// Whether it has owners of its own.
    pub pinned: bool,
    /// The epoch of its group; zero if nothing is known.
    pub epoch: Epoch,
    /// Its primary.
    pub primary: Option<NodeId>,
    /// Its replicas.
    pub replicas: Vec<(NodeId, ReplicaState)>,
    /// Whom a call would try, best first.
    pub plan: Vec<Placed>,
}

/// One candidate of a [`Route`].
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// The node.
    pub node: NodeId,
    /// How far it is.
    pub tier: Tier,
    /// How it has done lately.
    pub standing: Standing,
    /// Why it stands where it stands.
    pub why: String,
}

impl Router {
    /// Explains the plan for a space as it is now.
    #[must_use]
    pub fn explain(self: &Arc<Self>, space: &Space, access: Access) -> Route {
        let key = space.key();
        let plan = self.plan(key, access);
        let plan = plan
            .into_iter()
            .map(|Planned { candidate, standing, why }| Placed {
                node: candidate.node,
                tier: candidate.tier,
                standing,
                why: why.into_owned(),
            })
            .collect();
        let table = self.table.load();
        let found = table.lookup(key);
        Route {
            key,
            slot: key.slot(),
            pinned: found.as_ref().is_some_and(|found| found.is_pinned()),
            epoch: found.as_ref().map_or(Epoch::ZERO, |found| found.epoch()),
            primary: found.as_ref().map(|found| found.primary().clone()),
            replicas: found
                .map(|found| found.replicas().map(|(node, state)| (node.clone(), state)).collect())
                .unwrap_or_default(),
            plan,
        }
    }
}
