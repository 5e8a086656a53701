//! How long writes take here, so that none is begun that would not be done in time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The time from a write's beginning to its answer, as this node has seen it: mean and deviation, smoothed as TCP smooths its round
/// trips (RFC 6298, section 2).
///
/// A write that is executed after its caller gave up is work for nobody, and leaves the caller in doubt; one that was not begun can be told so.
#[derive(Default)]
pub(super) struct Usual(Mutex<Option<Smoothed>>);

#[derive(Clone, Copy)]
struct Smoothed {
    mean: Duration,
    deviation: Duration,
}

impl Usual {
    /// Writes that were begun together took this long.
    pub(super) fn observe(&self, took: Duration) {
        let mut smoothed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *smoothed = Some(match *smoothed {
            None => Smoothed { mean: took, deviation: took / 2 },
            Some(Smoothed { mean, deviation }) => {
                Smoothed { mean: (mean * 7 + took) / 8, deviation: (deviation * 3 + mean.abs_diff(took)) / 4 }
            }
        });
    }

    /// By when a write must be begun that came now. It may wait for half of its time in any case: else, after slow ones, nobody would find out
    /// that they are fast again.
    pub(super) fn begin_by(&self, now: Instant, deadline: Instant) -> Instant {
        let smoothed = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let takes = smoothed.map_or(Duration::ZERO, |Smoothed { mean, deviation }| mean + 4 * deviation);
        let has = deadline.saturating_duration_since(now);
        deadline - takes.min(has / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn left(usual: &Usual, has: Duration) -> Duration {
        let now = Instant::now();
        now + has - usual.begin_by(now, now + has)
    }

    #[test]
    fn a_write_keeps_the_time_that_others_took() {
        let usual = Usual::default();
        assert_eq!(left(&usual, 1_000 * MS), Duration::ZERO);
        for _ in 0..100 {
            usual.observe(100 * MS);
        }
        assert!((100 * MS..102 * MS).contains(&left(&usual, 1_000 * MS)));
        for i in 0..100 {
            usual.observe(if i % 2 == 0 { 50 * MS } else { 150 * MS });
        }
        assert!(
            (250 * MS..350 * MS).contains(&left(&usual, 1_000 * MS)),
            "of those that vary the slow ones count"
        );
    }

    /// Or a moment in which all were slow would be the last in which any was seen.
    #[test]
    fn a_write_may_wait_for_half_of_its_time_and_slow_ones_are_forgotten() {
        let usual = Usual::default();
        usual.observe(1_000_000 * MS);
        assert_eq!(left(&usual, 1_000 * MS), 500 * MS);
        assert_eq!(left(&usual, Duration::ZERO), Duration::ZERO);
        for _ in 0..200 {
            usual.observe(MS);
        }
        assert!(left(&usual, 1_000 * MS) < 5 * MS);
    }
}
