//! When a read has waited long enough to ask somebody else, too.
//!
//! Most slow answers are slow by bad luck of one node (a pause, a queue, a lost packet), so a second node asked after
//! the time in which 95 % of answers come cuts the tail, for a few per cent more work: Dean and Barroso, "The Tail at
//! Scale" (CACM, 2013). The time is measured, not configured, or it would be wrong within a week.
//!
//! The estimate is one number that each answer pushes up or down, so that in the end one answer in twenty is above it:
//! Ma, Muthukrishnan, Sandler, "Frugal Streaming for Estimating Quantiles" (2013), in steps of per cents, which
//! suits latencies.

use std::time::Duration;

/// The share of answers that come before a hedge is sent.
const QUANTILE: f64 = 0.95;

/// Answers before the estimate is believed.
const ENOUGH: u32 = 50;

/// How far one answer moves the estimate, as a logarithm: large at first, and small enough later that chance moves it by
/// less than a tenth.
const FIRST_STEP: f64 = 0.5;
const LAST_STEP: f64 = 0.04;

/// Under this nobody is asked twice, whatever is measured: the second question costs as much as it saves.
const SHORTEST: Duration = Duration::from_micros(500);

/// Measures after what time a read is hedged.
#[derive(Debug, Default)]
pub struct HedgeTimer {
    seen: u32,
    /// The logarithm of the estimate, in seconds.
    estimate: f64,
}

impl HedgeTimer {
    /// An answer came, this long after its own attempt began.
    pub fn observe(&mut self, latency: Duration) {
        let latency = latency.max(Duration::from_micros(1)).as_secs_f64().ln();
        self.seen = self.seen.saturating_add(1);
        if self.seen == 1 {
            self.estimate = latency;
            return;
        }
        let step = (4.0 / f64::from(self.seen)).clamp(LAST_STEP, FIRST_STEP);
        self.estimate += if latency > self.estimate { step * QUANTILE } else { step * (QUANTILE - 1.0) };
    }

    /// After what time a read is hedged; `None` until enough was measured.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        (self.seen >= ENOUGH).then(|| Duration::from_secs_f64(self.estimate.exp()).max(SHORTEST))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Answers of about `ms` milliseconds: a half to twice that, evenly in logarithm, and one in fifty ten times as long.
    fn answer(ms: f64, rng: &mut StdRng) -> Duration {
        let stretch = 2_f64.powf(rng.random_range(-1.0..1.0));
        let slow = if rng.random_range(0..50) == 0 { 10.0 } else { 1.0 };
        Duration::from_secs_f64(ms * stretch * slow / 1_000.0)
    }

    /// The share of the next answers that come after the delay, while it goes on measuring.
    fn late(timer: &mut HedgeTimer, ms: f64, rng: &mut StdRng) -> f64 {
        let answers = 20_000;
        let late = (0..answers).filter(|_| {
            let answer = answer(ms, rng);
            let late = timer.delay().is_some_and(|delay| answer > delay);
            timer.observe(answer);
            late
        });
        late.count() as f64 / f64::from(answers)
    }

    #[test]
    fn one_answer_in_twenty_comes_after_the_delay_and_it_follows_a_shift_both_ways() {
        let rng = &mut StdRng::seed_from_u64(11);
        let mut timer = HedgeTimer::default();
        for ms in [2.0, 40.0, 4.0] {
            // What it takes to follow a tenfold change is bounded, too.
            for _ in 0..2_000 {
                timer.observe(answer(ms, rng));
            }
            let delay = timer.delay().unwrap().as_secs_f64() * 1_000.0 / ms;
            assert!((1.5..2.4).contains(&delay), "{delay} times the median, at {ms} ms");
            let late = late(&mut timer, ms, rng);
            assert!((0.045..0.055).contains(&late), "{late} are late, at {ms} ms");
        }
    }

    #[test]
    fn nothing_is_hedged_before_enough_is_known() {
        let mut timer = HedgeTimer::default();
        for _ in 0..ENOUGH {
            assert_eq!(timer.delay(), None);
            timer.observe(Duration::ZERO);
        }
        assert_eq!(timer.delay(), Some(SHORTEST));
    }
}
