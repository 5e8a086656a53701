//! The form of heads on each wire.

pub mod binary;
pub mod headers;
pub mod hop_by_hop;
pub mod varint;
