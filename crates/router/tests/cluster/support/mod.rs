//! A cluster in one process: nodes are named by their zone and a number, as `a1`.

mod metrics;
mod service;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use homing_router::{
    Answer, Authority, Call, CallError, Directory, Gate, Node, OpenGate, Pool, PoolOptions, Router,
    RouterBuilder, RouterOptions, StaticAuthority,
};
use homing_routing_table::{Diff, Group};
use homing_transport::memory::{MemoryListener, MemoryNetwork};
use homing_transport::{Body, BodyError, Head, Lane, Limits, Peer, Reply, Routed, Transport};
use homing_types::{
    Access, Epoch, IdempotencyKey, Locality, Name, NodeId, Owners, Replica, ReplicaState, Role, Slot, Space,
    SpaceKey,
};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::metrics::Metrics;
pub(crate) use self::service::{Behaviour, Echo, Log, TestService};
pub(crate) use self::wire::{Fault, Faults, REQUEST};

/// How long a test waits for anything, in virtual time where it is paused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the test service takes direct messages.
pub(crate) const ECHO_PATH: &str = "/test/echo";

/// What all nodes of a cluster share.
pub(crate) struct Setup {
    pub(crate) pool: PoolOptions,
    pub(crate) options: RouterOptions,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) dedupes: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            pool: PoolOptions::default(),
            options: RouterOptions::default(),
            gate: Arc::new(OpenGate),
            authority: Arc::new(StaticAuthority::new(&Diff::default())),
            dedupes: false,
        }
    }
}

pub(crate) struct Cluster {
    network: MemoryNetwork,
    pub(crate) faults: Faults,
    log: watch::Sender<Log>,
    metrics: Metrics,
    nodes: BTreeMap<&'static str, TestNode>,
    requests: AtomicU64,
}

pub(crate) struct TestNode {
    pub(crate) router: Arc<Router>,
    pub(crate) service: Arc<TestService>,
    listener: Option<MemoryListener>,
}

impl Cluster {
    pub(crate) fn of<const N: usize>(ids: [&'static str; N]) -> Self {
        Self::with(ids, Setup::default())
    }

    /// A cluster whose nodes all know these owners of [`space`].
    pub(crate) fn knowing<const N: usize>(ids: [&'static str; N], group: Group) -> Self {
        let cluster = Self::of(ids);
        cluster.all_learn(group);
        cluster
    }

    pub(crate) fn with<const N: usize>(ids: [&'static str; N], setup: Setup) -> Self {
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            faults: Faults::default(),
            log: watch::Sender::default(),
            metrics: Metrics::default(),
            nodes: BTreeMap::new(),
            requests: AtomicU64::new(0),
        };
        let directory = Arc::new(Directory::new(ids.map(entry)));
        for id in ids {
            let node = ::metrics::with_local_recorder(&cluster.metrics.clone(), || {
                cluster.build(id, &directory, &setup)
            });
            cluster.nodes.insert(id, node);
            cluster.start(id);
        }
        cluster
    }

    fn build(&self, id: &'static str, directory: &Arc<Directory>, setup: &Setup) -> TestNode {
        let wire = self.faults.wire(node_id(id), self.network.transport(node_id(id), Limits::default()));
        let pool = Pool::new(vec![Arc::new(wire)], setup.pool.clone());
        let authority = Arc::clone(&setup.authority);
        let mut builder = RouterBuilder::new(entry(id), Arc::clone(directory), pool, authority, [7; 32]);
        builder.options = setup.options.clone();
        builder.gate = Arc::clone(&setup.gate);
        let router = builder.build();
        let service = TestService::new(node_id(id), setup.dedupes, self.log.clone());
        let mounted = Arc::clone(&service);
        router.mount(mounted, [(ECHO_PATH, Arc::new(Echo(node_id(id))) as _)]);
        TestNode { router, service, listener: None }
    }

    /// Lets a node listen (again).
    pub(crate) fn start(&mut self, id: &'static str) {
        let node = self.nodes.get_mut(id).expect("a node of the cluster");
        let handler = node.router.handler();
        let listener = self.network.listen(node_id(id), id, Limits::default(), handler);
        node.listener = Some(listener.expect("nobody else has the address"));
    }

    /// Stops a node at once; its table stays.
    pub(crate) fn kill(&mut self, id: &str) {
        self.nodes.get_mut(id).expect("a node of the cluster").listener = None;
    }

    pub(crate) fn node(&self, id: &str) -> &TestNode {
        &self.nodes[id]
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.nodes.keys().copied()
    }

    /// Gives one node a group of [`space`]'s slot.
    pub(crate) fn learns(&self, id: &str, group: Group) {
        let diff = Diff::one(slot(), group).expect("a group of the slot");
        self.node(id).router.apply(&diff).expect("the table has room");
    }

    pub(crate) fn all_learn(&self, group: Group) {
        self.ids().for_each(|id| self.learns(id, group.clone()));
    }

    /// The epoch that a node has for [`space`].
    pub(crate) fn epoch(&self, id: &str) -> u64 {
        self.node(id).router.table().load().epoch(slot()).number()
    }

    pub(crate) async fn write(&self, entry: &str) -> Result<Answer, CallError> {
        self.call(entry, call(Access::Write)).await
    }

    pub(crate) async fn read(&self, entry: &str) -> Result<Answer, CallError> {
        self.call(entry, call(Access::Read)).await
    }

    pub(crate) async fn call(&self, entry: &str, call: Call) -> Result<Answer, CallError> {
        self.send(entry, call, Body::from("hello")).await
    }

    /// Calls with this body, and checks the paths that the request took.
    pub(crate) async fn send(&self, entry: &str, call: Call, body: Body) -> Result<Answer, CallError> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let mut request = http::Request::new(body);
        request.headers_mut().insert(REQUEST, number.into());
        let answer = within("a call", self.node(entry).router.call(call, request)).await;
        self.faults.check_paths(number);
        answer
    }

    /// What a member says to another one past its own router.
    pub(crate) async fn says(&self, from: &str, to: &str, head: Head) -> Reply {
        let transport = self.network.transport(node_id(from), Limits::default());
        let peer = Peer { node: node_id(to), address: to.to_owned() };
        let connection = transport.dial(&peer, Lane::Payload).await.expect("the node can be dialled");
        let head = Head { remaining: Some(PATIENCE), ..head };
        let request = http::Request::new(Body::from("hello"));
        within("a reply", connection.send(head, request)).await.expect("the node replies")
    }

    /// The sum of a counter over all nodes.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.metrics.counted(name)
    }

    pub(crate) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// Waits until the services' log says so.
    pub(crate) async fn until(&self, what: &str, condition: impl FnMut(&Log) -> bool) {
        let mut log = self.log.subscribe();
        within(what, log.wait_for(condition)).await.expect("the log is kept");
    }
}

/// Waits for `future`, not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} for {what}"),
    }
}

/// Lets everything else run until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Lets everything else run until all of it waits. Only where time is paused.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A body that comes piece by piece, as it is fed.
pub(crate) fn fed() -> (mpsc::Sender<Result<Frame<Bytes>, BodyError>>, Body) {
    let (sender, mut receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, Body::new(StreamBody::new(pieces)))
}

/// The space of all tests.
pub(crate) fn space() -> Space {
    Space::new("acme").expect("a space")
}

pub(crate) fn slot() -> Slot {
    space().key().slot()
}

pub(crate) fn node_id(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

/// A call of [`space`] with the default deadline.
pub(crate) fn call(access: Access) -> Call {
    Call {
        space: space(),
        access,
        deadline: None,
        reply_by: None,
        idempotency_key: None,
        max_age: None,
        retry: false,
        traceparent: None,
    }
}

pub(crate) fn call_within(access: Access, time: Duration) -> Call {
    Call { deadline: Some(Instant::now() + time), ..call(access) }
}

pub(crate) fn keyed_write() -> Call {
    Call { idempotency_key: Some(IdempotencyKey::new(1, [7; 10])), ..call(Access::Write) }
}

/// A group of these owners, the primary first; `~` marks one that is catching up.
pub(crate) fn group(epoch: u64, owners: &[&str]) -> Group {
    let replicas = owners[1..].iter().map(|id| match id.strip_prefix('~') {
        Some(id) => Replica { node: node_id(id), state: ReplicaState::CatchingUp },
        None => Replica { node: node_id(id), state: ReplicaState::InSync },
    });
    let owners = Owners::new(node_id(owners[0]), replicas.collect()).expect("different owners");
    Group::new(Epoch::new(epoch), owners)
}

/// A group of these owners that is too large to travel along, for all its pins.
pub(crate) fn large_group(epoch: u64, owners: &[&str]) -> Group {
    let mut group = group(epoch, owners);
    let neighbours = (1..=1_000).map(|bits| SpaceKey::from_u128(space().key().as_u128() ^ bits));
    group.pins = neighbours.map(|key| (key, group.owners.clone())).collect();
    group
}

/// A routed request of [`space`] as a member sends it, past its own router.
pub(crate) fn routed(access: Access, believed: u64) -> Routed {
    Routed {
        space: space(),
        access,
        believed: Epoch::new(believed),
        hops_left: 2,
        relay: false,
        attempt: 1,
        idempotency_key: None,
        max_age: None,
        group: Bytes::new(),
    }
}

/// How a call was served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) by: String,
    pub(crate) role: Role,
    pub(crate) hops: u8,
    pub(crate) epoch: u64,
    pub(crate) attempts: u32,
}

impl Served {
    pub(crate) fn of(answer: &Result<Answer, CallError>) -> Self {
        let answer = answer.as_ref().unwrap_or_else(|error| panic!("no answer: {error}"));
        Self {
            by: answer.head.served_by.as_ref().expect("somebody served it").to_string(),
            role: answer.head.role.expect("in some role"),
            hops: answer.head.hops,
            epoch: answer.head.epoch.number(),
            attempts: answer.attempts,
        }
    }

    /// By the primary, at the first attempt.
    pub(crate) fn by_primary(by: &str, hops: u8, epoch: u64) -> Self {
        Self { by: by.to_owned(), role: Role::Primary, hops, epoch, attempts: 1 }
    }

    pub(crate) fn by_replica(by: &str, hops: u8, epoch: u64) -> Self {
        Self { role: Role::Replica, ..Self::by_primary(by, hops, epoch) }
    }

    pub(crate) fn after(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }
}

fn entry(id: &str) -> Node {
    Node {
        id: node_id(id),
        address: id.to_owned(),
        wire: "memory".to_owned(),
        locality: Locality { zone: Name::new(&id[..1]).ok(), ..Locality::default() },
        weight: 1,
    }
}
