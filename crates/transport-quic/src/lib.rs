//! Homing over QUIC (RFC 9000): a [`Transport`](homing_transport::Transport) and a
//! [`Listener`](homing_transport::Listener) on quinn.
//!
//! **Never knows** the other wires, nor anything of routing: heads are encoded and carried, never read.
//!
//! - One dial is one connection, one request is one bidirectional stream. Each side sends a HEAD, the body as
//!   DATA and then END or TRAILERS. A stream that finishes without one of these was cut short: a dropped quinn
//!   stream finishes itself, so here it is reset on drop.
//! - The listener speaks first, on a stream of its own: HELLO once it has accepted who dialled, so that a
//!   refusal is seen while dialling; GOAWAY when it shuts down, since a QUIC close may never arrive.
//! - A connection ends when its handle was dropped, or GOAWAY came, and its last exchange is over.
//! - A peer that doesn't answer is told apart from one that died by asking its kernel.

mod body;
mod config;
mod connection;
mod dial;
mod frame;
mod gate;
mod listen;
mod probe;
mod requests;
mod runtime;
mod session;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub use config::QuicError;
pub use dial::QuicTransport;
pub use listen::QuicListener;
