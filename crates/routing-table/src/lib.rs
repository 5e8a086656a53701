//! Who owns which space: immutable snapshots, diffs that apply atomically, and the receive rule.
//!
//! **Never knows** tokio, sockets, health or addresses. Who asks, how a diff spreads and whether a node lives is
//! not its matter: it holds what an authority minted, and the highest epoch wins.
//!
//! # Consistency
//! - A reader sees a diff whole or not at all: [`RoutingTable::apply`] publishes one pointer.
//! - Readers never wait, for a writer or for each other. [`RoutingTable::load`] is a guard for a short look: it must not be
//!   kept, since it delays the release of old snapshots. [`RoutingTable::snapshot`] may be kept for as long as one likes.
//! - Two writers at once apply one after the other. Diffs commute: in whatever order, grouping and number they arrive, the
//!   table that holds all of them is the same. (As long as no epoch was minted twice; a table notices, and says `conflict`.)

#![deny(unsafe_code)]

mod branch;
mod diff;
mod digest;
mod export;
mod group;
mod hash;
mod lookup;
mod nodes;
mod packed;
mod pins;
mod publish;
mod receive;
mod replace;
mod snapshot;
mod sync;
mod table;
mod wire;

pub use diff::{Diff, DiffError};
pub use digest::{BRANCHES, Digest};
pub use group::Group;
pub use lookup::Lookup;
pub use nodes::MAX_NODES;
pub use receive::{Decision, Known, NotReadyReason, Pull, Received, receive};
pub use snapshot::Snapshot;
pub use table::{Applied, ApplyError, Counters, Loaded, MAX_PINS, Reader, RoutingTable};
pub use wire::{DecodeError, MAX_DIFF_LEN};
