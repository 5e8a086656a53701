//! The reference service of Homing: a replicated key-value store for each space.
//!
//! **Never knows** how a request came here: no table, no wire, no router internals. It is given
//! its grant with each request, and trusts its own disk more: an epoch below the highest that it has
//! seen for a space is refused, whoever brings it.
//!
//! The protocol is PacificA (Lin, Yang, Zhang, Zhou: "PacificA: Replication in Log-Based Distributed Storage
//! Systems", MSR-TR-2008-25): a primary and its in-sync replicas, and an authority outside that says
//! who they are. Each space has a log of entries, labelled with the epoch of the primary that wrote
//! them and their place. A write is
//!
//! 1. *proposed*: synced to the primary's log, before anybody else sees it,
//! 2. *accepted*: synced to the log of every in-sync replica,
//! 3. *committed* at the primary: applied to what reads show, with the result under its idempotency key,
//! 4. committed at every in-sync replica, and only then acknowledged.
//!
//! So whatever dies after an acknowledgement, every in-sync copy holds the write and shows it. The core
//! ([`Store`], [`Progress`]) is synchronous and asks for no time and no randomness.

#[cfg(feature = "disk")]
mod disk;
mod entry;
#[cfg(feature = "grpc")]
mod face;
mod generated;
mod limits;
mod messages;
mod progress;
mod refusal;
mod store;

#[cfg(feature = "disk")]
pub use disk::{Coin, Disk};
pub use entry::{Applied, Entry, Item, Op, Position, Record, Standing};
#[cfg(feature = "grpc")]
pub use face::{Kv, REPLICA_PATH};
#[cfg(feature = "grpc")]
pub use generated::kv as proto;
pub use limits::{
    Key, LimitError, MAX_BYTES, MAX_KEY, MAX_PAGE, MAX_RECORDS, MAX_TAIL, MAX_VALUE, Page, Value,
};
pub use messages::{Accept, DecodeError, Part, Reply, Request, RequestKind, decode_reply, encode_reply};
pub use progress::Progress;
pub use refusal::{OpError, Refusal};
pub use store::{Batch, Export, Identity, Listed, Listing, Proposal, Store, StoreError};
