//! Keeps calls from a peer that fails them, and finds out when it no longer does.
//!
//! One breaker stands between a node and one peer for one access: reads that succeed must not hide that writes fail
//! (cockroach#119923). Two rules open it, since each misses what the other sees: failures in a row, at once, for a peer
//! that is gone; and a share of failures over some time, for one that fails every other call. While it is open its
//! peer stands at the back of plans, never outside: the last owner standing is still tried. The states are those of
//! Nygard, "Release It!" (2007); the way back is an active probe first, so that no caller pays for the question.
//!
//! ```text
//!            5 in a row, or < 50 % of 20 in 10 s              its time is over
//! Closed ─────────────────────────────────────────▶ Open ──────────────────────▶ Probing
//!    ▲                                              ▲  ▲     twice as long           │
//!    │ the trial succeeds         the trial fails   │  └──────── the probe fails ────┤
//!    └──────────────────────────────── HalfOpen ────┘                                │
//!                                         ▲              the probe succeeds          │
//!                                         └──────────────────────────────────────────┘
//! ```

use std::time::Duration;

use homing_types::{Time, Twin};
use rand_core::Rng;

use crate::chance::up_to;

/// When a breaker opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures in a row, none longer than `window` after the one before, that open it. Fewer find a dead peer sooner and a lossy network more often.
    pub failures: u32,
    /// The time over which the share of successes is counted.
    pub window: Duration,
    /// Attempts within the window before their share counts.
    pub at_least: u32,
    /// The share of successes, in per cent, under which it opens.
    pub percent: u32,
    /// How long it stays open the first time; each time after that without recovery it is twice as long.
    pub base: Duration,
    /// The most that it stays open.
    pub cap: Duration,
}

impl Default for BreakerLimits {
    /// 5 in a row, or under 50 % of at least 20 in 10 s; 1 s, doubling to 30 s.
    fn default() -> Self {
        Self {
            failures: 5,
            window: Duration::from_secs(10),
            at_least: 20,
            percent: 50,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(30),
        }
    }
}

/// What an attempt says of the peer it went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It answered.
    Good,
    /// It could not be reached, lost the request, or is at its limit.
    Bad,
    /// It answered that it can't serve this space now. That says little of the others, so it counts in the window and not in
    /// the row: one space that always fails must not take its neighbours along.
    Unwell,
    /// Nothing: it passed on what another said, or nobody waited for it.
    None,
}

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// Everything.
    Closed,
    /// What nobody else can serve.
    Open {
        /// When its peer is probed.
        until: Time,
    },
    /// One attempt at a time, as a trial.
    HalfOpen {
        /// Whether that one is under way.
        busy: bool,
    },
}

impl Circuit {
    /// Whether the peer stands where it would without a breaker.
    #[must_use]
    pub const fn lets_through(self) -> bool {
        matches!(self, Self::Closed | Self::HalfOpen { busy: false })
    }

    /// The word in the CLI and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen { .. } => "half-open",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { in_a_row: u32, last: Time, since: Time },
    Open { until: Time },
    Probing { until: Time, since: Time },
    HalfOpen { trial: Option<Time> },
}

impl State {
    const fn closed(since: Time) -> Self {
        Self::Closed { in_a_row: 0, last: since, since }
    }
}

/// A probe or a trial that has not ended after this time is not waited for: another one may.
const TRIAL: Duration = Duration::from_secs(5);

/// An attempt under way, for the breaker that let it go. What began before the last change says nothing about now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passage {
    change: u32,
    trial: bool,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    state: State,
    counts: Counts,
    /// How often it opened without a recovery in between.
    opened: u32,
    changes: u32,
}

impl Breaker {
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        let state = State::closed(Time::ZERO);
        Self { limits, state, counts: Counts::default(), opened: 0, changes: 0 }
    }

    pub(crate) fn circuit(&self, now: Time) -> Circuit {
        match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::Open { until } | State::Probing { until, .. } => Circuit::Open { until },
            State::HalfOpen { trial } => {
                Circuit::HalfOpen { busy: trial.is_some_and(|since| now.since(since) < TRIAL) }
            }
        }
    }

    /// Whether its time is over. Who hears yes probes the peer, and reports it: nobody else is told so.
    pub(crate) fn wants_probe(&mut self, now: Time) -> bool {
        match self.state {
            _ if Twin::BreakerNeverCloses.is_on() => false,
            State::Open { until } if until <= now => {
                self.enter(State::Probing { until, since: now });
                true
            }
            State::Probing { since, until } if now.since(since) >= TRIAL => {
                self.enter(State::Probing { until, since: now });
                true
            }
            _ => false,
        }
    }

    /// The probe that it wanted has ended.
    pub(crate) fn probed(&mut self, reached: bool, now: Time, rng: &mut dyn Rng) {
        match self.state {
            State::Probing { .. } if reached => self.enter(State::HalfOpen { trial: None }),
            State::Probing { .. } => self.open(now, rng),
            _ => {}
        }
    }

    /// An attempt begins.
    pub(crate) fn pass(&mut self, now: Time) -> Passage {
        let trial = self.circuit(now) == Circuit::HalfOpen { busy: false };
        if trial {
            self.state = State::HalfOpen { trial: Some(now) };
        }
        Passage { change: self.changes, trial }
    }

    /// An attempt has ended.
    pub(crate) fn passed(&mut self, passage: Passage, sign: Sign, now: Time, rng: &mut dyn Rng) {
        if passage.change != self.changes {
            return;
        }
        match (&mut self.state, sign) {
            (State::Closed { in_a_row, last, .. }, sign) => {
                match sign {
                    Sign::Good => *in_a_row = 0,
                    Sign::Bad => {
                        // What was long ago belongs to another row: some peers are asked hardly ever.
                        let one_row = now.since(*last) < self.limits.window;
                        *in_a_row = if one_row { *in_a_row + 1 } else { 1 };
                        *last = now;
                    }
                    Sign::Unwell | Sign::None => {}
                }
                let in_a_row = *in_a_row;
                self.counts.add(sign, self.limits.window, now);
                if in_a_row >= self.limits.failures || self.counts.under(&self.limits) {
                    self.open(now, rng);
                }
            }
            // Who was asked as the last resort and answers needs no other probe.
            (State::Open { .. } | State::Probing { .. }, Sign::Good) => {
                self.enter(State::HalfOpen { trial: None });
            }
            (State::HalfOpen { .. }, Sign::Good) => {
                self.counts = Counts::default();
                self.enter(State::closed(now));
            }
            (State::HalfOpen { .. }, Sign::Bad | Sign::Unwell) if passage.trial => self.open(now, rng),
            (State::HalfOpen { trial }, Sign::None) if passage.trial => *trial = None,
            _ => {}
        }
    }

    /// Opens for twice as long as the last time, if it has not recovered since: stayed closed for as long as it may stay
    /// open. A part of the time is drawn, so that many who lost one peer don't all ask it at once.
    fn open(&mut self, now: Time, rng: &mut dyn Rng) {
        if matches!(self.state, State::Closed { since, .. } if now.since(since) > self.limits.cap) {
            self.opened = 0;
        }
        let longest = self.limits.base.saturating_mul(2_u32.saturating_pow(self.opened)).min(self.limits.cap);
        self.opened = self.opened.saturating_add(1);
        self.enter(State::Open { until: now + longest / 2 + up_to(longest / 2, rng) });
    }

    const fn enter(&mut self, state: State) {
        self.state = state;
        self.changes = self.changes.wrapping_add(1);
    }
}

/// Attempts of this half of a window and of the one before it: so what counts is between half a window and a whole one old.
#[derive(Debug, Default)]
struct Counts {
    began: Time,
    good: [u32; 2],
    bad: [u32; 2],
}

impl Counts {
    fn add(&mut self, sign: Sign, window: Duration, now: Time) {
        let passed = now.since(self.began);
        if passed >= window {
            *self = Self { began: now, ..Self::default() };
        } else if passed >= window / 2 {
            *self = Self { began: now, good: [0, self.good[0]], bad: [0, self.bad[0]] };
        }
        match sign {
            Sign::Good => self.good[0] = self.good[0].saturating_add(1),
            Sign::Bad | Sign::Unwell => self.bad[0] = self.bad[0].saturating_add(1),
            Sign::None => {}
        }
    }

    fn under(&self, limits: &BreakerLimits) -> bool {
        let [good, bad] = [self.good, self.bad].map(|halves| u64::from(halves[0]) + u64::from(halves[1]));
        let all = good + bad;
        all >= u64::from(limits.at_least) && good * 100 < all * u64::from(limits.percent)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    struct Story {
        breaker: Breaker,
        now: Time,
        rng: StdRng,
    }

    impl Story {
        fn new() -> Self {
            let breaker = Breaker::new(BreakerLimits::default());
            Self { breaker, now: Time::ZERO, rng: StdRng::seed_from_u64(5) }
        }

        fn ends(&mut self, sign: Sign) {
            let passage = self.breaker.pass(self.now);
            self.breaker.passed(passage, sign, self.now, &mut self.rng);
        }

        fn ends_times(&mut self, times: u32, sign: Sign) {
            for _ in 0..times {
                self.ends(sign);
            }
        }

        fn probed(&mut self, reached: bool) {
            assert!(self.breaker.wants_probe(self.now), "{:?}", self.breaker.state);
            assert!(!self.breaker.wants_probe(self.now), "one probe at a time");
            self.breaker.probed(reached, self.now, &mut self.rng);
        }

        /// Waits until the breaker's time is over, and returns how long that was.
        fn waits(&mut self) -> Duration {
            let Circuit::Open { until } = self.breaker.circuit(self.now) else { panic!("it is not open") };
            let wait = until.since(self.now);
            assert!(!self.breaker.wants_probe(self.now), "its time is not over");
            self.now = until;
            wait
        }

        fn is_closed(&self) -> bool {
            self.breaker.circuit(self.now) == Circuit::Closed
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_an_answer_in_between_does_not() {
        let mut story = Story::new();
        story.ends_times(4, Sign::Bad);
        story.ends(Sign::Good);
        story.ends_times(4, Sign::Bad);
        assert!(story.is_closed());
        story.ends(Sign::Bad);
        assert!(!story.breaker.circuit(story.now).lets_through());
    }

    #[test]
    fn more_failures_than_answers_open_it_once_there_are_twenty() {
        let mut story = Story::new();
        for _ in 0..9 {
            story.ends(Sign::Bad);
            story.ends(Sign::Good);
        }
        story.ends(Sign::Bad);
        assert!(story.is_closed(), "19 say nothing yet");
        story.ends(Sign::Good);
        assert!(story.is_closed(), "half is enough");
        story.ends(Sign::Bad);
        assert!(!story.is_closed());
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut story = Story::new();
        story.ends_times(19, Sign::Unwell);
        story.now = story.now + Duration::from_secs(10);
        story.ends_times(19, Sign::Unwell);
        assert!(story.is_closed());
        story.now = story.now + Duration::from_secs(6);
        story.ends(Sign::Unwell);
        assert!(!story.is_closed(), "half a window later it still counts");
    }

    #[test]
    fn a_space_that_always_fails_leaves_the_breaker_closed_among_others_that_do_not() {
        let mut story = Story::new();
        for _ in 0..100 {
            story.ends_times(9, Sign::Unwell);
            story.ends_times(11, Sign::Good);
        }
        assert!(story.is_closed());
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        let mut story = Story::new();
        for _ in 0..10 {
            story.ends_times(4, Sign::Bad);
            story.now = story.now + BreakerLimits::default().window;
        }
        assert!(story.is_closed());
        story.ends_times(5, Sign::Bad);
        assert!(!story.is_closed());
    }

    #[test]
    fn a_probe_and_a_trial_close_it() {
        let mut story = Story::new();
        story.ends_times(5, Sign::Bad);
        story.waits();
        story.probed(true);
        let trial = story.breaker.pass(story.now);
        assert_eq!(story.breaker.circuit(story.now), Circuit::HalfOpen { busy: true });
        story.ends(Sign::Bad);
        assert_eq!(
            story.breaker.circuit(story.now),
            Circuit::HalfOpen { busy: true },
            "only the trial decides"
        );
        story.breaker.passed(trial, Sign::Good, story.now, &mut story.rng);
        assert!(story.is_closed());
        story.ends_times(4, Sign::Bad);
        assert!(story.is_closed(), "it begins anew");
    }

    #[test]
    fn a_trial_that_nobody_waits_for_makes_room_for_another() {
        let mut story = Story::new();
        story.ends_times(5, Sign::Bad);
        story.waits();
        story.probed(true);
        story.ends(Sign::None);
        assert_eq!(story.breaker.circuit(story.now), Circuit::HalfOpen { busy: false });
    }

    #[test]
    fn it_stays_open_twice_as_long_each_time_up_to_the_cap_and_recovers() {
        let mut story = Story::new();
        story.ends_times(5, Sign::Bad);
        for longest in [1, 2, 4, 8, 16, 30, 30] {
            let (wait, longest) = (story.waits(), Duration::from_secs(longest));
            assert!(longest / 2 <= wait && wait <= longest, "{wait:?} of {longest:?}");
            if longest.as_secs() % 3 == 0 {
                story.probed(false);
            } else {
                story.probed(true);
                story.ends(Sign::Unwell);
            }
        }
        story.waits();
        story.probed(true);
        story.ends(Sign::Good);
        story.now = story.now + Duration::from_secs(31);
        story.ends_times(5, Sign::Bad);
        assert!(story.waits() <= Duration::from_secs(1));
    }

    #[test]
    fn what_began_before_it_opened_says_nothing_after() {
        let mut story = Story::new();
        let early = story.breaker.pass(story.now);
        story.ends_times(5, Sign::Bad);
        story.breaker.passed(early, Sign::Good, story.now, &mut story.rng);
        assert!(matches!(story.breaker.circuit(story.now), Circuit::Open { .. }));
        story.ends(Sign::Good);
        assert!(
            matches!(story.breaker.circuit(story.now), Circuit::HalfOpen { .. }),
            "what began since then does"
        );
    }

    proptest! {
        /// Whatever happens, a peer that is well again is let through after its time, one probe and one trial.
        #[test]
        fn no_history_keeps_it_from_closing(
            history in prop::collection::vec((0_u8..6, 0_u64..20_000), 0..200),
        ) {
            let mut story = Story::new();
            let mut under_way = Vec::new();
            for (what, passed) in history {
                story.now = story.now + Duration::from_millis(passed);
                match what {
                    0 => under_way.push(story.breaker.pass(story.now)),
                    1..=4 => {
                        let sign = [Sign::Good, Sign::Bad, Sign::Unwell, Sign::None][usize::from(what) - 1];
                        let passage = under_way.pop().unwrap_or_else(|| story.breaker.pass(story.now));
                        story.breaker.passed(passage, sign, story.now, &mut story.rng);
                    }
                    _ => {
                        if story.breaker.wants_probe(story.now) {
                            story.breaker.probed(passed % 2 == 0, story.now, &mut story.rng);
                        }
                    }
                }
            }
            for passage in under_way {
                story.breaker.passed(passage, Sign::None, story.now, &mut story.rng);
            }
            story.now = story.now + Duration::from_secs(31);
            if story.breaker.wants_probe(story.now) {
                story.breaker.probed(true, story.now, &mut story.rng);
            }
            story.ends(Sign::Good);
            prop_assert!(story.is_closed(), "{:?}", story.breaker.state);
        }
    }
}
