use thiserror::Error;

/// Why a request has no reply, and whether it may have been executed all the same.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct SendError {
    /// Whether anything reached the peer's handler.
    pub sent: Sent,
    /// What went wrong.
    pub kind: SendErrorKind,
    /// One line for people.
    pub message: String,
}

/// Whether a request reached the peer's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sent {
    /// Certainly not: it may be tried elsewhere at once, a write too.
    NotSent,
    /// Nobody can tell: a write without an idempotency key must not be tried again.
    MaybeSent,
}

/// What kept a request from its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendErrorKind {
    /// The peer can't be reached, or doesn't take new requests.
    Unreachable,
    /// The peer is not who was dialled, or refuses us.
    Identity,
    /// The connection was lost.
    Lost,
    /// The deadline passed.
    Deadline,
    /// The request breaks a limit; it would break it anywhere.
    Limit,
    /// The request's own body failed.
    Body,
    /// The peer broke the protocol.
    Protocol,
}

impl SendError {
    /// An error before anything was sent.
    #[must_use]
    pub fn not_sent(kind: SendErrorKind, message: impl Into<String>) -> Self {
        Self { sent: Sent::NotSent, kind, message: message.into() }
    }

    /// An error after something may have been sent.
    #[must_use]
    pub fn maybe_sent(kind: SendErrorKind, message: impl Into<String>) -> Self {
        Self { sent: Sent::MaybeSent, kind, message: message.into() }
    }
}
