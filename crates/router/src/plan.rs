//! Whom a call tries, and how that is explained to an operator.

use std::sync::Arc;

use homing_failover::{Candidate, MAX_STRANGERS, PlanRequest, Planned, Standing, Tier};
use homing_types::{Access, Epoch, NodeId, ReplicaState, Slot, Space, SpaceKey};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;

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
    pub plan: Vec<Planned>,
}

impl Router {
    /// Whom to try for a space, best first. Where nothing is known of it, any member may know.
    pub(crate) fn plan(self: &Arc<Self>, key: SpaceKey, access: Access) -> Vec<Planned> {
        let owners = self.table.load().lookup(key).map(|found| found.owners());
        let locality_of = |id: &_| self.directory.node(id).map(|node| node.locality.clone());
        let standing = |id: &_| self.standing(id, access);
        let (primary, others, access) = match owners {
            Some(owners) => (owners.primary().clone(), owners.in_sync().cloned().collect(), access),
            None => {
                let members = self.directory.nodes().into_iter().map(|node| node.id.clone());
                let mut others = members.filter(|id| *id != self.me);
                let Some(first) = others.next() else { return Vec::new() };
                (first, others.collect::<Vec<_>>(), Access::Read)
            }
        };
        let request = PlanRequest {
            me: Some(&self.me),
            locality: &self.locality,
            access,
            primary: &primary,
            in_sync: &others,
            locality_of: &locality_of,
            standing: &standing,
        };
        // Not under the lock: a plan asks a lot, and all calls share it.
        let mut random = self.with_shared(|_, random| SmallRng::from_rng(random));
        self.policy.plan(&request, &mut random)
    }

    /// Adds members that own nothing here, as far as this node knows. Where none of the owners could serve, the table may be
    /// what is wrong, and anybody may know better.
    pub(crate) fn add_strangers(&self, plan: &mut Vec<Planned>) {
        let owner = |id: &NodeId| plan.iter().any(|planned| planned.candidate.node == *id);
        let nodes = self.directory.nodes();
        let others = nodes.iter().filter(|node| node.id != self.me && !owner(&node.id));
        let drawn = self.with_shared(|_, random| others.sample(random, MAX_STRANGERS));
        plan.extend(drawn.into_iter().map(|node| Planned {
            candidate: Candidate {
                node: node.id.clone(),
                tier: Tier::between(&self.locality, &node.locality),
                relay: false,
            },
            standing: Standing::default(),
            why: "may know the owners".into(),
        }));
    }

    /// Explains the plan for a space as it is now.
    #[must_use]
    pub fn explain(self: &Arc<Self>, space: &Space, access: Access) -> Route {
        let key = space.key();
        let plan = self.plan(key, access);
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
