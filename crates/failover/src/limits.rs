//! What a call may take.

use std::time::Duration;

use crate::Backoff;

/// The bounds of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most attempts of one call. It is a fuse, not a policy: choose more than fit before the deadline, and a
    /// call only meets it when nodes fail as fast as they are asked.
    pub max_attempts: u32,
    /// How long a call lasts that brings no deadline of its own.
    pub deadline: Duration,
    /// The gaps between two walks through the candidates.
    pub backoff: Backoff,
    /// The most that one attempt waits for its reply, where another attempt may follow it. Choose more than the
    /// slowest honest request takes: an attempt past it is given up and its work is lost.
    pub attempt_timeout: Duration,
}

impl Default for Limits {
    /// 256 attempts, 10 s, the default backoff, 2 s an attempt.
    fn default() -> Self {
        Self {
            max_attempts: 256,
            deadline: Duration::from_secs(10),
            backoff: Backoff::default(),
            attempt_timeout: Duration::from_secs(2),
        }
    }
}
