//! Any node takes any request, and Homing brings it to the node that owns its space.
//!
//! **Never knows** the algorithms: they stand in the crates below, and this one puts them together.
//!
//! A service is split into *spaces* (tenants, shards); each has a primary and replicas on some nodes. A [`Node`] runs
//! inside each process of the service: it listens for its peers over gRPC or QUIC (features `grpc` and `quic`) and for
//! clients over HTTP/2 or HTTP/1.1, with TLS or without, and hands requests to a [`Service`] under a [`Grant`], on the node that owns the
//! space.
//!
//! - [`Node::start`] starts a node; [`NodeOptions`] says what it needs.
//! - [`HttpService`] makes any tower service, so any tonic server, a [`Service`].
//! - [`Channel`] enters calls in the same process, [`Client`] over the network: any tonic client works on both.
//! - [`Upstream`] is a service in another process, in any language.

mod caller;
mod channel;
mod client;
mod failure;
mod listener;
mod members;
mod node;
mod random;
mod upstream;
mod wires;

pub use caller::NODE_INFO_PATH;
pub use channel::Channel;
pub use client::{Client, ClientError};
pub use listener::{ClientLimits, ClientListener};
pub use members::{APPLY_PATH, KeepTable, MemberState, TableOutcome};
pub use node::{Mounts, Node, NodeOptions, StartError};
pub use random::random;
pub use upstream::Upstream;
pub use wires::{WIRES, Wire, WireError};

/// The headers by which a caller and a node speak.
pub mod headers {
    pub use homing_transport::wire::headers::{
        ACCESS, AGE_MS, ATTEMPT, ATTEMPTS, EPOCH, GRPC_TIMEOUT, HOPS, IDEMPOTENCY_KEY, MAX_AGE_MS, OUTCOME,
        REPLY_WITHIN_US, RETRY_AFTER_MS, ROLE, SERVED_BY, SPACE, SPACE_BIN, TIMEOUT_MS, write_space,
    };
}

pub use homing_failover::{
    AdmissionLimits, Backoff, BreakerLimits, BudgetLimits, Circuit, Limits as CallLimits, Nearest, Planned,
    Policy, Standing, Verdict,
};
pub use homing_placement as placement;
pub use homing_router::{
    Answer, Authority, Call, CallError, CallInfo, Declined, DirectError, DirectService, Directory, Gate,
    Granted, HttpService, Node as Member, OpenGate, Peers, PoolOptions, Route, Router, RouterOptions,
    Service, StaticAuthority,
};
pub use homing_routing_table as routing_table;
#[cfg(feature = "ca")]
pub use homing_transport::ca;
pub use homing_transport::{Body, BodyError, BoxFuture, Limits, tls};
pub use homing_types::*;
