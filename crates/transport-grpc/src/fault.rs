//! What h2's errors mean: whether the peer's handler saw the request, and what became of a body.

use std::{fmt, io};

use h2::Reason;
use homing_transport::{BodyError, Peer, SendError, SendErrorKind};

/// Why a connection takes no new requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer said so.
    GoingAway,
    /// Its socket has ended.
    Lost,
    /// Its peer gave no sign of life.
    Silent,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GoingAway => "takes no new requests",
            Self::Lost => "the connection was lost",
            Self::Silent => "no sign of life within keepalive_timeout",
        })
    }
}

/// Why a request that was handed to h2 has no reply; `end` is how the connection has ended, if it has.
pub(crate) fn send(peer: &Peer, error: &h2::Error, end: Option<End>) -> SendError {
    if was_never_processed(error) {
        let message = format!("{peer}: {}", End::GoingAway);
        return SendError::not_sent(SendErrorKind::Unreachable, message);
    }
    let (kind, message) = if end == Some(End::Silent) {
        (SendErrorKind::Lost, format!("{peer}: {}", End::Silent))
    } else if let Some(error) = error.get_io() {
        (SendErrorKind::Lost, format!("{peer}: {}: {}", End::Lost, io(error)))
    } else if error.is_library() {
        (SendErrorKind::Protocol, format!("{peer}: breaks HTTP/2: {error}"))
    } else {
        let reason = error.reason().unwrap_or(Reason::CANCEL);
        (SendErrorKind::Lost, format!("{peer}: gave the request up: {reason}"))
    };
    SendError::maybe_sent(kind, message)
}

/// RFC 9113 gives two proofs that no handler saw a request. One is REFUSED_STREAM (section 8.7). The other
/// is a GOAWAY whose last stream is before the request's (section 6.8): only to those does h2 give the
/// peer's GOAWAY as their error, any other stream of a connection that ends gets an I/O error.
fn was_never_processed(error: &h2::Error) -> bool {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (refused || error.is_go_away())
}

/// Why a body ended before its end.
pub(crate) fn body(error: &h2::Error) -> BodyError {
    if error.is_io() || error.is_go_away() {
        BodyError::Lost
    } else if error.is_library() {
        BodyError::Protocol(error.to_string())
    } else {
        BodyError::Aborted
    }
}

/// An error as one of I/O, which most are.
pub(crate) fn into_io(error: h2::Error) -> io::Error {
    let text = error.to_string();
    error.into_io().unwrap_or_else(|| io::Error::other(text))
}

/// What went wrong below HTTP/2, for people: the cause alone, without its number.
pub(crate) fn io(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(_) => error.kind().to_string(),
        None => error.to_string(),
    }
}
