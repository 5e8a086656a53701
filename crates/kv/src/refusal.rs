use std::time::Duration;

use homing_types::Epoch;
use thiserror::Error;

use crate::{Position, Standing, StoreError};

/// Why a node didn't do what it was asked. Nothing was executed, and nothing changed but perhaps the
/// node's fence.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// A higher epoch was seen for this space: the asker's knowledge is old, and it must not go on.
    #[error("fenced: epoch {fence} was seen for this space; learn who owns it now")]
    Fenced {
        /// The highest epoch seen.
        fence: Epoch,
    },
    /// The entry that the request builds on isn't here: send from further back, or a full copy.
    #[error("a gap: the log ends at {}, committed up to {}; send what comes after", .0.last, .0.committed)]
    Gap(Standing),
    /// An entry that is here for good contradicts the request. In a cluster whose authority promotes
    /// only in-sync replicas this doesn't happen; nothing here repairs it.
    #[error("diverged: entry {at} contradicts the request; the owners of this space don't share a history")]
    Diverged {
        /// The entry.
        at: Position,
    },
    /// Too many entries wait to be committed: try again when some are.
    #[error("{tail} writes of this space wait for its replicas; try again later")]
    TailFull {
        /// How many wait.
        tail: u64,
    },
    /// The idempotency key was used for another write: use a new key for a new write.
    #[error("the idempotency key was used for another write; use a new key for a new write")]
    KeyReused,
    /// The idempotency key is older than what the space remembers. Whether its write was executed is
    /// no longer known, and it is not executed now.
    #[error("the idempotency key is older than what the space remembers; read before you write again")]
    TooLate,
    /// The idempotency key is unknown here, and was made by a clock that is ahead.
    #[error("the idempotency key was made {ahead:.0?} from now: set the clock of the one who makes the keys")]
    TooNew {
        /// How far it lies in the future of this node's clock.
        ahead: Duration,
    },
    /// This copy has just started, or was just promoted, and may hold acknowledged writes that it
    /// doesn't show yet: ask another copy, or later.
    #[error("this copy doesn't know yet which of its writes are committed; ask another copy, or later")]
    Unsettled,
    /// Another part of the full copy is due; part 0 begins anew.
    #[error("part {expected} of the full copy is due")]
    Part {
        /// The part that is due.
        expected: u32,
    },
}

/// Why an operation on a [`Store`](crate::Store) failed.
#[derive(Debug, Error)]
pub enum OpError {
    /// The operation was refused. Others in the same batch are not touched by that.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed. The batch must be given up, whole.
    #[error(transparent)]
    Store(#[from] StoreError),
}
