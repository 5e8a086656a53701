//! The form of heads on each wire.

pub mod binary;
pub mod headers;
pub mod varint;
