//! How each peer does, for each access: kept by whoever tries them, read by whoever plans.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use foldhash::quality::RandomState;
use homing_failover::{BreakerLimits, Circuit, Health, Sign, Standing, Started};
use homing_transport::{Lane, Reply, Routed, SendError, SendErrorKind};
use homing_types::{Access, NodeId, Time};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::direct::PING_PATH;
use crate::router::Router;

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// The health of all peers.
pub(crate) struct Standings {
    peers: DashMap<NodeId, Arc<Peer>, RandomState>,
    limits: BreakerLimits,
}

type Peer = [Mutex<Health>; Access::ALL.len()];

impl Standings {
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        Self { peers: DashMap::default(), limits }
    }

    fn peer(&self, node: &NodeId) -> Arc<Peer> {
        if let Some(peer) = self.peers.get(node) {
            return Arc::clone(&peer);
        }
        let new = || Arc::new(Access::ALL.map(|_| Mutex::new(Health::new(self.limits))));
        Arc::clone(&self.peers.entry(node.clone()).or_insert_with(new))
    }
}

impl Router {
    /// How a peer stands for an access. One whose time at the back is over is probed in the background: no caller pays
    /// for the question.
    pub(crate) fn standing(self: &Arc<Self>, node: &NodeId, access: Access) -> Standing {
        let suspect =
            *node != self.me && self.directory.node(node).is_some_and(|node| self.pool.is_suspect(&node));
        let peer = self.standings.peer(node);
        let mut health = peer[access as usize].lock();
        let now = self.now();
        if let Ok(runtime) = Handle::try_current()
            && health.wants_probe(now)
        {
            runtime.spawn(Arc::clone(self).probe(node.clone(), access));
        }
        health.standing(suspect, now)
    }

    /// Asks a peer whether it is there, on the lane that requests take.
    async fn probe(self: Arc<Self>, node: NodeId, access: Access) {
        let reached = node == self.me
            || self.direct(&node, Lane::Payload, PING_PATH, Bytes::new(), PROBE_TIMEOUT).await.is_ok();
        let peer = self.standings.peer(&node);
        let now = self.now();
        let change = self.with_shared(|_, random| peer[access as usize].lock().probed(reached, now, random));
        let why = if reached { "it answered a probe" } else { "it answered no probe" };
        self.tell_change(&node, access, change, why);
    }

    /// An attempt at a peer begins.
    pub(crate) fn observe(self: &Arc<Self>, node: &NodeId, routed: &Routed) -> Observed {
        let access = routed.access;
        let peer = self.standings.peer(node);
        let started = peer[access as usize].lock().start(self.now());
        Observed {
            router: Arc::clone(self),
            node: node.clone(),
            peer,
            access,
            retry: routed.attempt > 1,
            started: Some(started),
        }
    }

    fn tell_change(&self, node: &NodeId, access: Access, change: Option<Circuit>, why: &str) {
        let Some(circuit) = change else { return };
        self.counters.breaker_changed(circuit);
        if circuit == Circuit::Closed {
            tracing::info!(%node, %access, why, "breaker closed");
        } else {
            tracing::warn!(%node, %access, circuit = circuit.as_str(), why, "breaker changed");
        }
    }
}

/// An attempt under way. One that is dropped was given up.
pub(crate) struct Observed {
    router: Arc<Router>,
    node: NodeId,
    peer: Arc<Peer>,
    access: Access,
    retry: bool,
    started: Option<Started>,
}

impl Observed {
    /// The peer replied, or the transport found out why it didn't.
    pub(crate) fn ended(mut self, sent: &Result<Reply, SendError>) {
        let why = match sent {
            Ok(reply) if reply.head.outcome.is_none() => "it answered",
            Ok(reply) => &reply.head.reason,
            Err(error) => &error.message,
        };
        let sign = match sent {
            Ok(reply) => match Sign::of(reply.head.outcome, self.access) {
                // Who asks about a space that fails again and again hears nothing new of the peer.
                Sign::Unwell if self.retry => Sign::None,
                sign => sign,
            },
            Err(error) => match error.kind {
                SendErrorKind::Deadline => return self.end_silent(why),
                // Of the request, and not of who should get it.
                SendErrorKind::Body | SendErrorKind::Limit => Sign::None,
                _ => Sign::Bad,
            },
        };
        self.end(|_, _, _| sign, why);
    }

    /// The request leaves now, over a connection that had to be dialled first.
    pub(crate) fn sent(&mut self) {
        if let Some(started) = &mut self.started {
            started.sent(self.router.now());
        }
    }

    /// Nothing came while it was waited for, which says something only if that was long enough.
    fn end_silent(&mut self, why: &str) {
        let longest = self.router.options.call.attempt_timeout;
        self.end(|health, started, now| health.silence(started, longest, now), why);
    }

    fn end(&mut self, sign: impl FnOnce(&Health, Started, Time) -> Sign, why: &str) {
        let Some(started) = self.started.take() else { return };
        let Self { router, node, peer, access, .. } = self;
        let now = router.now();
        // The order of the two locks is that of a plan.
        let change = router.with_shared(|_, random| {
            let mut health = peer[*access as usize].lock();
            let sign = sign(&health, started, now);
            health.end(started, sign, now, random)
        });
        router.tell_change(node, *access, change, why);
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        self.end_silent("an attempt was given up without a reply");
    }
}
