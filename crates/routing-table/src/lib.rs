//! Who owns which space: immutable snapshots, diffs that apply atomically, and the receive rule.
//!
//! **Never knows** tokio, sockets, health or addresses. Who asks, how a diff spreads and whether a node lives is
//! not its matter: it holds what an authority minted, and the highest epoch wins.
//!
//! # Consistency
//!
//! **During a diff.** [`RoutingTable::apply`] makes the next [`Snapshot`] aside and publishes it by one pointer. A reader that
//! loads before that sees nothing of the diff, one that loads after it sees all of it, and whoever holds a snapshot goes
//! on seeing what he saw. Once `apply` has returned, every load that happens after it sees the diff, or a later state. What
//! one thread loads never goes back: versions rise, and no slot's epoch falls. A diff that breaks a bound changes nothing.
//!
//! **Readers never wait**, neither for a writer nor for each other: a load is a few instructions without a loop. There are three:
//!
//! | | costs | may be kept |
//! |---|---|---|
//! | [`RoutingTable::load`] | a pinned epoch | for a look: while it lives, nothing that was replaced meanwhile is freed, in any table of the process |
//! | [`RoutingTable::snapshot`] | as `load`, and a count | for as long as one likes: it holds what is its own alone |
//! | [`Reader::load`] | a comparison | until the next load of this handle, which until then holds the snapshot it saw last |
//!
//! **How long an old snapshot lives.** Until the last [`Loaded`], [`Reader`] or `Arc` of it is gone. If that was so when the next was
//! published, the writer frees it before `apply` returns; else the first later `apply` that publishes does, and no reader: one
//! that was kept across the last diff of all stays until the table goes. Snapshots share what is equal: an old one costs the branches and pins that were replaced since, some 8 KiB a branch.
//!
//! **Two writers at once** apply one after the other, each to what the other has left. Diffs commute: in whatever order,
//! grouping and number they arrive, tables that took the same groups are equal, and so are their digests. Two things break that:
//! - An epoch minted twice with different groups: the first that came stays, the slot is marked as in
//!   [conflict](Snapshot::conflict) and takes no writes until a higher epoch comes.
//! - A diff that was refused since the table was full ([`ApplyError`]): it has to come again when there is room.
//!
//! Digests tell tables apart that differ by accident. They are no proof against a member that lies: the hash isn't cryptographic.
//!
//! A diff that brings nothing new waits for nobody: it is compared, counted and left.

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
