use std::time::{Duration, Instant, SystemTime};

/// The time. It is read here and nowhere else.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// How long `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = now();
    work();
    start.elapsed()
}

/// Waits for a moment; a writer keeps its pace by it.
#[expect(clippy::disallowed_methods, reason = "the pace of a writer is a matter of time")]
pub fn sleep_until(deadline: Instant) {
    std::thread::sleep(deadline.saturating_duration_since(now()));
}

/// What the wall clock says, since the Unix epoch: certificates and the names of writes are made by it.
#[expect(clippy::disallowed_methods, reason = "an edge that mints keys and reads certificates")]
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
