//! Connections to peers: several for payload and several for control each, dialled one at a time.
//!
//! HTTP/2 stacks serialise on one lock a connection, so several carry more (grpc-rust#607), and what TCP lost on one holds
//! up that one alone: a request takes the connection on which the fewest wait. Control connections of their own keep
//! direct messages from queueing behind payload. No lock is held while a dial is under way: requests wait for the dial
//! itself, and only if there is no other connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::quality::RandomState;
use homing_transport::{
    Body, BoxFuture, Connection, Head, Lane, Peer, Reply, SendError, SendErrorKind, Transport,
};
use homing_types::NodeId;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::counters::WireCounters;
use crate::directory::Node;
use crate::flight::{Flight, Flights};

/// How a [`Pool`] behaves.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Connections a peer for payload, and as many for control; at least 1. More carry more calls in flight, for more memory
    /// and handshakes.
    pub connections: usize,
    /// For how long a peer that failed stands at the back of plans before it is probed again.
    pub suspicion: Duration,
    /// Attempts in a row without a reply on one connection after which it is replaced: it stands, and yet nothing moves
    /// on it. Choose more than a slow service causes in a bad minute.
    pub stuck_after: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { connections: 2, suspicion: Duration::from_secs(1), stuck_after: 3 }
    }
}

/// The connections of one node to its peers.
pub struct Pool {
    wires: HashMap<&'static str, Wire>,
    peers: DashMap<NodeId, Arc<PeerState>, RandomState>,
    dials: Flights<(NodeId, Lane), Dialled>,
    options: PoolOptions,
}

struct Wire {
    transport: Arc<dyn Transport>,
    counters: WireCounters,
}

type Dialled = Result<Arc<Pooled>, SendError>;

/// One of so many requests takes the next connection in turn, however many wait on it: one that was slow and that all others pass by would
/// else never show whether it still is, nor be replaced.
const PROBES: usize = 16;

/// A connection, how many attempts wait on it, and how many in a row had no reply.
struct Pooled {
    connection: Arc<dyn Connection>,
    waiting: AtomicU32,
    unanswered: AtomicU32,
}

impl Pooled {
    fn new(connection: Arc<dyn Connection>) -> Self {
        Self { connection, waiting: AtomicU32::new(0), unanswered: AtomicU32::new(0) }
    }

    /// How many replies are due on it: those that nobody waits for any more are, too, as long as none comes.
    fn due(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed).saturating_add(self.unanswered.load(Ordering::Relaxed))
    }

    /// Whether nothing seems to move on it.
    fn is_doubted(&self, stuck_after: u32) -> bool {
        self.unanswered.load(Ordering::Relaxed) >= stuck_after
    }
}

#[derive(Default)]
struct PeerState {
    payload: Mutex<Vec<Arc<Pooled>>>,
    control: Mutex<Vec<Arc<Pooled>>>,
    next: AtomicUsize,
    /// The last contact, if it failed.
    failed: Mutex<Option<Instant>>,
    /// The last dial, if it failed.
    dial_failed: Mutex<Option<Instant>>,
}

impl PeerState {
    const fn lane(&self, lane: Lane) -> &Mutex<Vec<Arc<Pooled>>> {
        match lane {
            Lane::Payload => &self.payload,
            Lane::Control => &self.control,
        }
    }

    /// The open connection with the fewest replies due, in turn among equals, and how many there are without those in
    /// doubt: one of these is better than none. Closed ones are dropped on the way.
    fn pick(&self, lane: Lane, stuck_after: u32) -> (Option<Arc<Pooled>>, usize) {
        let mut open = self.lane(lane).lock();
        open.retain(|pooled| pooled.connection.is_open());
        let sound = open.iter().filter(|pooled| !pooled.is_doubted(stuck_after)).count();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let any = number.is_multiple_of(PROBES);
        let turn = if any { number / PROBES } else { number };
        let (first, last) = open.split_at(turn.checked_rem(open.len()).unwrap_or(0));
        let least = last.iter().chain(first).min_by_key(|pooled| {
            let due = if any { 0 } else { pooled.due() };
            (pooled.is_doubted(stuck_after), due)
        });
        (least.map(Arc::clone), sound)
    }
}

impl Pool {
    /// A pool over these wires; a node's wire is one of their names.
    #[must_use]
    pub fn new(wires: Vec<Arc<dyn Transport>>, options: PoolOptions) -> Self {
        let wires = wires
            .into_iter()
            .map(|transport| {
                (transport.name(), Wire { counters: WireCounters::new(transport.name()), transport })
            })
            .collect();
        Self { wires, peers: DashMap::default(), dials: Flights::new(), options }
    }

    /// Sends one request to a node, over a connection that is open or is dialled now, and waits until `reply_by`
    /// for the head of its reply. To one that is open it is handed over when this is called.
    ///
    /// # Errors
    /// [`SendError`] says whether the request may have been executed.
    pub fn send(
        self: &Arc<Self>,
        node: Arc<Node>,
        lane: Lane,
        head: Head,
        request: http::Request<Body>,
        reply_by: Instant,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + use<> {
        let sending = self.hand_over(node, lane, head, request, reply_by);
        async move { sending.reply(reply_by, || ()).await }
    }

    /// Hands a request to a connection, if one is open.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        node: Arc<Node>,
        lane: Lane,
        head: Head,
        request: http::Request<Body>,
        reply_by: Instant,
    ) -> Sending {
        match self.open(&node, lane) {
            Some(pooled) => Sending::Sent(self.begin(node, lane, pooled, head, request)),
            None => {
                let pool = Arc::clone(self);
                Sending::Dials(Box::pin(pool.dial_and_begin(node, lane, head, request, reply_by)))
            }
        }
    }

    async fn dial_and_begin(
        self: Arc<Self>,
        node: Arc<Node>,
        lane: Lane,
        mut head: Head,
        request: http::Request<Body>,
        reply_by: Instant,
    ) -> Result<Waiting, SendError> {
        let began = Instant::now();
        // A dial leaves time for another candidate: until it has ended, nothing was sent.
        let patience = reply_by.saturating_duration_since(began) / 2;
        let dialled = tokio::time::timeout(patience, self.dial(&node, lane)).await;
        let dialled = dialled.map_err(|_| dial_timed_out(&node))?;
        let pooled = dialled.unwrap_or_else(|| Err(dial_given_up(&node)))?;
        head.count_down(began.elapsed());
        Ok(self.begin(node, lane, pooled, head, request))
    }

    fn begin(
        self: &Arc<Self>,
        node: Arc<Node>,
        lane: Lane,
        pooled: Arc<Pooled>,
        head: Head,
        request: http::Request<Body>,
    ) -> Waiting {
        if let Some(wire) = self.wires.get(node.wire.as_str()) {
            wire.counters.sent.increment(1);
        }
        pooled.waiting.fetch_add(1, Ordering::Relaxed);
        let reply = pooled.connection.send(head, request);
        Waiting { pool: Arc::clone(self), node, lane, pooled, since: Instant::now(), over: false, reply }
    }

    /// A connection on which nothing moves, though it stands, is replaced as soon as another stands. Until then it goes on:
    /// where many packets are lost it is slow, and a new one can't be had for the same reason.
    fn unanswered(self: &Arc<Self>, node: &Node, lane: Lane, pooled: &Pooled) {
        let in_a_row = pooled.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if in_a_row == self.options.stuck_after {
            tracing::info!(node = %node.id, in_a_row, "a connection without replies is to be replaced");
            drop(self.dial(node, lane));
        }
    }

    /// Whether the last contact with a peer failed. A suspect is dialled again in the background once its
    /// suspicion has grown old, so that it comes back without any request's risk.
    #[must_use]
    pub fn is_suspect(self: &Arc<Self>, node: &Node) -> bool {
        let Some(peer) = self.peers.get(&node.id).map(|peer| Arc::clone(&peer)) else {
            return false;
        };
        let suspect = peer.failed.lock().is_some();
        if suspect && !self.failed_lately(&node.id) {
            drop(self.dial(node, Lane::Payload));
        }
        suspect
    }

    fn failed_lately(&self, node: &NodeId) -> bool {
        let peer = self.peer(node);
        let lately =
            |at: &Mutex<Option<Instant>>| at.lock().is_some_and(|at| at.elapsed() < self.options.suspicion);
        lately(&peer.failed) || lately(&peer.dial_failed)
    }

    /// A connection that is open. Where there are fewer than there should be, another is dialled meanwhile.
    fn open(self: &Arc<Self>, node: &Node, lane: Lane) -> Option<Arc<Pooled>> {
        let (open, count) = self.peer(&node.id).pick(lane, self.options.stuck_after);
        if open.is_some() && count < self.wanted() && !self.failed_lately(&node.id) {
            drop(self.dial(node, lane));
        }
        open
    }

    /// How many connections a peer is to have for each lane.
    fn wanted(&self) -> usize {
        self.options.connections.max(1)
    }

    /// Starts a dial, or joins the one under way.
    fn dial(self: &Arc<Self>, node: &Node, lane: Lane) -> Flight<Dialled> {
        self.dials.join((node.id.clone(), lane), || {
            let pool = Arc::clone(self);
            let peer = Peer { node: node.id.clone(), address: node.address.clone() };
            let wire = node.wire.clone();
            async move { pool.dial_now(peer, &wire, lane).await }
        })
    }

    async fn dial_now(&self, peer: Peer, wire: &str, lane: Lane) -> Dialled {
        let state = self.peer(&peer.node);
        let stuck_after = self.options.stuck_after;
        let dialled = match state.pick(lane, stuck_after) {
            // Who found none just before the last dial ended needs no other.
            (Some(open), count) if count >= self.wanted() => Ok(open),
            _ => self.connect(&peer, wire, lane).await.inspect(|pooled| {
                let mut open = state.lane(lane).lock();
                let before = open.len();
                open.retain(|other| !other.is_doubted(stuck_after));
                self.replaced(wire, before - open.len());
                open.push(Arc::clone(pooled));
            }),
        };
        let failed = dialled.is_err().then(Instant::now);
        *state.dial_failed.lock() = failed;
        // One more connection that can't be had says nothing against a peer that the others reach.
        *state.failed.lock() = failed.filter(|_| state.pick(lane, stuck_after).1 == 0);
        dialled
    }

    fn replaced(&self, wire: &str, connections: usize) {
        if let Some(wire) = self.wires.get(wire) {
            wire.counters.stuck.increment(connections as u64);
        }
    }

    async fn connect(&self, peer: &Peer, wire: &str, lane: Lane) -> Dialled {
        let Some(wire) = self.wires.get(wire) else {
            let built: Vec<&str> = self.wires.keys().copied().collect();
            return Err(SendError::not_sent(
                SendErrorKind::Unreachable,
                format!(
                    "{} listens on {wire}, which this build lacks: it has {}",
                    peer.node,
                    built.join(", ")
                ),
            ));
        };
        let dialled = wire.transport.dial(peer, lane).await;
        let counter = if dialled.is_ok() { &wire.counters.dialled } else { &wire.counters.dial_failed };
        counter.increment(1);
        dialled.map(|connection| Arc::new(Pooled::new(connection)))
    }

    fn suspect(&self, node: &NodeId) {
        *self.peer(node).failed.lock() = Some(Instant::now());
    }

    fn peer(&self, node: &NodeId) -> Arc<PeerState> {
        if let Some(peer) = self.peers.get(node) {
            return Arc::clone(&peer);
        }
        Arc::clone(&self.peers.entry(node.clone()).or_default())
    }
}

/// A request on its way. Dropping it gives it up.
pub(crate) enum Sending {
    Sent(Waiting),
    Dials(BoxFuture<'static, Result<Waiting, SendError>>),
}

impl Sending {
    /// The reply, if its head comes by then. `dialled` hears of it when the request is handed over after a dial.
    pub(crate) async fn reply(self, reply_by: Instant, dialled: impl FnOnce()) -> Result<Reply, SendError> {
        let waiting = match self {
            Self::Sent(waiting) => waiting,
            Self::Dials(dialling) => {
                let waiting = dialling.await?;
                dialled();
                waiting
            }
        };
        waiting.reply(reply_by).await
    }
}

/// An attempt that waits for its reply. One that ends without any, given up or timed out, speaks against its connection, if
/// it had a fair time.
pub(crate) struct Waiting {
    pool: Arc<Pool>,
    node: Arc<Node>,
    lane: Lane,
    pooled: Arc<Pooled>,
    since: Instant,
    over: bool,
    reply: BoxFuture<'static, Result<Reply, SendError>>,
}

/// What a connection that works answers within, unless the service is slow: callers may be in more of a hurry.
const FAIR_TIME: Duration = Duration::from_millis(500);

impl Waiting {
    async fn reply(mut self, reply_by: Instant) -> Result<Reply, SendError> {
        let result = tokio::time::timeout_at(reply_by, &mut self.reply).await;
        let result = result.unwrap_or_else(|_| Err(reply_timed_out(&self.node)));
        self.over = !matches!(&result, Err(error) if error.kind == SendErrorKind::Deadline);
        match &result {
            Ok(_) => self.pooled.unanswered.store(0, Ordering::Relaxed),
            Err(error)
                if matches!(error.kind, SendErrorKind::Lost | SendErrorKind::Unreachable)
                    && !self.pooled.connection.is_open() =>
            {
                self.pool.suspect(&self.node.id);
            }
            Err(_) => {}
        }
        result
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pooled.waiting.fetch_sub(1, Ordering::Relaxed);
        if !self.over && self.since.elapsed() >= FAIR_TIME {
            self.pool.unanswered(&self.node, self.lane, &self.pooled);
        }
    }
}

fn reply_timed_out(node: &Node) -> SendError {
    SendError::maybe_sent(
        SendErrorKind::Deadline,
        format!("{} ({}): no reply within the attempt's time", node.id, node.address),
    )
}

fn dial_given_up(node: &Node) -> SendError {
    SendError::not_sent(
        SendErrorKind::Unreachable,
        format!("{} ({}): the dial was given up", node.id, node.address),
    )
}

fn dial_timed_out(node: &Node) -> SendError {
    SendError::not_sent(
        SendErrorKind::Deadline,
        format!("{} ({}): no connection within the attempt's time", node.id, node.address),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use homing_transport::{Kind, Sent};
    use homing_types::Locality;

    use super::*;

    /// A wire whose connections do nothing but stand, until they are all lost.
    #[derive(Clone, Default)]
    struct Idle {
        dials: Arc<AtomicUsize>,
        lost: Arc<AtomicBool>,
        /// How long a dial takes: the first, and each later one, if that is another time.
        distance: Duration,
        later: Duration,
        refuses: Arc<AtomicBool>,
        sent: Arc<Mutex<Vec<Head>>>,
    }

    impl Transport for Idle {
        fn name(&self) -> &'static str {
            "idle"
        }

        fn dial<'a>(&'a self, _: &'a Peer, _: Lane) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
            let dials = self.dials.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                tokio::time::sleep(if dials == 0 { self.distance } else { self.later }).await;
                if self.refuses.load(Ordering::Relaxed) {
                    return Err(SendError::not_sent(SendErrorKind::Unreachable, "refused"));
                }
                Ok(Arc::new(self.clone()) as Arc<dyn Connection>)
            })
        }
    }

    impl Connection for Idle {
        fn send(&self, head: Head, _: http::Request<Body>) -> BoxFuture<'static, Result<Reply, SendError>> {
            self.sent.lock().push(head);
            Box::pin(std::future::pending())
        }

        fn is_open(&self) -> bool {
            !self.lost.load(Ordering::Relaxed)
        }

        fn closed(&self) -> BoxFuture<'_, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn node() -> Arc<Node> {
        Arc::new(Node {
            id: NodeId::new("b1").unwrap(),
            address: "b1".to_owned(),
            wire: "idle".to_owned(),
            locality: Locality::default(),
            weight: 1,
        })
    }

    /// On several threads a request can find no connection, and ask for one only when the dial of another has ended.
    #[tokio::test]
    async fn a_dial_that_comes_late_takes_what_the_one_before_brought() {
        let (node, wire) = (node(), Idle::default());
        let id = node.id.clone();
        let options = PoolOptions { connections: 2, ..PoolOptions::default() };
        let pool = Arc::new(Pool::new(vec![Arc::new(wire.clone())], options));
        for (lane, dials) in [(Lane::Payload, 1), (Lane::Payload, 2), (Lane::Payload, 2), (Lane::Control, 3)]
        {
            assert!(matches!(pool.dial(&node, lane).await, Some(Ok(_))));
            assert_eq!(wire.dials.load(Ordering::Relaxed), dials, "{lane:?}");
        }
        pool.suspect(&id);
        assert!(pool.is_suspect(&node));
        pool.dial(&node, Lane::Payload).await;
        assert!(!pool.is_suspect(&node), "connections that stand speak for the peer");

        wire.lost.store(true, Ordering::Relaxed);
        pool.dial(&node, Lane::Payload).await;
        assert_eq!(wire.dials.load(Ordering::Relaxed), 4);
    }

    /// What TCP lost on one connection holds up that one alone.
    #[tokio::test(start_paused = true)]
    async fn a_request_takes_the_connection_on_which_the_fewest_wait() {
        let (node, wire) = (node(), Idle::default());
        let pool = Arc::new(Pool::new(vec![Arc::new(wire)], PoolOptions::default()));
        for _ in 0..2 {
            assert!(matches!(pool.dial(&node, Lane::Payload).await, Some(Ok(_))));
        }
        let peer = pool.peer(&node.id);
        let open = peer.payload.lock().clone();
        let waiting = || open.iter().map(|pooled| pooled.waiting.load(Ordering::Relaxed)).collect::<Vec<_>>();
        let send = || {
            let head = Head::of(Kind::Direct(node.id.clone()));
            let reply_by = Instant::now() + 2 * FAIR_TIME;
            let sending = pool.send(
                Arc::clone(&node),
                Lane::Payload,
                head,
                http::Request::new(Body::empty()),
                reply_by,
            );
            tokio::time::timeout(FAIR_TIME, sending)
        };
        futures_util::future::join_all((0..4).map(|_| send())).await;
        assert_eq!(waiting(), [0, 0], "nobody waits any more");
        assert_eq!([2, 2], [0, 1].map(|i: usize| open[i].unanswered.load(Ordering::Relaxed)));

        open[0].waiting.store(1, Ordering::Relaxed);
        let _first = send();
        assert_eq!(waiting(), [1, 1]);
        let _second = send();
        assert!([[2, 1], [1, 2]].contains(&[waiting()[0], waiting()[1]]), "{:?}", waiting());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_is_told_the_time_that_is_left_after_the_dial() {
        const SECOND: Duration = Duration::from_secs(1);
        let wire = Idle { distance: SECOND, ..Idle::default() };
        let pool = Arc::new(Pool::new(vec![Arc::new(wire.clone())], PoolOptions::default()));
        let node = node();
        let kind = Kind::Direct(node.id.clone());
        let head = Head { remaining: Some(10 * SECOND), reply_within: Some(4 * SECOND), ..Head::of(kind) };
        let request = http::Request::new(Body::empty());
        let reply_by = Instant::now() + 4 * SECOND;
        let (began, mut dialled) = (Instant::now(), Duration::ZERO);
        let sending = pool.hand_over(Arc::clone(&node), Lane::Payload, head, request, reply_by);
        sending.reply(reply_by, || dialled = began.elapsed()).await.unwrap_err();
        assert_eq!((Instant::now(), dialled), (reply_by, SECOND));
        let sent = &wire.sent.lock()[0];
        assert_eq!((sent.remaining, sent.reply_within), (Some(9 * SECOND), Some(3 * SECOND)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_replies_is_replaced_once_another_stands() {
        const DIAL: Duration = FAIR_TIME.saturating_mul(10);
        let (node, wire) = (node(), Idle { later: DIAL, ..Idle::default() });
        let id = node.id.clone();
        let options = PoolOptions { connections: 1, stuck_after: 3, ..PoolOptions::default() };
        let pool = Arc::new(Pool::new(vec![Arc::new(wire.clone())], options));
        let sending = |patience| {
            let head = Head::of(Kind::Direct(id.clone()));
            let request = http::Request::new(Body::empty());
            pool.send(Arc::clone(&node), Lane::Payload, head, request, Instant::now() + patience)
        };
        for attempt in 1..=5 {
            let hurried = sending(FAIR_TIME / 2).await;
            assert_eq!(hurried.unwrap_err().sent, Sent::MaybeSent, "it says nothing of the connection");
            let patience = 2 * FAIR_TIME;
            if attempt % 2 == 0 {
                assert_eq!(sending(patience).await.unwrap_err().sent, Sent::MaybeSent);
            } else {
                let given_up = tokio::time::timeout(FAIR_TIME, sending(patience)).await;
                assert!(given_up.is_err(), "nobody waits any more");
            }
            tokio::task::yield_now().await;
            let dials = if attempt < 3 { 1 } else { 2 };
            assert_eq!(wire.dials.load(Ordering::Relaxed), dials, "attempt {attempt}");
            assert_eq!(wire.sent.lock().len(), 2 * attempt, "the old one serves until another stands");
        }
        let peer = pool.peer(&id);
        assert!(peer.payload.lock().iter().all(|pooled| pooled.is_doubted(3)));
        tokio::time::sleep(DIAL).await;
        let open = peer.payload.lock();
        assert!(open.len() == 1 && !open[0].is_doubted(3), "the new one alone is left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_with_a_connection_in_doubt_is_suspect_once_no_other_can_be_had() {
        let (node, wire) = (node(), Idle::default());
        let options = PoolOptions { connections: 1, stuck_after: 1, ..PoolOptions::default() };
        let pool = Arc::new(Pool::new(vec![Arc::new(wire.clone())], options));
        assert!(matches!(pool.dial(&node, Lane::Payload).await, Some(Ok(_))));
        wire.refuses.store(true, Ordering::Relaxed);
        let head = Head::of(Kind::Direct(node.id.clone()));
        let reply_by = Instant::now() + 2 * FAIR_TIME;
        pool.send(Arc::clone(&node), Lane::Payload, head, http::Request::new(Body::empty()), reply_by)
            .await
            .unwrap_err();
        tokio::task::yield_now().await;
        assert!(pool.is_suspect(&node));
        assert!(pool.peer(&node.id).pick(Lane::Payload, 1).0.is_some(), "and yet it is not given up");
    }
}
