//! Homing over gRPC: one HTTP/2 connection (RFC 9113) with mutual TLS for each dial.
//!
//! **Never knows** quinn, failover, the table, or what a body means: unary and streaming gRPC and plain
//! HTTP pass through alike.
//!
//! It stands on `h2` itself, since what lies above it hides what this wire must know: whether a request was
//! ever written ([`Sent`](homing_transport::Sent)), whether a body really ended or was cut short, and when
//! the peer said GOAWAY.
//!
//! - [`GrpcTransport`] dials, and proves that both sides accept each other before a dial ends.
//! - [`GrpcListener`] accepts, answers by a [`Handler`](homing_transport::Handler), and drains.

mod accepted;
mod connection;
mod fault;
mod incoming;
mod keepalive;
mod listener;
mod nudge;
mod pump;
mod settings;
mod tcp;
mod transport;
mod upload;

pub use listener::{GrpcListener, ListenError};
pub use transport::GrpcTransport;
