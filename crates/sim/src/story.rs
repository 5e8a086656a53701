//! What happened, line by line, and one number for all of it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The trace of a run. Cheap to clone; all clones are the same story.
#[derive(Debug, Clone)]
pub struct Story(Arc<Told>);

#[derive(Debug)]
struct Told {
    began: Instant,
    lines: Mutex<(u64, Vec<(Duration, String)>)>,
}

impl Story {
    pub(crate) fn begin() -> Self {
        Self(Arc::new(Told { began: Instant::now(), lines: Mutex::default() }))
    }

    pub(crate) fn tell(&self, line: impl Display) {
        let (at, line) = (self.0.began.elapsed(), line.to_string());
        let (hash, lines) = &mut *self.0.lines.lock();
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        *hash = xxh3_64_with_seed(line.as_bytes(), hash.rotate_left(7) ^ nanos);
        lines.push((at, line));
    }

    /// A number that two runs share only if they went alike, line by line and to the nanosecond.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.0.lines.lock().0
    }

    /// The lines, each with its time.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.0
            .lines
            .lock()
            .1
            .iter()
            .map(|(at, line)| format!("{:>9.3} ms  {line}", at.as_secs_f64() * 1e3))
            .collect()
    }
}
