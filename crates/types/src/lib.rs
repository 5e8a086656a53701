//! The words of Homing, as types that can't be wrong.
//!
//! **Never knows** anything else of Homing: no table, no transport, no clock, no randomness, no I/O.
//! Every other crate speaks in these types, so that a space key, an epoch or a node id is checked
//! once, where it enters, and trusted afterwards.

mod access;
mod epoch;
mod grant;
mod idempotency;
mod node;
mod outcome;
mod owners;
mod space;
mod time;
mod twin;

pub use access::{Access, AccessError};
pub use epoch::Epoch;
pub use grant::{Grant, Role};
pub use idempotency::{IdempotencyKey, IdempotencyKeyError};
pub use node::{Locality, Name, NameError, NodeId, NodeIdError};
pub use outcome::{Execution, Outcome, ParseOutcomeError};
pub use owners::{MAX_REPLICAS, Owners, OwnersError, Replica, ReplicaState};
pub use space::{SLOTS, Slot, Space, SpaceError, SpaceKey};
pub use time::Time;
pub use twin::Twin;
