//! How long a peer takes to answer, as far as anybody knows now.
//!
//! Two numbers, for two questions. *Whom of two equals?* wants to hear of trouble at once: the peak-sensitive average of
//! Finagle and linkerd ("peak EWMA") jumps to a slow answer and forgets it with time. *Is the next tier better?* moves
//! all traffic at once, so one hiccup must not decide it: that is a plain average.
//!
//! A failure is not an answer, however fast it came. It lowers the share of successes, and a peer that succeeds
//! half of the time costs twice its latency: as long as a call that has to try again.

use std::time::Duration;

use homing_types::Time;

/// How fast what was measured is forgotten: after this time it weighs 1/e.
const MEMORY: Duration = Duration::from_secs(10);

/// After so long without an answer nothing is sure any more, and one request may find out.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Answers before the average is believed.
const ENOUGH: u32 = 8;

/// The time that they must span: what comes in one burst is slow or fast together, and says nothing of the peer.
const LONG_ENOUGH: Duration = Duration::from_secs(1);

/// How far one attempt moves the share of successes.
const STEP: f64 = 1.0 / 8.0;

/// In seconds: less than any answer over a network takes. It lets requests in flight count where nothing was measured.
const LEAST: f64 = 10e-6;

/// Nobody fails so often that it is worth less than a hundredth.
const WORST: f64 = 0.01;

/// The estimates of one peer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Latency {
    /// In seconds.
    peak: f64,
    mean: f64,
    answers: u32,
    success: f64,
    /// The first answer that counts, and the last.
    since: Time,
    answered: Time,
    at: Time,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            peak: 0.0,
            mean: 0.0,
            answers: 0,
            success: 1.0,
            since: Time::ZERO,
            answered: Time::ZERO,
            at: Time::ZERO,
        }
    }
}

impl Latency {
    /// An answer came after this time.
    pub(crate) fn answered(&mut self, took: Duration, now: Time) {
        let old = self.pass(now);
        let took = took.as_secs_f64();
        // What was never enough, and is old, is no beginning.
        if !self.is_enough() && (self.answers == 0 || now.since(self.answered) > FORGOTTEN) {
            (self.since, self.answers) = (now, 0);
        }
        self.answered = self.answered.max(now);
        self.answers = self.answers.saturating_add(1);
        let new = (1.0 - old).max(1.0 / f64::from(self.answers));
        self.mean += (took - self.mean) * new;
        self.peak = if took > self.peak { took } else { self.peak + (took - self.peak) * (1.0 - old) };
        self.success += (1.0 - self.success) * STEP;
    }

    /// An attempt failed after this time: an answer would have taken at least as long.
    pub(crate) fn failed(&mut self, took: Duration, now: Time) {
        self.pass(now);
        self.peak = self.peak.max(took.as_secs_f64());
        self.success -= self.success * STEP;
    }

    /// What the next of `in_flight` + 1 requests costs: its share of the latency at peak, by the share of successes.
    pub(crate) fn cost(&self, in_flight: u32, now: Time) -> f64 {
        let idle = decay(now.since(self.at));
        (self.peak * idle).max(LEAST) * f64::from(in_flight + 1) / self.success_at(now)
    }

    /// How long an answer takes on average, failures counted in; `None` while that isn't known.
    pub(crate) fn expected(&self, now: Time) -> Option<Duration> {
        self.is_enough().then(|| Duration::from_secs_f64(self.mean / self.success_at(now)))
    }

    fn is_enough(&self) -> bool {
        self.answers >= ENOUGH && self.answered.since(self.since) >= LONG_ENOUGH
    }

    /// Whether what is known is so old that a request should find out.
    pub(crate) fn is_old(&self, now: Time) -> bool {
        now.since(self.at) > FORGOTTEN
    }

    fn success_at(&self, now: Time) -> f64 {
        (1.0 - (1.0 - self.success) * decay(now.since(self.at))).max(WORST)
    }

    /// Lets time pass, and returns how much of the old still counts.
    fn pass(&mut self, now: Time) -> f64 {
        self.success = self.success_at(now);
        let old = decay(now.since(self.at));
        self.at = self.at.max(now);
        old
    }
}

fn decay(passed: Duration) -> f64 {
    (-passed.as_secs_f64() / MEMORY.as_secs_f64()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// A peer that answered `n` times in 2 ms, ten times a second.
    fn steady(n: u64) -> (Latency, Time) {
        let mut latency = Latency::default();
        for i in 0..n {
            latency.answered(ms(2), at(i * 100));
        }
        (latency, at(n * 100))
    }

    fn expected(latency: &Latency, now: Time) -> f64 {
        latency.expected(now).unwrap().as_secs_f64() * 1_000.0
    }

    #[test]
    fn a_slow_answer_counts_at_once_among_equals_and_hardly_between_tiers() {
        let (mut latency, now) = steady(100);
        let before = latency.cost(0, now);
        latency.answered(ms(200), now);
        assert!(latency.cost(0, now) > 50.0 * before);
        assert!(expected(&latency, now) < 6.0, "{}", expected(&latency, now));
        let later = now + ms(30_000);
        assert!(latency.cost(0, later) < 0.06 * latency.cost(0, now), "it is forgotten with time");
    }

    #[test]
    fn a_peer_that_is_always_slow_is_known_as_slow_everywhere() {
        let (mut latency, now) = steady(20);
        for i in 0..1_000 {
            latency.answered(ms(200), now + ms(10 * i));
        }
        assert!(expected(&latency, now + ms(10_000)) > 100.0);
    }

    #[test]
    fn a_fast_failure_is_not_a_low_latency() {
        let (mut good, now) = steady(100);
        let mut bad = good;
        for i in 0..16 {
            good.answered(ms(2), now + ms(i));
            bad.failed(Duration::from_micros(10), now + ms(i));
        }
        let now = now + ms(16);
        assert!(bad.cost(0, now) > 5.0 * good.cost(0, now));
        assert!(expected(&bad, now) > 5.0 * expected(&good, now));
        let healed = now + ms(60_000);
        assert!(bad.success_at(healed) > 0.99, "and is forgotten with time");
    }

    #[test]
    fn one_failure_in_a_hundred_hardly_counts() {
        let (mut latency, now) = steady(100);
        let before = expected(&latency, now);
        for i in 0..1_000 {
            let now = now + ms(i);
            if i % 100 == 0 { latency.failed(ms(1), now) } else { latency.answered(ms(2), now) }
        }
        assert!(expected(&latency, now + ms(1_000)) < 1.2 * before);
    }

    #[test]
    fn requests_in_flight_and_timeouts_raise_the_cost() {
        let (mut latency, now) = steady(100);
        assert!((latency.cost(9, now) / latency.cost(0, now) - 10.0).abs() < 1e-9);
        latency.failed(ms(2_000), now);
        assert!(latency.cost(0, now) > 2.0);
    }

    #[test]
    fn a_burst_is_not_believed_whatever_else_comes_long_before_or_after_it() {
        let burst = |latency: &mut Latency, from: u64| {
            (0..u64::from(ENOUGH)).for_each(|i| latency.answered(ms(20), at(from + i)));
        };
        let mut before = Latency::default();
        before.answered(ms(2), at(0));
        burst(&mut before, 60_000);
        assert_eq!(before.expected(at(60_100)), None);
        let mut after = Latency::default();
        burst(&mut after, 0);
        after.failed(ms(2), at(2_000));
        assert_eq!(after.expected(at(2_000)), None, "a failure is no answer");
    }

    #[test]
    fn little_and_old_knowledge_is_none() {
        let (latency, now) = steady(u64::from(ENOUGH) - 1);
        assert_eq!(latency.expected(now), None);
        let (mut latency, now) = steady(u64::from(ENOUGH));
        assert_eq!(latency.expected(now), None, "too short a time");
        latency.answered(ms(2), at(1_000));
        assert!(latency.expected(now).is_some() && !latency.is_old(now));
        let later = now + ms(40_000);
        assert!(latency.is_old(later));
        latency.answered(ms(50), later);
        assert!(expected(&latency, later) > 40.0 && !latency.is_old(later), "one answer renews it");
    }
}
