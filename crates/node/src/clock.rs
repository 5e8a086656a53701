//! The wall clock. Only certificates and the names of writes may read it: it steps.

use std::time::{Duration, SystemTime};

/// What the wall clock says.
#[allow(
    clippy::disallowed_methods,
    reason = "certificates are valid by the wall clock, and a UUIDv7 bears its time"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// What the wall clock says, since the Unix epoch.
pub(crate) fn since_epoch() -> Duration {
    now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
