use std::collections::BTreeMap;
use std::sync::Arc;

use homing_types::NodeId;
use parking_lot::Mutex;
use thiserror::Error;

use super::connection::Link;
use super::host::{Host, MemoryListener};
use crate::{BoxFuture, Connection, Handler, Lane, Limits, Peer, SendError, SendErrorKind, Transport};

/// The addresses that can be dialled. Any text is an address. Cheap to clone.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Mutex<BTreeMap<String, Arc<Host>>>>);

impl MemoryNetwork {
    /// A network without listeners.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The dialling side, as `node`.
    #[must_use]
    pub fn transport(&self, node: NodeId, limits: Limits) -> MemoryTransport {
        self.transport_as(Some(node), limits)
    }

    /// Listens at `address` as `node`.
    ///
    /// # Errors
    /// [`AddressInUse`] while another listener has the address.
    ///
    /// # Panics
    /// Outside of a tokio runtime: there the handler would run.
    pub fn listen(
        &self,
        node: NodeId,
        address: &str,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<MemoryListener, AddressInUse> {
        self.listen_as(Some(node), address, limits, handler)
    }

    /// `None` is one who can't prove who it is.
    pub(crate) fn transport_as(&self, node: Option<NodeId>, limits: Limits) -> MemoryTransport {
        MemoryTransport { network: self.clone(), node, limits }
    }

    /// `None` is one who can't prove who it is.
    pub(crate) fn listen_as(
        &self,
        node: Option<NodeId>,
        address: &str,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<MemoryListener, AddressInUse> {
        let mut hosts = self.0.lock();
        if hosts.contains_key(address) {
            return Err(AddressInUse { address: address.to_owned() });
        }
        let host = Host::new(node, limits, handler);
        hosts.insert(address.to_owned(), Arc::clone(&host));
        Ok(MemoryListener::new(self.clone(), address.to_owned(), host))
    }

    /// Frees the address, unless another listener has it already.
    pub(super) fn remove(&self, address: &str, host: &Arc<Host>) {
        let mut hosts = self.0.lock();
        if hosts.get(address).is_some_and(|there| Arc::ptr_eq(there, host)) {
            hosts.remove(address);
        }
    }

    fn host(&self, address: &str) -> Option<Arc<Host>> {
        self.0.lock().get(address).cloned()
    }
}

/// Another listener has the address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{address}: the address is in use")]
pub struct AddressInUse {
    address: String,
}

/// The dialling side of a [`MemoryNetwork`].
#[derive(Clone)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    node: Option<NodeId>,
    limits: Limits,
}

impl MemoryTransport {
    fn connect(&self, peer: &Peer) -> Result<Arc<Link>, SendError> {
        let refused = |kind, why: &str| SendError::not_sent(kind, format!("{peer}: {why}"));
        let host = self
            .network
            .host(&peer.address)
            .ok_or_else(|| refused(SendErrorKind::Unreachable, "connection refused"))?;
        match host.node() {
            Some(node) if *node == peer.node => {}
            Some(other) => return Err(refused(SendErrorKind::Identity, &format!("it is {other}"))),
            None => return Err(refused(SendErrorKind::Identity, "it can't prove who it is")),
        }
        let from = self
            .node
            .clone()
            .ok_or_else(|| refused(SendErrorKind::Identity, "it refuses us: we can't prove who we are"))?;
        Link::open(host, from, peer.clone(), self.limits.clone())
            .ok_or_else(|| refused(SendErrorKind::Unreachable, "it takes no more connections"))
    }
}

impl Transport for MemoryTransport {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        _lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move { Ok(self.connect(peer)?.connection()) })
    }
}
