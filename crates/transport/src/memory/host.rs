use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_types::NodeId;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::exchange::Exchange;
use super::network::MemoryNetwork;
use crate::{BoxFuture, Handler, Limits, Listener};

/// A listener of a [`MemoryNetwork`].
pub struct MemoryListener {
    network: MemoryNetwork,
    address: String,
    host: Arc<Host>,
}

impl MemoryListener {
    pub(super) const fn new(network: MemoryNetwork, address: String, host: Arc<Host>) -> Self {
        Self { network, address, host }
    }
}

impl Listener for MemoryListener {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn shutdown(&self, drain: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.network.remove(&self.address, &self.host);
            self.host.leave(Phase::Draining);
            // Late or not, what is left is cut.
            let _ = tokio::time::timeout(drain, self.host.idle()).await;
            self.host.lose();
        })
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        self.network.remove(&self.address, &self.host);
        self.host.lose();
    }
}

/// What all connections to one listener share.
pub(super) struct Host {
    node: Option<NodeId>,
    limits: Limits,
    phase: watch::Sender<Phase>,
    running: watch::Sender<usize>,
    state: Mutex<State>,
}

/// Where a listener is in its life; its connections are there with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    Draining,
    Lost,
}

struct State {
    /// Gone once no new requests are taken, so that a handler isn't kept alive by those who dialled it.
    handler: Option<Arc<dyn Handler>>,
    connections: usize,
    next_exchange: u64,
    exchanges: BTreeMap<u64, Weak<Exchange>>,
}

impl Host {
    pub(super) fn new(node: Option<NodeId>, limits: Limits, handler: Arc<dyn Handler>) -> Arc<Self> {
        let state =
            State { handler: Some(handler), connections: 0, next_exchange: 0, exchanges: BTreeMap::new() };
        Arc::new(Self {
            node,
            limits,
            phase: watch::Sender::new(Phase::Open),
            running: watch::Sender::new(0),
            state: Mutex::new(state),
        })
    }

    pub(super) const fn node(&self) -> Option<&NodeId> {
        self.node.as_ref()
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    pub(super) fn is_open(&self) -> bool {
        *self.phase.borrow() == Phase::Open
    }

    pub(super) fn is_lost(&self) -> bool {
        *self.phase.borrow() == Phase::Lost
    }

    /// Counts one more connection, if there may be one.
    pub(super) fn connect(&self) -> bool {
        let mut state = self.state.lock();
        let accepted = state.handler.is_some() && state.connections < self.limits.max_connections;
        state.connections += usize::from(accepted);
        accepted
    }

    pub(super) fn disconnect(&self) {
        self.state.lock().connections -= 1;
    }

    /// Begins an exchange, or not: no shutdown comes in between.
    pub(super) fn begin(
        &self,
        exchange: impl FnOnce(u64) -> Arc<Exchange>,
    ) -> Option<(Arc<Exchange>, Arc<dyn Handler>)> {
        let mut state = self.state.lock();
        let handler = Arc::clone(state.handler.as_ref()?);
        let id = state.next_exchange;
        state.next_exchange += 1;
        let exchange = exchange(id);
        state.exchanges.insert(id, Arc::downgrade(&exchange));
        self.running.send_replace(state.exchanges.len());
        Some((exchange, handler))
    }

    pub(super) fn end(&self, exchange: u64) {
        let mut state = self.state.lock();
        state.exchanges.remove(&exchange);
        self.running.send_replace(state.exchanges.len());
    }

    /// Ends when no exchange runs.
    async fn idle(&self) {
        // The sender lives as long as `self`, so this can't fail.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    fn leave(&self, phase: Phase) {
        let handler = self.state.lock().handler.take();
        self.phase.send_if_modified(|now| {
            let later = *now < phase;
            *now = phase.max(*now);
            later
        });
        drop(handler);
    }

    /// Cuts everything. Readers must find the phase changed when their pipe breaks, so it changes first.
    fn lose(&self) {
        self.leave(Phase::Lost);
        let exchanges: Vec<_> = self.state.lock().exchanges.values().filter_map(Weak::upgrade).collect();
        for exchange in exchanges {
            exchange.cancel();
        }
    }
}
