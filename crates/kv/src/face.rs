//! The gRPC face: the store as a [`Service`](homing_router::Service) of the router.
//!
//! A write's way: [`service`] checks it and gives it to its space's [`task`], which proposes it at the
//! store's one [`writer`] thread, brings it to all in-sync replicas ([`follow`]), commits it here and
//! there, and answers. [`replica`] is the other end of that.

mod absent;
mod desk;
mod follow;
mod heard;
mod replica;
mod service;
mod task;
mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use homing_router::{Declined, DirectService, Granted, HttpService, Peers, Service};
use homing_transport::{Body, BoxFuture};
use homing_types::NodeId;

use crate::Store;
use crate::generated::kv::kv_server::KvServer;
use desk::Desk;
use heard::Heard;
use service::Rpc;
use writer::Writer;

/// Where [`Kv::replica`] is mounted.
pub const REPLICA_PATH: &str = "/homing.kv.replica.v1.Replica";

/// The reference service of one node: mount it as the router's service, and [`Kv::replica`] at
/// [`REPLICA_PATH`].
///
/// Reads and writes of different spaces don't wait for each other, except that all writes of a node
/// share one thread and its syncs.
pub struct Kv {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    service: HttpService<KvServer<Rpc>>,
}

/// What all parts of the face share.
struct Shared {
    store: Arc<Store>,
    writer: Writer,
    me: NodeId,
    peers: Arc<dyn Peers>,
    heard: Heard,
    clock: Clock,
}

/// The time since 1970, as this node's clock has it.
type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

impl Kv {
    /// The service of the node `me`, over its store. Starts the writer thread, which ends with the last
    /// handle of the service.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(store: Store, me: NodeId, peers: Arc<dyn Peers>) -> std::io::Result<Self> {
        let store = Arc::new(store);
        let writer = Writer::start(Arc::clone(&store))?;
        Ok(Self::over(store, writer, me, peers, Box::new(system_clock)))
    }

    /// The same without a thread: each operation runs where it is asked for and holds up all that runs there. For a
    /// simulation, in which one thread and its virtual time are all there is, and clocks say what it likes: `clock` is the time
    /// since 1970.
    #[must_use]
    pub fn in_place(
        store: Store,
        me: NodeId,
        peers: Arc<dyn Peers>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let store = Arc::new(store);
        Self::over(Arc::clone(&store), Writer::InPlace(store), me, peers, Box::new(clock))
    }

    fn over(store: Arc<Store>, writer: Writer, me: NodeId, peers: Arc<dyn Peers>, clock: Clock) -> Self {
        let shared = Arc::new(Shared { store, writer, me, peers, heard: Heard::default(), clock });
        let desk = Arc::new(Desk::new(Arc::clone(&shared)));
        let rpc = Rpc::new(Arc::clone(&shared), Arc::clone(&desk));
        Self { shared, desk, service: HttpService::new(KvServer::new(rpc)).deduping() }
    }

    /// What this node holds.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    /// The end of the service that other nodes speak to.
    #[must_use]
    pub fn replica(&self) -> Arc<dyn DirectService> {
        Arc::new(replica::Replica::new(Arc::clone(&self.shared), Arc::clone(&self.desk)))
    }
}

impl Service for Kv {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        self.service.call(granted)
    }

    fn dedupes(&self) -> bool {
        self.service.dedupes()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "keys are made by clocks: here they are compared with this one's"
)]
fn system_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
