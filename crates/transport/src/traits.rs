use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use homing_types::NodeId;

use crate::{Body, Head, Reply, SendError};

/// A future on the heap: these traits are used as objects, so that one build can hold several wires.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A wire between nodes, as the one who dials sees it.
///
/// What a connection must do is written down as tests: see the `contract` module.
pub trait Transport: Send + Sync + 'static {
    /// The wire's name in metrics and logs: `grpc`, `quic` or `memory`.
    fn name(&self) -> &'static str;

    /// Opens one connection to a peer and proves that it is who was dialled.
    ///
    /// # Errors
    /// Always [`Sent::NotSent`](crate::Sent::NotSent).
    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>>;
}

/// One connection to one peer. Dropping the last handle closes it once its requests have ended.
pub trait Connection: Send + Sync + 'static {
    /// Sends one request and waits for the head of its reply.
    ///
    /// What can leave at once does when this is called. The future doesn't count as a handle: the connection may be dropped meanwhile, and the exchange goes
    /// on. Dropping the future, or a body before its end, cancels the exchange at the peer too.
    ///
    /// # Errors
    /// [`SendError`] says whether the request may have been executed.
    fn send(&self, head: Head, request: http::Request<Body>) -> BoxFuture<'static, Result<Reply, SendError>>;

    /// Whether the connection takes new requests. `false` is final.
    fn is_open(&self) -> bool;

    /// Ends when the connection takes no new requests any more.
    fn closed(&self) -> BoxFuture<'_, ()>;
}

/// A peer to dial.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    /// Who it must be.
    pub node: NodeId,
    /// Where it listens: `host:port`.
    pub address: String,
}

/// As errors name it: `n3 (127.0.0.1:7420)`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.node, self.address)
    }
}

/// What a connection is for. Control traffic has connections of its own, so it never queues behind payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Routed requests.
    Payload,
    /// Direct requests.
    Control,
}

/// What receives requests: the other end of a [`Transport`].
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of the member `from`, whose certificate was checked.
    ///
    /// The future is dropped when the sender cancels or the deadline passes. It must not block its thread: requests of the same connection may
    /// wait while it runs from one await to the next.
    fn handle(&self, from: NodeId, head: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply>;
}

/// The listening side of a wire. Dropping it stops at once.
pub trait Listener: Send + Sync + 'static {
    /// Where it listens: `host:port`, with the port that was really bound.
    fn address(&self) -> String;

    /// Takes no new requests, lets the running ones finish for at most `drain`, then closes.
    fn shutdown(&self, drain: Duration) -> BoxFuture<'_, ()>;
}
