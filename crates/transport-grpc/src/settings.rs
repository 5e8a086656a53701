//! What both sides tell h2 of the limits.

use homing_transport::Limits;

/// Larger than HTTP/2's 16 KiB, so that a 16 KiB message with its five bytes of prefix is one frame.
const MAX_FRAME: u32 = 64 << 10;

/// The largest window of HTTP/2 (RFC 9113, section 6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// Room for header blocks over `max_header_block`: h2 tells nobody how long a block was, so our own check
/// is to speak first. A peer may also write a correction beside its headers.
const HEADER_SLACK: usize = 128 << 10;

/// h2 counts 256 bytes for each unread frame below that, and closes the connection past its budget. This
/// lets one slow reader have its window full of the smallest gRPC messages (five bytes).
const SMALL_FRAMES: usize = 64;

/// How many requests may be reset before they were accepted. h2 accepts after it has read all there is,
/// which the sockets' buffers bound; so a burst of cancelled calls doesn't cost the connection.
const EARLY_RESETS: usize = 1 << 16;

pub(crate) fn client(limits: &Limits) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .max_frame_size(MAX_FRAME)
        .initial_window_size(limits.stream_window.min(MAX_WINDOW))
        .initial_connection_window_size(limits.connection_window.min(MAX_WINDOW))
        .max_header_list_size(header_list(limits))
        .max_concurrent_reset_streams(limits.max_streams as usize)
        // It counts over a connection's whole life, and each cancelled call whose reply was under way counts.
        .max_local_error_reset_streams(None)
        .data_frame_budget(small_frames(limits));
    builder
}

pub(crate) fn server(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_frame_size(MAX_FRAME)
        .initial_window_size(limits.stream_window.min(MAX_WINDOW))
        .initial_connection_window_size(limits.connection_window.min(MAX_WINDOW))
        .max_header_list_size(header_list(limits))
        .max_concurrent_reset_streams(limits.max_streams as usize)
        .max_pending_accept_reset_streams(EARLY_RESETS)
        // As above; only members come this far.
        .max_local_error_reset_streams(None)
        .data_frame_budget(small_frames(limits));
    builder
}

fn header_list(limits: &Limits) -> u32 {
    let size = limits.max_header_block.saturating_mul(2).saturating_add(HEADER_SLACK);
    u32::try_from(size).unwrap_or(u32::MAX)
}

const fn small_frames(limits: &Limits) -> usize {
    (limits.stream_window as usize).saturating_mul(SMALL_FRAMES)
}
