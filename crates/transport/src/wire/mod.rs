//! The form of heads on each wire.

pub mod binary;
pub mod headers;
pub mod hop_by_hop;
pub mod varint;

/// Whether every wire can carry this as a trace context: printable ASCII without blanks.
fn is_traceparent(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
