//! What is on its way.

use homing_kv::Position;
use homing_types::Outcome;

use super::copies::MessageId;

/// A message between two of a cluster. It arrives at any time, or never.
///
/// Replies are no messages: whoever waits hears what is said at once, or not at all. That is all there is to tell apart, as
/// what a caller or a primary has heard shows only in what it does next, which may be late.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Message {
    /// A routed request.
    Request(Request),
    /// A primary's request to its replica. It stays on its way: it may arrive again at any time.
    Replicate { from: u8, to: u8, message: MessageId },
}

/// One attempt of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Ask {
    pub(super) caller: u8,
    pub(super) attempt: u8,
}

/// A routed request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Request {
    pub(super) ask: Ask,
    pub(super) to: u8,
    pub(super) believed: u64,
    pub(super) hops_left: u8,
    pub(super) relay: bool,
    /// Each node that had it, what it was told to believe, and the relay flag.
    pub(super) path: Vec<(u8, u64, bool)>,
}

/// What a reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// The service's answer: the write is this entry.
    Done(Position),
    /// No answer of the service.
    Outcome(Outcome),
}
