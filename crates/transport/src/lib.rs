//! How a request crosses from one node to another: the [`Transport`] trait and all that its
//! implementations share.
//!
//! **Never knows** tonic, quinn or hyper, nor anything of routing: a group that travels with a request
//! is opaque bytes here, and an epoch is a number that is carried.
//!
//! - [`Head`] and [`ReplyHead`] are what Homing says about a request and its reply; [`wire`] is their form
//!   as HTTP headers (gRPC) and as a compact block (QUIC).
//! - [`Body`] streams both ways with trailers; a small one is not boxed.
//! - [`SendError`] says above all whether anything was sent.
//! - [`tls`] is who speaks: mutual TLS whose certificate names one node.
//! - [`memory`] is a whole transport inside one process.
//! - `contract` (a feature, for tests) is the suite that every transport passes.

#[cfg(feature = "ca")]
pub mod ca;
#[cfg(feature = "contract")]
pub mod contract;
pub mod memory;
pub mod tls;
pub mod wire;

mod body;
mod deferred;
mod error;
mod guard;
mod head;
mod limits;
mod serve;
mod traits;

pub use body::{Body, BodyError, LITTLE};
pub use deferred::{Deferred, Handed};
pub use error::{SendError, SendErrorKind, Sent};
pub use guard::TooLarge;
pub use head::{Head, Kind, Reply, ReplyHead, Routed};
pub use limits::Limits;
pub use serve::{Outgoing, is_grpc, prepare, serve};
pub use traits::{BoxFuture, Connection, Handler, Lane, Listener, Peer, Transport};
