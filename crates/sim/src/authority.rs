//! The authority: all that it has decided, whether it can be asked, and the grants that its answers extend.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homing_router::{Authority, Gate};
use homing_routing_table::{Diff, Group, RoutingTable};
use homing_transport::BoxFuture;
use homing_types::{Epoch, NodeId, Owners, Replica, ReplicaState, Role, Slot, SpaceKey};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::names::{node_id, number_of, slot_of, space_of};
use crate::network::until;

/// How long a node may act on an answer of the authority, from when it asked.
const GRANT: Duration = Duration::from_secs(1);
/// After the last answer to a primary, until it may be replaced unasked.
const GRANT_IS_OVER: Duration = Duration::from_millis(1_300);
/// How often a node asks.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long the authority takes to answer or to decide.
pub(crate) const ROUND_TRIP: Duration = Duration::from_millis(2);
/// How soon to ask a node again that has no grant.
const SOON: Duration = Duration::from_millis(50);

/// The authority of a run.
pub(crate) struct Script {
    table: RoutingTable,
    state: Mutex<State>,
    speaks: Notify,
}

#[derive(Default)]
struct State {
    /// How many faults keep it silent.
    silent: u32,
    /// All that it ever decided, by space and epoch.
    minted: BTreeMap<(usize, u64), Owners>,
    /// When each node's last heartbeat was answered.
    answered: BTreeMap<usize, Instant>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self { table: RoutingTable::new(), state: Mutex::default(), speaks: Notify::new() }
    }

    /// The newest of all spaces.
    pub(crate) fn everything(&self, spaces: usize) -> Diff {
        self.table.snapshot().diff((0..spaces).map(slot_of))
    }

    /// The newest owners of a space, and their epoch.
    pub(crate) fn newest(&self, space: usize) -> (Epoch, Owners) {
        let snapshot = self.table.snapshot();
        let Some(found) = snapshot.lookup(space_of(space).key()) else {
            unreachable!("each space begins with owners")
        };
        (found.epoch(), found.owners())
    }

    /// Whether it ever made this node what it thinks it is.
    pub(crate) fn made(&self, space: usize, epoch: Epoch, node: &NodeId, role: Role) -> bool {
        self.state.lock().minted.get(&(space, epoch.number())).is_some_and(|owners| match role {
            Role::Primary => owners.primary() == node,
            Role::Replica => owners.in_sync().any(|replica| replica == node),
        })
    }

    pub(crate) fn epoch(&self, space: usize) -> Epoch {
        self.table.snapshot().epoch(slot_of(space))
    }

    /// The newest group of a space.
    pub(crate) fn group(&self, space: usize) -> Diff {
        self.table.snapshot().diff([slot_of(space)])
    }

    /// Whether a node is or was an owner of a space.
    pub(crate) fn ever_owned(&self, space: usize, node: usize) -> bool {
        let state = self.state.lock();
        let mut all = state.minted.range((space, 0)..=(space, u64::MAX));
        all.any(|(_, owners)| owners.nodes().any(|owner| number_of(owner) == node))
    }

    /// The epoch in which its primary became that.
    pub(crate) fn primary_since(&self, space: usize) -> Epoch {
        let (epoch, owners) = self.newest(space);
        let state = self.state.lock();
        let of = |epoch: u64| state.minted.get(&(space, epoch)).map(Owners::primary);
        let before = (1..epoch.number()).rev().find(|epoch| of(*epoch) != Some(owners.primary()));
        Epoch::new(before.unwrap_or_default() + 1)
    }

    /// New owners, if the space is still in the epoch that they follow.
    pub(crate) fn mint(&self, space: usize, follows: Epoch, owners: Owners) -> Option<Diff> {
        let slot = slot_of(space);
        if self.epoch(space) != follows {
            return None;
        }
        let epoch = Epoch::new(follows.number() + 1);
        self.state.lock().minted.insert((space, epoch.number()), owners.clone());
        let diff = Diff::one(slot, Group::new(epoch, owners)).unwrap_or_else(|error| unreachable!("{error}"));
        self.table.apply(&diff).unwrap_or_else(|error| unreachable!("{error}"));
        Some(diff)
    }

    pub(crate) fn hush(&self) {
        self.state.lock().silent += 1;
    }

    pub(crate) fn speak(&self) {
        self.state.lock().silent -= 1;
        self.speaks.notify_waiters();
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.state.lock().silent > 0
    }

    /// Waits until it can be asked.
    pub(crate) async fn until_it_speaks(&self) {
        until(&self.speaks, || !self.is_silent()).await;
    }

    /// Answers the heartbeat of a node.
    pub(crate) fn answer(&self, node: usize) {
        self.state.lock().answered.insert(node, Instant::now());
    }

    /// When a node may be replaced unasked.
    pub(crate) fn replaceable_at(&self, node: usize) -> Instant {
        let answered = self.state.lock().answered.get(&node).copied();
        answered.map_or_else(Instant::now, |answered| answered + GRANT_IS_OVER)
    }
}

impl Authority for Script {
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Diff>> {
        Box::pin(async move {
            self.until_it_speaks().await;
            sleep(ROUND_TRIP).await;
            let diff = self.table.snapshot().diff([slot]);
            (!diff.is_empty()).then_some(diff)
        })
    }
}

/// What lets one incarnation of a node act, until a time.
pub(crate) struct Grants {
    until: Mutex<Option<Instant>>,
    /// Whether they end at all.
    pub(crate) end: bool,
}

impl Grants {
    pub(crate) fn new(end: bool) -> Arc<Self> {
        Arc::new(Self { until: Mutex::new(None), end })
    }

    pub(crate) fn extend(&self, asked: Instant) {
        *self.until.lock() = Some(asked + GRANT);
    }

    pub(crate) fn hold(&self) -> bool {
        !self.end || self.until.lock().is_some_and(|until| Instant::now() < until)
    }
}

impl Gate for Grants {
    fn closed(&self, _: SpaceKey, _: Role) -> Option<Duration> {
        (!self.hold()).then_some(SOON)
    }
}

/// Owners by the numbers of their nodes, all in sync but the last ones.
pub(crate) fn owners_of(primary: usize, in_sync: &[usize], catching_up: &[usize]) -> Owners {
    let replica = |state| move |node: &usize| Replica { node: node_id(*node), state };
    let replicas = in_sync.iter().map(replica(ReplicaState::InSync));
    let replicas = replicas.chain(catching_up.iter().map(replica(ReplicaState::CatchingUp)));
    Owners::new(node_id(primary), replicas.collect()).unwrap_or_else(|error| unreachable!("{error}"))
}

/// The numbers of a space's owners: the primary, those in sync, the others.
pub(crate) fn numbers_of(owners: &Owners) -> (usize, Vec<usize>, Vec<usize>) {
    let of = |state| {
        let replicas = owners.replicas().iter().filter(move |replica| replica.state == state);
        replicas.map(|replica| number_of(&replica.node)).collect()
    };
    (number_of(owners.primary()), of(ReplicaState::InSync), of(ReplicaState::CatchingUp))
}
