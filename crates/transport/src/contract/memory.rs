use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_types::NodeId;

use super::{Fixture, Proof};
use crate::memory::MemoryNetwork;
use crate::{BoxFuture, Handler, Limits, Listener, Transport};

/// The fixture of the in-memory transport.
#[derive(Default)]
pub struct MemoryFixture {
    network: MemoryNetwork,
    addresses: AtomicU64,
}

impl MemoryFixture {
    /// A network of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Fixture for MemoryFixture {
    fn listen<'a>(
        &'a self,
        node: &'a NodeId,
        proof: Proof,
        address: Option<&'a str>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> BoxFuture<'a, Box<dyn Listener>> {
        let fresh = || format!("memory:{}", self.addresses.fetch_add(1, Ordering::Relaxed));
        let address = address.map_or_else(fresh, str::to_owned);
        let listener = self.network.listen_as(proven(node, proof), &address, limits, handler);
        Box::pin(async move { Box::new(listener.expect("the address is free")) as Box<dyn Listener> })
    }

    fn transport(&self, node: &NodeId, proof: Proof, limits: Limits) -> Arc<dyn Transport> {
        Arc::new(self.network.transport_as(proven(node, proof), limits))
    }
}

/// As whom a network without certificates knows a node with this proof.
fn proven(node: &NodeId, proof: Proof) -> Option<NodeId> {
    match proof {
        Proof::Own => Some(node.clone()),
        Proof::OtherNode => NodeId::new("other").ok(),
        _ => None,
    }
}
