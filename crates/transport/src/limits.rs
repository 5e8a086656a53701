use std::time::Duration;

/// The bounds of a connection. All wires keep the same ones and say the same when they are broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest gRPC message in a body, in bytes. A stream of messages may be longer. Raise it for
    /// larger values; each call in flight may hold that much.
    pub max_message: u64,
    /// The longest header block of a request or a response, in bytes, counted as HTTP/2 counts it
    /// (RFC 9113, section 6.5.2: name + value + 32 a header).
    pub max_header_block: usize,
    /// Requests in flight on one connection. Over it, a request waits for a place until its deadline.
    pub max_streams: u32,
    /// Connections that a listener holds at a time. Over it, new ones are closed.
    pub max_connections: usize,
    /// Handshakes that a listener has under way at a time. Over it, new connections wait or are closed; so strangers
    /// can't take the CPU time of those who belong here.
    pub max_handshakes: usize,
    /// Unread bytes of one stream.
    pub stream_window: u32,
    /// Unread bytes of one connection.
    pub connection_window: u32,
    /// The time for a dial with its TLS handshake, on both sides.
    pub handshake_timeout: Duration,
    /// After how long a silent connection is probed, and how often.
    pub keepalive_interval: Duration,
    /// A connection silent for this long, although probed, is lost.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message: 4 << 20,
            max_header_block: 32 << 10,
            max_streams: 4_096,
            max_connections: 4_096,
            max_handshakes: 1_024,
            stream_window: 1 << 20,
            connection_window: 8 << 20,
            handshake_timeout: Duration::from_secs(3),
            keepalive_interval: Duration::from_secs(2),
            keepalive_timeout: Duration::from_secs(4),
        }
    }
}
