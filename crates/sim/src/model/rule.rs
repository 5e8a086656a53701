//! What is held against each state, in the words in which it is told.

pub(super) const PATH: &str = "a node, epoch and relay flag twice on a path";
pub(super) const HOPS: &str = "more than three hops";
pub(super) const RELAY: &str = "a relay that passes its request on as one";
pub(super) const OLD: &str = "executed on knowledge that is known to be old";
pub(super) const EPOCH: &str = "a node's epoch fell";
pub(super) const TWICE: &str = "a write was executed twice";
pub(super) const TAUGHT: &str = "a caller that is answered out of a newer epoch and not taught";
pub(super) const HELD: &str = "what was acknowledged is at both owners";
pub(super) const FAIR: &str = "in a fair schedule every call ends, and a new one is acknowledged";
/// The one that must be met at least once.
pub(super) const RETRIED: &str = "a stale forward and a deduplicated retry in one run";
