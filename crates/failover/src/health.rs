//! How a peer does, for one access: its breaker, its latency, and what is under way there.

use std::time::Duration;

use homing_types::{Access, Outcome, Time};
use rand_core::Rng;

use crate::breaker::{Breaker, Passage};
use crate::latency::Latency;
use crate::{BreakerLimits, Circuit, Sign};

/// What is known of a peer, as a [`Policy`](crate::Policy) is told it and an operator sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Whether it is suspected to be down: the last contact failed. A suspicion may be wrong.
    pub suspect: bool,
    /// What its breaker lets through.
    pub circuit: Circuit,
    /// How long an answer takes on average, failures counted in; `None` while that isn't known.
    pub latency: Option<Duration>,
    /// Attempts under way there.
    pub in_flight: u32,
    /// What one more attempt costs, to compare it with others of the same distance: the latency at its peak, times the
    /// attempts under way, by the share of successes. Without unit, 0 if nothing is known.
    pub cost: f64,
}

impl Default for Standing {
    /// That of a peer nobody has met.
    fn default() -> Self {
        Self { suspect: false, circuit: Circuit::Closed, latency: None, in_flight: 0, cost: 0.0 }
    }
}

impl Standing {
    /// Whether the peer stands at the back of plans.
    #[must_use]
    pub const fn is_doubtful(&self) -> bool {
        self.suspect || !self.circuit.lets_through()
    }
}

/// How many times longer than usual an answer may take before its absence speaks against the peer.
const PATIENCE: u32 = 10;

/// What counts as usual where nothing is known.
const USUAL: Duration = Duration::from_millis(50);

/// The least that is fair, however fast the peer is.
const LEAST_FAIR: Duration = Duration::from_millis(50);

/// The health of one peer for one access. Each attempt there [starts](Health::start) and [ends](Health::end).
#[derive(Debug)]
pub struct Health {
    breaker: Breaker,
    latency: Latency,
    in_flight: u32,
}

/// An attempt under way; goes back to [`Health::end`].
#[derive(Debug, Clone, Copy)]
pub struct Started {
    passage: Passage,
    at: Time,
}

impl Started {
    /// Until now, the attempt had no connection; its request leaves now. How long that took says nothing of how long the peer takes to answer.
    pub const fn sent(&mut self, now: Time) {
        self.at = now;
    }
}

impl Health {
    /// The health of a peer nobody has met.
    #[must_use]
    pub fn new(limits: BreakerLimits) -> Self {
        Self { breaker: Breaker::new(limits), latency: Latency::default(), in_flight: 0 }
    }

    /// An attempt begins.
    pub fn start(&mut self, now: Time) -> Started {
        self.in_flight = self.in_flight.saturating_add(1);
        Started { passage: self.breaker.pass(now), at: now }
    }

    /// What it says of the peer that an attempt has no reply at `now`. Something only after a fair time: the caller may have
    /// been in more of a hurry than the peer could ever be. `longest`: what is fair in any case.
    #[must_use]
    pub fn silence(&self, started: Started, longest: Duration, now: Time) -> Sign {
        let usual = self.latency.expected(now).unwrap_or(USUAL);
        let fair = (usual * PATIENCE).clamp(LEAST_FAIR, longest.max(LEAST_FAIR));
        if now.since(started.at) >= fair { Sign::Bad } else { Sign::None }
    }

    /// An attempt has ended, or nobody waits for it any more ([`Sign::None`]). Returns the state that the breaker changed
    /// to, if it did.
    pub fn end(&mut self, started: Started, sign: Sign, now: Time, rng: &mut dyn Rng) -> Option<Circuit> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let took = now.since(started.at);
        match sign {
            Sign::Good => self.latency.answered(took, now),
            Sign::Bad | Sign::Unwell => self.latency.failed(took, now),
            Sign::None => {}
        }
        self.watch(now, |breaker| breaker.passed(started.passage, sign, now, rng))
    }

    /// Whether the peer is to be probed now. Who hears yes reports with [`Health::probed`]; nobody else is told so.
    pub fn wants_probe(&mut self, now: Time) -> bool {
        self.breaker.wants_probe(now)
    }

    /// The probe has ended. Returns the state that the breaker changed to.
    pub fn probed(&mut self, reached: bool, now: Time, rng: &mut dyn Rng) -> Option<Circuit> {
        self.watch(now, |breaker| breaker.probed(reached, now, rng))
    }

    /// How the peer stands at `now`.
    #[must_use]
    pub fn standing(&self, suspect: bool, now: Time) -> Standing {
        Standing {
            suspect,
            circuit: self.breaker.circuit(now),
            // Of an old estimate one request at a time makes a new one; until then the others go by it.
            latency: self.latency.expected(now).filter(|_| self.in_flight > 0 || !self.latency.is_old(now)),
            in_flight: self.in_flight,
            cost: self.latency.cost(self.in_flight, now),
        }
    }

    fn watch(&mut self, now: Time, change: impl FnOnce(&mut Breaker)) -> Option<Circuit> {
        let before = self.breaker.circuit(now).as_str();
        change(&mut self.breaker);
        let after = self.breaker.circuit(now);
        (after.as_str() != before).then_some(after)
    }
}

impl Sign {
    /// What a reply says of the peer that gave it: an answer, or an outcome.
    ///
    /// Where only the primary serves, what it says itself doesn't count: there is nobody to spare it for, and a detour would
    /// lead back to it. What befalls the way to it counts, since a relay may know another.
    #[must_use]
    pub const fn of(outcome: Option<Outcome>, access: Access) -> Self {
        match outcome {
            None => Self::Good,
            Some(Outcome::Overloaded) if access.any_replica() => Self::Bad,
            Some(Outcome::NotReady | Outcome::MaybeSent) if access.any_replica() => Self::Unwell,
            // Of the next node on the way, of this node's table, of the request, of its deadline, or of a space.
            Some(_) => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn what_a_peer_says_of_one_space_is_told_from_what_befell_the_peer() {
        for (outcome, sign) in [
            (Outcome::NotSent, Sign::None),
            (Outcome::MaybeSent, Sign::Unwell),
            (Outcome::NotOwner, Sign::None),
            (Outcome::NotReady, Sign::Unwell),
            (Outcome::Overloaded, Sign::Bad),
            (Outcome::Expired, Sign::None),
            (Outcome::Refused, Sign::None),
        ] {
            assert_eq!(Sign::of(Some(outcome), Access::Read), sign, "{outcome}");
            assert_eq!(Sign::of(Some(outcome), Access::Write), Sign::None, "{outcome}");
        }
        for access in Access::ALL {
            assert_eq!(Sign::of(None, access), Sign::Good);
        }
    }

    #[test]
    fn how_long_a_dial_took_says_nothing_of_how_long_a_peer_takes() {
        let rng = &mut StdRng::seed_from_u64(1);
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let cost = |dial| {
            let mut health = Health::new(BreakerLimits::default());
            let mut started = health.start(at(0));
            if dial > 0 {
                started.sent(at(dial));
            }
            health.end(started, Sign::Good, at(dial + 2), rng);
            health.standing(false, at(dial + 2)).cost
        };
        let costs = [0, 50].map(cost);
        assert!((costs[0] - costs[1]).abs() < 1e-9, "{costs:?}");
    }

    #[test]
    fn what_is_under_way_is_counted_and_changes_of_the_breaker_are_told_once() {
        let rng = &mut StdRng::seed_from_u64(1);
        let mut health = Health::new(BreakerLimits::default());
        let started: Vec<_> = (0..7).map(|_| health.start(Time::ZERO)).collect();
        assert_eq!(health.standing(false, Time::ZERO).in_flight, 7);
        let now = Time::ZERO + Duration::from_millis(3);
        let changes: Vec<_> =
            started.into_iter().filter_map(|started| health.end(started, Sign::Bad, now, rng)).collect();
        assert!(matches!(changes[..], [Circuit::Open { .. }]), "{changes:?}");
        let standing = health.standing(false, now);
        assert!(standing.is_doubtful() && standing.in_flight == 0 && standing.cost > 0.0, "{standing:?}");
        assert_eq!(standing.latency, None, "no answer, no latency");
    }
}
