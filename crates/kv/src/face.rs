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
}

impl Kv {
    /// The service of the node `me`, over its store. Starts the writer thread, which ends with the last
    /// handle of the service.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn new(store: Store, me: NodeId, peers: Arc<dyn Peers>) -> std::io::Result<Self> {
        let store = Arc::new(store);
        let writer = Writer::start(Arc::clone(&store))?;
        Ok(Self::over(store, writer, me, peers))
    }

    /// The same without a thread: each operation runs where it is asked for and holds up all that runs there. For a
    /// simulation, in which one thread and its virtual time are all there is.
    #[must_use]
    pub fn in_place(store: Store, me: NodeId, peers: Arc<dyn Peers>) -> Self {
        let store = Arc::new(store);
        Self::over(Arc::clone(&store), Writer::InPlace(store), me, peers)
    }

    fn over(store: Arc<Store>, writer: Writer, me: NodeId, peers: Arc<dyn Peers>) -> Self {
        let shared = Arc::new(Shared { store, writer, me, peers, heard: Heard::default() });
        let desk = Arc::new(Desk::new(Arc::clone(&shared)));
        let rpc = Rpc::new(Arc::clone(&shared), Arc::clone(&desk));
        Self { shared, desk, service: HttpService::new(KvServer::new(rpc)).deduping() }
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
