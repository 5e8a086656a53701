use std::time::Duration;

use bytes::Bytes;
use homing_transport::{Body, BoxFuture, Sent};
use homing_types::{Access, Epoch, Execution, Grant, IdempotencyKey, NodeId, Owners, SpaceKey};
use thiserror::Error;
use tokio::time::Instant;

/// What Homing brings requests to.
pub trait Service: Send + Sync + 'static {
    /// Executes one request under its grant.
    ///
    /// The future is dropped when the caller gives up. It must not block its thread, and never until another request arrives: those
    /// of the same connection may wait while it runs from one await to the next. What takes longer than 100 µs is for `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// [`Declined`] where the service did not, or may not have, executed the request. An error of the
    /// service's own is an answer, not a [`Declined`].
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>>;

    /// Whether a write that bears an idempotency key is executed once, however often it arrives. Only then
    /// is one that may have been executed tried again.
    fn dedupes(&self) -> bool {
        false
    }
}

/// A request with the right to execute it.
#[derive(Debug)]
pub struct Granted {
    /// The right: for which space, in which role, under which epoch.
    pub grant: Grant,
    /// What the request wants of the space.
    pub access: Access,
    /// When the answer must be ready. It lies a little before the caller's own deadline, so that an
    /// explanation still arrives in time.
    pub deadline: Instant,
    /// When it must have begun, at most the deadline: then whoever asks gives this attempt up and asks another. A service that
    /// calls on through another router ends that call by then, or both try again.
    pub reply_by: Instant,
    /// Names the write.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The oldest answer of a replica that will do. A replica says how old its own may be with the header `homing-age-ms`; one
    /// that doesn't, or that is too old, counts as not ready.
    pub max_age: Option<Duration>,
    /// The request.
    pub request: http::Request<Body>,
}

/// Why a service has no answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Declined {
    /// Whether the request may have been executed all the same.
    pub execution: Execution,
    /// When to try again.
    pub retry_after: Duration,
    /// Why, in one line for people.
    pub reason: String,
}

/// What a service may ask of its cluster: whom it shares a space with, and a word with them.
pub trait Peers: Send + Sync + 'static {
    /// The owners of a space and the epoch that says so, as this node knows them now.
    fn owners(&self, key: SpaceKey) -> Option<(Epoch, Owners)>;

    /// Sends one message to the member `to`, for the [`DirectService`] mounted there at `path`.
    ///
    /// # Errors
    /// [`DirectError`] says whether the message may have arrived.
    fn direct<'a>(
        &'a self,
        to: &'a NodeId,
        path: &'static str,
        message: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, DirectError>>;
}

/// What receives direct messages of members: replication, pulls, pings.
pub trait DirectService: Send + Sync + 'static {
    /// Answers one message of the member `from`.
    ///
    /// # Errors
    /// A line that says why there is no answer; the sender gets it as a [`DirectError`] that may have arrived.
    fn call(&self, from: NodeId, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// Why a direct message has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct DirectError {
    /// Whether the message may have arrived.
    pub sent: Sent,
    /// Why, in one line for people.
    pub message: String,
}
