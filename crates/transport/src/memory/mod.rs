//! A whole transport inside one process.
//!
//! It keeps the whole contract of a real wire: bodies stream through bounded windows, requests wait for a
//! place, either side cancels, a listener drains or dies. Heads pass as values, and nobody proves who they
//! are with certificates: a [`MemoryNetwork`] is told. Nothing depends on real time, on threads or on the
//! order of a hash map, so that on a `current_thread` runtime with paused time a run can be repeated exactly.

mod connection;
mod exchange;
mod host;
mod network;
mod pipe;

pub use host::MemoryListener;
pub use network::{AddressInUse, MemoryNetwork, MemoryTransport};
