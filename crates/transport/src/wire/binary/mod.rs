//! The compact form of heads, for wires that need no HTTP headers of their own.
//!
//! A block begins with a version byte and one byte of flags, which say what of the optional follows. Texts
//! and byte strings have their length before them ([`varint`](super::varint)), epochs are 8 bytes big-endian,
//! durations are microseconds. Headers come last and run to the end of the block.
//!
//! What an intermediary must not pass on (RFC 9110, section 7.6.1) and the URI's scheme and authority, which
//! name a connection that isn't this one, don't travel.

mod fields;
mod headers;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use headers::{decode_trailers, encode_trailers};
pub use reply::{decode_reply, encode_reply};
pub use request::{decode_request, encode_request, head_len};

/// The version of this form. A block of another version is refused.
const VERSION: u8 = 1;

/// Why a block can't be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The block is of a version that this node doesn't know.
    #[error("the head has version {found} and this node reads version 1: run one version of Homing on both")]
    Version {
        /// The version it has.
        found: u8,
    },
    /// The block ends too soon.
    #[error("the block ends in the middle of its {field}: the sender must write all of it")]
    CutShort {
        /// Where it ends.
        field: &'static str,
    },
    /// A field can't be what it says.
    #[error("the {field} is not valid: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// Why, and what would be right.
        why: String,
    },
    /// The headers are over the limit.
    #[error("the header block of {size} bytes is over the limit of {limit} bytes (max_header_block)")]
    TooLarge {
        /// The block's length, counted as in RFC 9113, section 6.5.2.
        size: usize,
        /// The limit.
        limit: usize,
    },
}

impl WireError {
    fn invalid(field: &'static str, why: impl ToString) -> Self {
        Self::Invalid { field, why: why.to_string() }
    }
}
