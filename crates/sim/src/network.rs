//! What lies between nodes: a wire that delays, loses, cuts and repeats.
//!
//! It stands before the in-memory transport, as a network stands before a host. A stream neither loses nor reorders
//! bytes, so a lost packet is a late message or a lost connection; what is sent at the same time on two streams may overtake.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homing_router::PING_PATH;
use homing_transport::memory::MemoryTransport;
use homing_transport::{
    Body, BoxFuture, Connection, Head, Kind, Lane, Limits, Peer, Reply, SendError, SendErrorKind, Transport,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::oracle::Oracle;
use crate::story::Story;
use crate::world::{node_id, number_of};

/// How far two nodes are from each other, one way.
const DISTANCE: std::ops::Range<u64> = 200..2_000;
/// After what time a lost packet is sent again.
const RESENT_AFTER: Duration = Duration::from_millis(200);

/// The network of one run.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rings when something changes for those who wait.
    changed: Notify,
    story: Story,
    oracle: Oracle,
}

struct State {
    rng: StdRng,
    /// Ways that let nothing through, and how often each was cut.
    cut: BTreeMap<(usize, usize), u32>,
    isolated: BTreeMap<usize, u32>,
    paused: BTreeMap<usize, u32>,
    slow: BTreeMap<usize, Duration>,
    loss: u32,
    duplicates: u32,
    /// How often the connections of each node were lost.
    resets: BTreeMap<usize, u32>,
    /// Nodes whose process is gone, by the count of their starts: what is left of it reaches nobody.
    lives: BTreeMap<usize, u32>,
    /// Messages that met a fault, and the traces of the calls that they are of.
    met: u64,
    met_traces: BTreeSet<String>,
}

impl State {
    fn is_open(&self, from: usize, to: usize) -> bool {
        let stands = |node| self.paused.contains_key(node) || self.isolated.contains_key(node);
        !self.cut.contains_key(&(from, to)) && !stands(&from) && !stands(&to)
    }

    fn meets(&mut self, trace: Option<&str>) {
        self.met += 1;
        self.met_traces.extend(trace.map(ToOwned::to_owned));
    }
}

impl Network {
    pub(crate) fn new(seed: u64, story: Story, oracle: Oracle) -> Self {
        let state = State {
            rng: StdRng::seed_from_u64(seed ^ 0x6e65_7477_6f72_6b00),
            cut: BTreeMap::new(),
            isolated: BTreeMap::new(),
            paused: BTreeMap::new(),
            slow: BTreeMap::new(),
            loss: 0,
            duplicates: 0,
            resets: BTreeMap::new(),
            lives: BTreeMap::new(),
            met: 0,
            met_traces: BTreeSet::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new(), story, oracle }))
    }

    /// The wire of one life of a node.
    pub(crate) fn wire(&self, from: usize, inner: MemoryTransport) -> Wire {
        let life = self.change(|state| {
            let life = state.lives.entry(from).or_default();
            *life += 1;
            *life
        });
        Wire { network: self.clone(), from, life, inner }
    }

    pub(crate) fn cut(&self, from: usize, to: usize) {
        self.change(|state| *state.cut.entry((from, to)).or_default() += 1);
    }

    pub(crate) fn mend(&self, from: usize, to: usize) {
        self.change(|state| count_down(&mut state.cut, &(from, to)));
    }

    pub(crate) fn isolate(&self, node: usize) {
        self.change(|state| *state.isolated.entry(node).or_default() += 1);
    }

    pub(crate) fn rejoin(&self, node: usize) {
        self.change(|state| count_down(&mut state.isolated, &node));
    }

    /// Whether a node can reach and be reached by who is not a node.
    pub(crate) fn is_reachable(&self, node: usize) -> bool {
        self.ask(|state| !state.paused.contains_key(&node) && !state.isolated.contains_key(&node))
    }

    pub(crate) fn pause(&self, node: usize) {
        self.change(|state| *state.paused.entry(node).or_default() += 1);
    }

    pub(crate) fn resume(&self, node: usize) {
        self.change(|state| count_down(&mut state.paused, &node));
    }

    pub(crate) fn slow(&self, node: usize, by: Option<Duration>) {
        self.change(|state| match by {
            Some(by) => drop(state.slow.insert(node, by)),
            None => drop(state.slow.remove(&node)),
        });
    }

    pub(crate) fn lose(&self, percent: u32) {
        self.change(|state| state.loss = percent);
    }

    pub(crate) fn duplicate(&self, percent: u32) {
        self.change(|state| state.duplicates = percent);
    }

    pub(crate) fn reset(&self, node: usize) {
        self.change(|state| *state.resets.entry(node).or_default() += 1);
    }

    /// The process of a node is gone.
    pub(crate) fn bury(&self, node: usize) {
        self.change(|state| *state.lives.entry(node).or_default() += 1);
    }

    /// Messages that met a fault on their way.
    pub(crate) fn met(&self) -> u64 {
        self.0.state.lock().met
    }

    /// Whether a message of this trace has met a fault.
    pub(crate) fn has_met(&self, trace: &str) -> bool {
        self.0.state.lock().met_traces.contains(trace)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.0.state.lock());
        self.0.changed.notify_waiters();
        changed
    }

    fn ask<T>(&self, ask: impl FnOnce(&mut State) -> T) -> T {
        ask(&mut self.0.state.lock())
    }

    /// Waits until the state says so.
    async fn until(&self, mut holds: impl FnMut(&State) -> bool) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if holds(&self.0.state.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// One message on its way. One that is lost is sent again a few times, later each time; on a way that is cut it waits.
    async fn pass(&self, from: usize, to: usize, trace: Option<&str>) {
        let takes = self.ask(|state| {
            let mut takes = Duration::from_micros(state.rng.random_range(DISTANCE));
            let mut wait = RESENT_AFTER;
            let slow = state.slow.get(&to).copied();
            let mut met = slow.is_some();
            while state.rng.random_range(0..100) < state.loss {
                takes += wait;
                wait *= 2;
                met = true;
            }
            if met || !state.is_open(from, to) {
                state.meets(trace);
            }
            takes + slow.unwrap_or_default()
        });
        tokio::time::sleep(takes).await;
        self.until(|state| state.is_open(from, to)).await;
    }
}

fn count_down<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The wire of one node.
pub(crate) struct Wire {
    network: Network,
    from: usize,
    life: u32,
    inner: MemoryTransport,
}

impl Transport for Wire {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move {
            let to = number_of(&peer.node);
            let way = Way { network: self.network.clone(), from: self.from, to, life: self.life };
            way.lives().await;
            let born = way.resets();
            let limit = Limits::default().handshake_timeout;
            let dialling = async {
                self.network.pass(self.from, to, None).await;
                let inner = self.inner.dial(peer, lane).await;
                self.network.pass(to, self.from, None).await;
                inner
            };
            let inner = timeout(limit, dialling).await.unwrap_or_else(|_| {
                let why = format!("{}: no answer within {limit:?}", peer.node);
                Err(SendError::not_sent(SendErrorKind::Unreachable, why))
            });
            Ok(Arc::new(Link { way, inner: inner?, born, silent: AtomicBool::new(false) })
                as Arc<dyn Connection>)
        })
    }
}

#[derive(Clone)]
struct Way {
    network: Network,
    from: usize,
    to: usize,
    life: u32,
}

impl Way {
    fn is_alive(&self) -> bool {
        self.network.ask(|state| state.lives.get(&self.from) == Some(&self.life))
    }

    /// Goes on if the sender's process does; what a dead one has left behind stands still.
    async fn lives(&self) {
        if !self.is_alive() {
            std::future::pending::<()>().await;
        }
    }

    fn resets(&self) -> (u32, u32) {
        self.network.ask(|state| {
            let of = |node| state.resets.get(&node).copied().unwrap_or_default();
            (of(self.from), of(self.to))
        })
    }
}

struct Link {
    way: Way,
    inner: Arc<dyn Connection>,
    /// The resets that were before it.
    born: (u32, u32),
    /// Whether nothing has come for so long that it was given up.
    silent: AtomicBool,
}

impl Link {
    async fn cross(&self, head: Head, mut request: http::Request<Body>) -> Result<Reply, SendError> {
        let Way { network, from, to, .. } = &self.way;
        self.way.lives().await;
        if let Kind::Routed(routed) = &head.kind {
            network.0.oracle.crosses(*to, routed, request.headers_mut());
        }
        let path = request.uri().path().to_owned();
        let trace = head.traceparent.clone();
        self.pass(*from, *to, trace.as_deref()).await?;
        self.way.lives().await;
        if let Some((head, request)) = self.copy(&head, &request) {
            let (link, network) = (Arc::clone(&self.inner), network.clone());
            let (from, to) = (*from, *to);
            tokio::spawn(async move {
                network.pass(from, to, None).await;
                let _ = link.send(head, request).await;
            });
        }
        let reply = self.inner.send(head, request).await;
        self.pass(*to, *from, trace.as_deref()).await?;
        self.way.lives().await;
        if path != PING_PATH {
            let outcome =
                reply.as_ref().map_or("error", |reply| reply.head.outcome.map_or("answer", |o| o.as_str()));
            network.0.story.tell(format_args!("{} to {}: {path}: {outcome}", node_id(*from), node_id(*to)));
        }
        reply
    }

    /// One message on this connection, which is given up if it takes as long as no living one does: pings wait behind it.
    async fn pass(&self, from: usize, to: usize, trace: Option<&str>) -> Result<(), SendError> {
        let network = &self.way.network;
        let patience = Limits::default().keepalive_timeout;
        timeout(patience, network.pass(from, to, trace)).await.map_err(|_| {
            self.silent.store(true, Ordering::Relaxed);
            network.change(|_| ());
            SendError::maybe_sent(SendErrorKind::Lost, format!("no sign of life within {patience:?}"))
        })
    }

    /// The request once more, if the network repeats it now and it may be repeated: a stream never does that by itself, a retry of
    /// somebody in between does, and only where that is safe.
    fn copy(&self, head: &Head, request: &http::Request<Body>) -> Option<(Head, http::Request<Body>)> {
        let safe = match &head.kind {
            Kind::Direct(_) => true,
            Kind::Routed(routed) => routed.access.is_read() || routed.idempotency_key.is_some(),
        };
        let body = request.body().bytes().filter(|_| safe)?.clone();
        let repeated = self.way.network.ask(|state| state.rng.random_range(0..100) < state.duplicates);
        repeated.then(|| {
            self.way.network.ask(|state| state.meets(head.traceparent.as_deref()));
            let mut copy = http::Request::new(Body::from(body));
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.headers_mut() = request.headers().clone();
            (head.clone(), copy)
        })
    }

    fn is_lost(&self) -> bool {
        self.silent.load(Ordering::Relaxed) || self.way.resets() != self.born
    }

    async fn lost(&self) {
        let Way { network, from, to, .. } = &self.way;
        network
            .until(|state| {
                let of = |node: &usize| state.resets.get(node).copied().unwrap_or_default();
                self.silent.load(Ordering::Relaxed) || (of(from), of(to)) != self.born
            })
            .await;
    }
}

impl Connection for Link {
    fn send(&self, head: Head, request: http::Request<Body>) -> BoxFuture<'_, Result<Reply, SendError>> {
        Box::pin(async move {
            if self.is_lost() {
                return Err(SendError::not_sent(SendErrorKind::Unreachable, "the connection was reset"));
            }
            let trace = head.traceparent.clone();
            tokio::select! {
                biased;
                () = self.lost() => {
                    self.way.network.ask(|state| state.meets(trace.as_deref()));
                    Err(SendError::maybe_sent(SendErrorKind::Lost, "the connection was reset"))
                }
                reply = self.cross(head, request) => reply,
            }
        })
    }

    fn is_open(&self) -> bool {
        !self.is_lost() && self.inner.is_open()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = self.lost() => {}
                () = self.inner.closed() => {}
            }
        })
    }
}
