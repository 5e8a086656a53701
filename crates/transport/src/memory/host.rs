use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use homing_types::NodeId;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

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
///
/// Nothing here waits on a `watch` channel: tokio wakes its receivers in random order.
pub(super) struct Host {
    node: Option<NodeId>,
    limits: Limits,
    /// Where the handler runs, whoever dials from where.
    runtime: Handle,
    state: Mutex<State>,
    /// Has no permits and is closed when nothing new is taken any more.
    open: Semaphore,
    exchange_ended: Notify,
}

struct State {
    phase: Phase,
    /// Gone once nothing new is taken, so that a handler isn't kept alive by those who dialled it.
    handler: Option<Arc<dyn Handler>>,
    connections: usize,
    next_exchange: u64,
    exchanges: BTreeMap<u64, Weak<Exchange>>,
}

/// Where a listener is in its life; its connections are there with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    Draining,
    Lost,
}

impl Host {
    pub(super) fn new(node: Option<NodeId>, limits: Limits, handler: Arc<dyn Handler>) -> Arc<Self> {
        let state = State {
            phase: Phase::Open,
            handler: Some(handler),
            connections: 0,
            next_exchange: 0,
            exchanges: BTreeMap::new(),
        };
        Arc::new(Self {
            node,
            limits,
            runtime: Handle::current(),
            state: Mutex::new(state),
            open: Semaphore::new(0),
            exchange_ended: Notify::new(),
        })
    }

    pub(super) const fn node(&self) -> Option<&NodeId> {
        self.node.as_ref()
    }

    pub(super) const fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn is_open(&self) -> bool {
        self.state.lock().phase == Phase::Open
    }

    pub(super) fn is_lost(&self) -> bool {
        self.state.lock().phase == Phase::Lost
    }

    /// Ends when nothing new is taken any more.
    pub(super) async fn closed(&self) {
        // There is no permit to get: this fails when the semaphore is closed.
        let _ = self.open.acquire().await;
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
        Some((exchange, handler))
    }

    pub(super) fn end(&self, exchange: u64) {
        self.state.lock().exchanges.remove(&exchange);
        self.exchange_ended.notify_waiters();
    }

    /// Ends when no exchange runs.
    async fn idle(&self) {
        let mut ended = pin!(self.exchange_ended.notified());
        loop {
            // What ends after the look must be heard, too.
            ended.as_mut().enable();
            if self.state.lock().exchanges.is_empty() {
                return;
            }
            ended.as_mut().await;
            ended.set(self.exchange_ended.notified());
        }
    }

    /// Goes on to a later phase, in which nothing new is taken.
    fn leave(&self, phase: Phase) {
        let handler = {
            let mut state = self.state.lock();
            state.phase = state.phase.max(phase);
            state.handler.take()
        };
        self.open.close();
        // Its drop may do anything, so it happens outside the lock.
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
