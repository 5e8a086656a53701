//! How much a router may add to its calls: one token bucket for all retries and hedges.
//!
//! Backoff thins out the retries of one call; it does nothing about a thousand calls that fail alike, and each layer
//! of retries multiplies the next. A budget bounds the sum: retries may be so many per cent of the calls, whatever
//! happens, and a few per second, so that a quiet router retries at all. It is the retry budget of Finagle and
//! linkerd; for why a bucket beats a limit per call see Brooker, "Fixing retries with token buckets and circuit
//! breakers" (2022).
//!
//! A share of the bucket is kept for the first retry of each call: calls that fail however often they are tried would else take what
//! those need that would be answered the second time.

use std::time::Duration;

use homing_types::{Time, Twin};

/// The bounds of a [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Retries and hedges for 100 calls. Choose what the owners bear on top of their peak.
    pub percent: u32,
    /// Retries and hedges each second, calls or not; choose enough for a quiet router to get over a node's death.
    pub per_second: u32,
    /// The most that can be saved up. Choose about the calls that are in flight to one node, as they fail together when
    /// it dies.
    pub burst: u32,
    /// Hedges for 100 calls, out of the same bucket; 0 for none.
    pub hedge_percent: u32,
}

impl Default for BudgetLimits {
    /// 20 % and 10 a second, up to 100 at once; 5 % for hedges.
    fn default() -> Self {
        Self { percent: 20, per_second: 10, burst: 100, hedge_percent: 5 }
    }
}

/// The most hedges that can be saved up: few, so that they stay a share of the calls at any time.
const HEDGE_BURST: f64 = 10.0;

/// The share of the burst that is kept for first retries.
const RESERVE: f64 = 0.2;

/// How soon to ask again a bucket that fills by calls alone.
const SOON: Duration = Duration::from_millis(100);

/// The token bucket of a router.
#[derive(Debug)]
pub struct Budget {
    limits: BudgetLimits,
    tokens: f64,
    hedges: f64,
    filled: Time,
}

impl Budget {
    /// A full one: the first trouble of a router is not its fault.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Self {
        let tokens = f64::from(limits.burst);
        Self { limits, tokens, hedges: HEDGE_BURST, filled: Time::ZERO }
    }

    /// A call began that is nobody's retry: it earns a share of a token.
    pub fn earn(&mut self) {
        let Self { limits, tokens, hedges, .. } = self;
        *tokens = (*tokens + f64::from(limits.percent) / 100.0).min(f64::from(limits.burst));
        *hedges = (*hedges + f64::from(limits.hedge_percent) / 100.0).min(HEDGE_BURST);
    }

    /// Pays for a retry: the first of its call, or a later one, which leaves a reserve.
    ///
    /// # Errors
    /// When to ask again, if there is too little in the bucket.
    pub fn retry(&mut self, now: Time, first: bool) -> Result<(), Time> {
        self.fill(now);
        let needed = if first { 1.0 } else { 1.0 + self.reserve() };
        if self.tokens >= needed || Twin::BudgetIgnored.is_on() {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = needed - self.tokens;
        let wait = match self.limits.per_second {
            0 => SOON,
            rate => Duration::from_secs_f64(missing / f64::from(rate)),
        };
        Err(now + wait.max(Duration::from_millis(1)))
    }

    /// Pays for a hedge, or not. A hedge that isn't paid for isn't made: nobody waits for one.
    pub fn hedge(&mut self, now: Time) -> bool {
        if self.limits.hedge_percent == 0 || self.hedges < 1.0 || self.retry(now, false).is_err() {
            return false;
        }
        self.hedges -= 1.0;
        true
    }

    /// Whether anything ever comes into the bucket again.
    pub(crate) const fn refills(&self) -> bool {
        self.limits.percent > 0 || self.limits.per_second > 0
    }

    /// Whole tokens there are at `now`.
    #[must_use]
    pub fn left(&mut self, now: Time) -> u32 {
        self.fill(now);
        self.tokens.max(0.0) as u32
    }

    fn reserve(&self) -> f64 {
        let burst = f64::from(self.limits.burst);
        (burst * RESERVE).min(burst - 1.0).max(0.0)
    }

    fn fill(&mut self, now: Time) {
        let passed = now.since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        let earned = passed * f64::from(self.limits.per_second);
        self.tokens = (self.tokens + earned).min(f64::from(self.limits.burst));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Calls(u8),
        Pass(u16),
        Retry(bool),
        Hedge,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => any::<u8>().prop_map(Step::Calls),
            1 => (0_u16..2_000).prop_map(Step::Pass),
            4 => any::<bool>().prop_map(Step::Retry),
            1 => Just(Step::Hedge),
        ];
        prop::collection::vec(step, 1..400)
    }

    proptest! {
        /// From any moment on, what is spent is at most the burst and what was earned since.
        #[test]
        fn no_stretch_of_time_spends_more_than_its_earnings_and_the_burst(
            steps in steps(),
            percent in 0_u32..60,
            per_second in 0_u32..30,
            burst in 0_u32..50,
        ) {
            let limits = BudgetLimits { percent, per_second, burst, hedge_percent: 5 };
            let mut budget = Budget::new(limits);
            let (mut now, mut earned, mut hedges_earned) = (Time::ZERO, 0.0, 0.0);
            // The least that "spent minus earned" has been: the start of the worst stretch until now.
            let (mut spent, mut lowest, mut hedged, mut lowest_hedged) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0_f64);
            for step in steps {
                match step {
                    Step::Calls(n) => for _ in 0..n {
                        budget.earn();
                        earned += f64::from(percent) / 100.0;
                        hedges_earned += 0.05;
                    },
                    Step::Pass(ms) => {
                        now = now + Duration::from_millis(ms.into());
                        earned += f64::from(per_second) * f64::from(ms) / 1_000.0;
                    }
                    Step::Retry(first) => spent += f64::from(u8::from(budget.retry(now, first).is_ok())),
                    Step::Hedge => {
                        let paid = f64::from(u8::from(budget.hedge(now)));
                        (spent, hedged) = (spent + paid, hedged + paid);
                    }
                }
                prop_assert!(spent - earned - lowest <= f64::from(burst) + 1e-6);
                prop_assert!(hedged - hedges_earned - lowest_hedged <= HEDGE_BURST + 1e-6);
                lowest = lowest.min(spent - earned);
                lowest_hedged = lowest_hedged.min(hedged - hedges_earned);
            }
        }

        #[test]
        fn who_waits_as_told_is_paid_if_nobody_else_asks(
            per_second in 1_u32..100,
            burst in 1_u32..200,
            spent in 0_u32..200,
            first in any::<bool>(),
        ) {
            let mut budget = Budget::new(BudgetLimits { per_second, burst, ..BudgetLimits::default() });
            let mut now = Time::ZERO;
            for _ in 0..spent {
                if let Err(again) = budget.retry(now, first) {
                    prop_assert!(again > now);
                    now = again + Duration::from_nanos(100);
                    prop_assert_eq!(budget.retry(now, first), Ok(()));
                }
            }
        }
    }

    /// Many that fail for good, and one that needs just another try.
    #[test]
    fn calls_that_always_fail_leave_the_first_retry_of_others() {
        let mut budget = Budget::new(BudgetLimits::default());
        while budget.retry(Time::ZERO, false).is_ok() {}
        assert_eq!(budget.left(Time::ZERO), 20);
        assert_eq!(budget.retry(Time::ZERO, true), Ok(()));
        assert!(!budget.hedge(Time::ZERO), "a hedge took what is kept for retries");
    }

    #[test]
    fn hedges_are_off_at_zero_per_cent() {
        let mut budget = Budget::new(BudgetLimits { hedge_percent: 0, ..BudgetLimits::default() });
        assert!(!budget.hedge(Time::ZERO));
        assert_eq!(budget.left(Time::ZERO), 100);
    }
}
