use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_router::{
    Authority, DirectError, DirectService, Directory, Node as Member, Peers, Pool, PoolOptions, Route,
    Router, RouterBuilder, RouterOptions, Service,
};
use homing_routing_table::{Diff, RoutingTable};
use homing_transport::tls::{Credentials, ServerTls};
use homing_transport::{Limits, Listener};
use homing_types::{Access, NodeId, Slot, Space};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::members::{self, APPLY_PATH, Apply, KeepTable, MemberState, TableOutcome};
use crate::random::random;
use crate::wires::{self, Wire};
use crate::{Channel, ClientLimits, ClientListener};

/// What a node needs to start.
pub struct NodeOptions {
    /// Which of `nodes` this is.
    pub id: NodeId,
    /// The nodes of the cluster, this one included.
    pub nodes: Vec<Member>,
    /// What this node proves itself with.
    pub credentials: Arc<Credentials>,
    /// Where it listens for its peers.
    pub listen: SocketAddr,
    /// On which wire.
    pub wire: Wire,
    /// Where it listens for clients; `None` for nowhere.
    pub client_listen: Option<SocketAddr>,
    /// What it shows to clients; `None` for no TLS there. It may be reloaded while the node runs.
    pub client_tls: Option<Arc<ServerTls>>,
    /// What it knows at the start; diffs that contradict each other under one epoch are refused. It learns the rest.
    pub table: Vec<Diff>,
    /// The slots that it knew to be in conflict when it stopped: their writes wait for a higher epoch still.
    pub conflicts: Vec<Slot>,
    /// Who mints epochs.
    pub authority: Arc<dyn Authority>,
    /// Called before the node takes its first request, and after an operator's table was applied and before that is
    /// acknowledged.
    pub keep_table: Option<KeepTable>,
    /// What [`NODE_INFO_PATH`](crate::NODE_INFO_PATH) answers, as JSON.
    pub info: Bytes,
    /// The bounds of connections between nodes.
    pub limits: Limits,
    /// The bounds of the client listener.
    pub client_limits: ClientLimits,
    /// How connections are pooled.
    pub pool: PoolOptions,
    /// The bounds of calls.
    pub router: RouterOptions,
}

/// What a node brings requests to.
pub struct Mounts {
    /// The service.
    pub service: Arc<dyn Service>,
    /// What receives direct messages of members, by path.
    pub direct: Vec<(&'static str, Arc<dyn DirectService>)>,
}

/// A running node. Dropping it stops it at once; [`Node::shutdown`] lets the running requests finish.
pub struct Node {
    router: Arc<Router>,
    listener: Box<dyn Listener>,
    clients: Option<ClientListener>,
    keep_table: Option<KeepTable>,
}

impl Node {
    /// Starts a node: binds its addresses, makes its service, and takes requests.
    ///
    /// # Errors
    /// [`StartError`] names what is wrong and where.
    pub async fn start(
        options: NodeOptions,
        mounts: impl AsyncFnOnce(Arc<dyn Peers>) -> Result<Mounts, String>,
    ) -> Result<Self, StartError> {
        let me = options.nodes.iter().find(|node| node.id == options.id).cloned();
        let me = me.ok_or_else(|| StartError::NotListed { id: options.id.clone() })?;
        let client_socket = match options.client_listen {
            Some(address) => Some(bind("client", address).await?),
            None => None,
        };
        let transports = wires::transports(options.listen, &options.credentials, &options.limits)
            .map_err(StartError::Wire)?;
        let directory = Arc::new(Directory::new(options.nodes));
        let pool = Pool::new(transports, options.pool);
        let mut builder = RouterBuilder::new(me, directory, pool, options.authority, random());
        builder.options = options.router;
        for diff in &options.table {
            let applied = builder.table.apply(diff).map_err(|error| StartError::Table(error.to_string()))?;
            // An epoch is minted once. To take either content would be to guess who the primary is.
            if let Some(slot) = applied.conflicts.first() {
                let problem = format!("slot {slot} comes with two contents under one epoch");
                return Err(StartError::Table(problem));
            }
        }
        builder.table.mark_conflicts(&options.conflicts);
        let router = builder.build();
        // A port in use is found out before anything is written. Until the service is mounted, requests are told to come
        // again.
        let listener = wires::listen(
            options.wire,
            options.listen,
            &options.credentials,
            &options.limits,
            router.handler(),
        )
        .map_err(StartError::Wire)?;

        let Mounts { service, mut direct } = mounts(router.peers()).await.map_err(StartError::Service)?;
        let apply = Apply { router: Arc::downgrade(&router), keep: options.keep_table.clone() };
        direct.push((APPLY_PATH, Arc::new(apply)));
        // Before anybody is answered by it: no later start may begin with another table under these epochs.
        if let Some(keep) = &options.keep_table {
            keep(router.table()).map_err(|error| StartError::Table(format!("it can't be kept: {error}")))?;
        }
        router.mount(service, direct);
        tokio::spawn(Router::watch_delay(Arc::downgrade(&router)));
        let clients = match client_socket {
            Some(socket) => {
                let router = Arc::clone(&router);
                let tls = options.client_tls.as_deref();
                let clients = ClientListener::serve(socket, router, tls, options.client_limits, options.info);
                Some(clients.map_err(|error| StartError::Wire(error.to_string()))?)
            }
            None => None,
        };
        Ok(Self { router, listener, clients, keep_table: options.keep_table })
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> &NodeId {
        self.router.me()
    }

    /// Where it listens for its peers.
    #[must_use]
    pub fn address(&self) -> String {
        self.listener.address()
    }

    /// Where it listens for clients.
    #[must_use]
    pub fn client_address(&self) -> Option<SocketAddr> {
        self.clients.as_ref().map(ClientListener::address)
    }

    /// Enters calls at this node.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Channel::new(Arc::clone(&self.router))
    }

    /// Who owns what, as this node knows.
    #[must_use]
    pub fn table(&self) -> &Arc<RoutingTable> {
        self.router.table()
    }

    /// The nodes of the cluster.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.router.directory().nodes()
    }

    /// Where a request would go now, and why.
    #[must_use]
    pub fn route(&self, space: &Space, access: Access) -> Route {
        self.router.explain(space, access)
    }

    /// Asks each other member whether it is there, all at once, for at most `timeout`.
    pub async fn states(&self, timeout: Duration) -> Vec<(NodeId, MemberState)> {
        let peers = self.router.peers();
        let asking = self.members().into_iter().map(|node| {
            let peers = Arc::clone(&peers);
            async move {
                let state = if node.id == *self.id() {
                    MemberState::Alive
                } else {
                    members::ping(&*peers, &node.id, timeout).await
                };
                (node.id.clone(), state)
            }
        });
        futures_util::future::join_all(asking).await
    }

    /// Brings an operator's table to one member, this node or another.
    ///
    /// # Errors
    /// [`DirectError`] if the member can't be reached or refuses it as a whole.
    pub async fn apply_at(
        &self,
        node: &NodeId,
        diff: &Diff,
        timeout: Duration,
    ) -> Result<TableOutcome, DirectError> {
        members::apply_at(&self.router, self.keep_table.as_ref(), node, diff, timeout).await
    }

    /// The requests under way here.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.router.in_flight()
    }

    /// Takes no new requests, lets the running ones finish for at most `drain` in all, and stops.
    pub async fn shutdown(&self, drain: Duration) {
        let started = Instant::now();
        // Peers last: what clients still wait for may need them. They have what is left of the time.
        if let Some(clients) = &self.clients {
            clients.shutdown(drain).await;
        }
        self.listener.shutdown(drain.saturating_sub(started.elapsed())).await;
    }
}

async fn bind(what: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Bind {
        what,
        address,
        why: error.to_string(),
    })
}

/// Why a node can't start.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StartError {
    /// The node is not among the nodes of its cluster.
    #[error("{id} is not in the list of nodes: add it, or mend the id")]
    NotListed {
        /// Its id.
        id: NodeId,
    },
    /// An address can't be listened on.
    #[error("can't listen for {what}s on {address}: {why}")]
    Bind {
        /// For whom.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// A wire can't be set up.
    #[error("{0}")]
    Wire(String),
    /// The table breaks a bound, contradicts itself, or can't be kept.
    #[error("the routing table: {0}")]
    Table(String),
    /// The service can't start.
    #[error("the service can't start: {0}")]
    Service(String),
}
