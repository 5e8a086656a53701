use std::pin::pin;
use std::sync::Arc;

use homing_types::NodeId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::exchange::Exchange;
use super::host::Host;
use super::pipe::Window;
use crate::{Body, BoxFuture, Connection, Head, Limits, Peer, Reply, SendError, SendErrorKind, prepare};

/// One connection. It ends with its handle and its last exchange.
pub(super) struct Link {
    pub(super) host: Arc<Host>,
    pub(super) from: NodeId,
    /// What flows to the listener.
    pub(super) up: Window,
    /// What flows to the one who dialled.
    pub(super) down: Window,
    peer: Peer,
    limits: Limits,
    places: Arc<Semaphore>,
}

impl Link {
    /// Connects, if the host takes one more connection.
    pub(super) fn open(host: Arc<Host>, from: NodeId, peer: Peer, limits: Limits) -> Option<Arc<Self>> {
        if !host.connect() {
            return None;
        }
        let max_streams = limits.max_streams.min(host.limits().max_streams);
        Some(Arc::new(Self {
            up: Window::of(host.limits()),
            down: Window::of(&limits),
            places: Arc::new(Semaphore::new(max_streams as usize)),
            host,
            from,
            peer,
            limits,
        }))
    }

    pub(super) fn connection(self: Arc<Self>) -> Arc<dyn Connection> {
        Arc::new(MemoryConnection(self))
    }

    pub(super) fn not_sent(&self) -> SendError {
        let why = if self.host.is_lost() { "the connection was lost" } else { "it is shutting down" };
        SendError::not_sent(SendErrorKind::Unreachable, format!("{}: {why}", self.peer))
    }

    pub(super) fn maybe_sent(&self, kind: SendErrorKind, why: &str) -> SendError {
        SendError::maybe_sent(kind, format!("{}: {why}", self.peer))
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit, SendError> {
        let place = tokio::select! {
            biased;
            () = self.host.closed() => None,
            place = Arc::clone(&self.places).acquire_owned() => place.ok(),
        };
        place.ok_or_else(|| self.not_sent())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.host.disconnect();
    }
}

struct MemoryConnection(Arc<Link>);

impl Connection for MemoryConnection {
    fn send(
        &self,
        mut head: Head,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, SendError>> {
        let link = Arc::clone(&self.0);
        Box::pin(async move {
            let (request, outgoing) = prepare(&head, request, 0, &link.limits)?;
            let place = outgoing.place(link.place()).await??;
            outgoing.count_down(&mut head);
            outgoing.guard(outgoing.run(pin!(Exchange::run(&link, place, head, request))).await)
        })
    }

    fn is_open(&self) -> bool {
        self.0.host.is_open()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.host.closed())
    }
}
