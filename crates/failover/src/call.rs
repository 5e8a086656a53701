//! The life of one call at its entry node.
//!
//! A call walks its plan from the best candidate to the last. New knowledge ends the walk, and a new plan starts
//! another at once; a walk that ends without an answer is followed by a gap, then by a new plan, until the
//! deadline. So every call ends in an answer, and nothing is sent twice that must not be (see
//! [`react()`]). The reasoning is that of Brooker, "Timeouts, retries, and backoff with jitter" (Amazon
//! Builders' Library, 2019): retry in one place of the stack, within bounds, and only what is safe.

use std::time::Duration;

use homing_types::{Access, Execution, NodeId, Outcome, Time};
use rand_core::Rng;

use crate::rests::Rests;
use crate::trail::Trail;
use crate::walk::Walk;
use crate::{Attempted, Candidate, Limits, Next, Planned, Stop, react};

/// The most corrections that a call follows between two gaps: as many as a call has hops. Who is sent on more
/// often follows a change that is still under way, and waits for it to settle.
pub const MAX_FOLLOWS: u32 = 3;

/// One call, from its first plan to its end. Only the entry node holds one: who forwards never retries.
///
/// The driver does what [`Call::next`] says: plans, tries, waits, or ends. It reports an attempt that had an outcome
/// with [`Call::attempted`]; an attempt that brought the service's own answer ends the call, and the driver
/// drops this.
#[derive(Debug)]
pub struct Call {
    limits: Limits,
    access: Access,
    keyed: bool,
    deadline: Time,
    state: State,
    rests: Rests,
    trail: Trail,
    attempts: u32,
    /// Corrections followed since the last gap.
    follows: u32,
    gaps: u32,
    /// Whether a gap was cut short to fit before the deadline.
    cut: bool,
    /// Whether this is a write that may have been executed.
    maybe_executed: bool,
}

#[derive(Debug)]
enum State {
    /// No plan, or none that still holds.
    Unplanned,
    /// On its way through a plan.
    Walking(Walk),
    /// In a gap between two walks.
    Waiting(Time),
    /// Over without the service's answer.
    Over(Verdict),
}

/// What a driver does for a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make a plan from the newest knowledge and hand it to [`Call::plan`].
    Plan,
    /// Send the request to this node, and report what became of it within `timeout`: an attempt without a reply
    /// by then is [`Outcome::MaybeSent`], or [`Outcome::NotSent`] if nothing left.
    Attempt {
        /// Whom to try.
        candidate: Candidate,
        /// How long until the reply must have begun.
        timeout: Duration,
    },
    /// Ask again at `until`, which lies before the deadline. [`Call::plan`] ends the wait early, for a driver that
    /// sees an owner change meanwhile.
    Wait {
        /// When to ask again.
        until: Time,
    },
    /// Tell the caller how it ended, with [`Call::trail`].
    Finish(Verdict),
}

/// Why a call ended without the service's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The deadline came, or every owner asked to be left alone until after it. A write was not executed.
    Expired {
        /// The last outcome; `None` if nobody could be tried.
        last: Option<Outcome>,
    },
    /// The attempts are used up, or the request can't be sent again. A write was not executed.
    Exhausted {
        /// The last outcome; `None` if no attempt was allowed.
        last: Option<Outcome>,
    },
    /// A write may have been executed, whatever came after the attempt that left it open. The caller may send it
    /// again with the same idempotency key; without one it has to look.
    Ambiguous,
    /// The request breaks a rule, and every node would refuse it. A write was not executed.
    Refused,
}

impl Call {
    /// A call that ends at `deadline`. `keyed`: it carries an idempotency key, and the service dedupes by it.
    #[must_use]
    pub fn new(limits: Limits, access: Access, keyed: bool, deadline: Time) -> Self {
        Self {
            limits,
            access,
            keyed,
            deadline,
            state: State::Unplanned,
            rests: Rests::default(),
            trail: Trail::default(),
            attempts: 0,
            follows: 0,
            gaps: 0,
            cut: false,
            maybe_executed: false,
        }
    }

    /// Takes a plan from the newest knowledge, of which the first [`MAX_PLAN`](crate::MAX_PLAN) candidates
    /// count. An empty one stands for *nothing is known*, and is asked for again after a gap.
    pub fn plan(&mut self, plan: Vec<Planned>) {
        self.enter(State::Walking(Walk::new(plan)));
    }

    /// What to do now. The attempt that it names counts as started.
    pub fn next(&mut self, now: Time, rng: &mut dyn Rng) -> Action {
        loop {
            match &mut self.state {
                State::Over(verdict) => return Action::Finish(*verdict),
                _ if now >= self.deadline => self.finish(Verdict::Expired { last: self.last() }),
                State::Unplanned => return Action::Plan,
                State::Walking(walk) => match walk.step(&self.rests, now) {
                    Some(_) if self.attempts >= self.limits.max_attempts => {
                        self.finish(Verdict::Exhausted { last: self.last() });
                    }
                    Some(candidate) => {
                        self.attempts += 1;
                        return Action::Attempt { candidate, timeout: self.timeout(now) };
                    }
                    None => {
                        let again = walk.again(&self.rests);
                        self.wait(again, now, rng);
                    }
                },
                State::Waiting(until) if now < *until => return Action::Wait { until: *until },
                State::Waiting(_) => {
                    self.follows = 0;
                    self.enter(State::Unplanned);
                }
            }
        }
    }

    /// Reports what became of an attempt at `node`. `retry_after`: how long the node asked to be left alone.
    /// `taught`: its reply brought newer knowledge, which is already applied.
    pub fn attempted(
        &mut self,
        node: &NodeId,
        outcome: Outcome,
        retry_after: Option<Duration>,
        taught: bool,
        now: Time,
    ) {
        self.trail.push(Attempted { node: node.clone(), outcome, at: now });
        self.maybe_executed |= !self.access.is_read() && outcome.execution() == Execution::Maybe;
        match react(outcome, self.access, self.keyed) {
            Next::Stop(Stop::Ambiguous) => self.finish(Verdict::Ambiguous),
            Next::Stop(Stop::Refused) => self.finish(Verdict::Refused),
            Next::Wait => self.rest(node, outcome, now + retry_after.unwrap_or_default()),
            Next::TryNext | Next::Follow if taught => self.follow(),
            Next::TryNext | Next::Follow => {}
        }
    }

    /// Reports that the request can't be sent again, as its streaming body is gone: the call is over.
    pub fn spent(&mut self) {
        self.finish(Verdict::Exhausted { last: self.last() });
    }

    /// Attempts started so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Corrections followed since the last gap, at most [`MAX_FOLLOWS`]. Each costs the next attempt a hop.
    #[must_use]
    pub const fn follows(&self) -> u32 {
        self.follows
    }

    /// What was tried, oldest first: all of it, or its two ends if it is more than [`MAX_TRAIL`](crate::MAX_TRAIL).
    #[must_use]
    pub fn trail(&self) -> &[Attempted] {
        self.trail.kept()
    }

    /// How many attempts are missing in the middle of [`Call::trail`].
    #[must_use]
    pub const fn omitted(&self) -> u32 {
        self.trail.omitted()
    }

    /// Newer knowledge: what is ahead on the old plan rests on what is no longer so.
    fn follow(&mut self) {
        if self.follows < MAX_FOLLOWS {
            self.follows += 1;
            self.enter(State::Unplanned);
        } else if let State::Walking(walk) = &mut self.state {
            walk.end();
        }
    }

    /// A node that isn't ready may have been replaced, and a relay knows by whom. One that is overloaded gains
    /// nothing from the same request by a detour, times the number of replicas.
    fn rest(&mut self, node: &NodeId, outcome: Outcome, until: Time) {
        self.rests.rest(node, until);
        if let (Outcome::Overloaded, State::Walking(walk)) = (outcome, &mut self.state) {
            walk.end_relays(node);
        }
    }

    /// Starts a gap that ends when a candidate may be tried `again`, at the earliest.
    ///
    /// A gap that would pass the deadline is cut, once, to half of what is left, so that there is a last walk;
    /// but not the time for which nodes asked. If nothing can be tried before the deadline, the call ends now
    /// instead of then: its answer would be the same, and later.
    fn wait(&mut self, again: Time, now: Time, rng: &mut dyn Rng) {
        let left = self.deadline.since(now);
        let mut gap = self.limits.backoff.delay(self.gaps, rng);
        if gap >= left && !self.cut {
            gap = left / 2;
            self.cut = true;
        }
        self.gaps = self.gaps.saturating_add(1);
        let until = again.max(now + gap);
        if until < self.deadline {
            self.enter(State::Waiting(until));
        } else {
            self.finish(Verdict::Expired { last: self.last() });
        }
    }

    /// A write that can't be sent again gets all the time that is left, since giving up early would only make
    /// it ambiguous. Everything else gets at most half of it, so that another candidate has a chance.
    fn timeout(&self, now: Time) -> Duration {
        let left = self.deadline.since(now);
        if self.access.is_read() || self.keyed { self.limits.attempt_timeout.min(left / 2) } else { left }
    }

    /// A write that may have been executed stays so, however its later attempts failed.
    fn finish(&mut self, verdict: Verdict) {
        let verdict = if self.maybe_executed { Verdict::Ambiguous } else { verdict };
        self.enter(State::Over(verdict));
    }

    /// What is over stays over.
    fn enter(&mut self, state: State) {
        if !matches!(self.state, State::Over(_)) {
            self.state = state;
        }
    }

    fn last(&self) -> Option<Outcome> {
        self.trail.kept().last().map(|attempted| attempted.outcome)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::Tier;

    const READ: (Access, bool) = (Access::Read, false);
    const WRITE: (Access, bool) = (Access::Write, false);
    const KEYED_WRITE: (Access, bool) = (Access::Write, true);
    const DEADLINE: Duration = Duration::from_secs(10);

    /// A call and its driver, told step by step. Time stands still unless a step moves it.
    struct Story {
        call: Call,
        access: Access,
        now: Time,
        rng: StdRng,
    }

    impl Story {
        fn of((access, keyed): (Access, bool)) -> Self {
            let deadline = Time::ZERO + DEADLINE;
            let call = Call::new(Limits::default(), access, keyed, deadline);
            Self { call, access, now: Time::ZERO, rng: StdRng::seed_from_u64(3) }
        }

        fn next(&mut self) -> Action {
            self.call.next(self.now, &mut self.rng)
        }

        /// The call wants a plan and gets these nodes; all but the first are relays if only a primary serves.
        fn plans(&mut self, nodes: &[&str]) {
            assert_eq!(self.next(), Action::Plan);
            let relays = !self.access.any_replica();
            let planned = nodes.iter().enumerate().map(|(i, node)| Planned {
                candidate: Candidate { node: id(node), tier: Tier::Zone, relay: relays && i > 0 },
                why: "test".into(),
            });
            self.call.plan(planned.collect());
        }

        /// The call tries this node, which ends so.
        fn tries(&mut self, node: &str, outcome: Outcome) {
            self.tries_and_hears(node, outcome, None, false);
        }

        fn is_corrected_by(&mut self, node: &str) {
            self.tries_and_hears(node, Outcome::NotOwner, None, true);
        }

        fn is_put_off_by(&mut self, node: &str, outcome: Outcome, retry_after: Duration) {
            self.tries_and_hears(node, outcome, Some(retry_after), false);
        }

        fn tries_and_hears(
            &mut self,
            node: &str,
            outcome: Outcome,
            retry_after: Option<Duration>,
            taught: bool,
        ) {
            let Action::Attempt { candidate, .. } = self.next() else { panic!("no attempt at {node}") };
            assert_eq!(candidate.node, id(node));
            self.call.attempted(&id(node), outcome, retry_after, taught, self.now);
        }

        /// The call waits; the gap is over afterwards, and told.
        fn waits(&mut self) -> Duration {
            let Action::Wait { until } = self.next() else { panic!("no gap") };
            let gap = until.since(self.now);
            self.now = until;
            gap
        }

        fn timeout(&mut self) -> Duration {
            let Action::Attempt { timeout, .. } = self.next() else { panic!("no attempt") };
            timeout
        }

        fn ends(&mut self, verdict: Verdict) {
            assert_eq!(self.next(), Action::Finish(verdict));
            self.call.attempted(&id("late"), Outcome::NotOwner, None, true, self.now);
            assert_eq!(self.next(), Action::Finish(verdict), "what is over stays over");
        }
    }

    fn id(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_not_sent_goes_to_the_next_candidate_at_once_and_all_over_after_a_gap() {
        for kind in [READ, WRITE, KEYED_WRITE] {
            let mut story = Story::of(kind);
            story.plans(&["a", "b"]);
            story.tries("a", Outcome::NotSent);
            story.tries("b", Outcome::Expired);
            assert!(story.waits() <= ms(10));
            story.plans(&["b"]);
            story.tries("b", Outcome::NotSent);
            assert_eq!(story.call.attempts(), 3);
        }
    }

    #[test]
    fn what_was_maybe_sent_is_sent_again_only_if_that_does_no_harm() {
        for kind in [READ, KEYED_WRITE] {
            let mut story = Story::of(kind);
            story.plans(&["a", "b"]);
            story.tries("a", Outcome::MaybeSent);
            story.tries("b", Outcome::MaybeSent);
        }
        let mut story = Story::of(WRITE);
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::MaybeSent);
        story.ends(Verdict::Ambiguous);
    }

    #[test]
    fn a_write_that_may_have_been_executed_stays_ambiguous_to_the_end() {
        let mut refused = Story::of(KEYED_WRITE);
        refused.plans(&["a", "b"]);
        refused.tries("a", Outcome::MaybeSent);
        refused.tries("b", Outcome::Refused);
        refused.ends(Verdict::Ambiguous);

        let mut late = Story::of(KEYED_WRITE);
        late.plans(&["a", "b"]);
        late.tries("a", Outcome::MaybeSent);
        late.tries("b", Outcome::NotSent);
        late.now = Time::ZERO + DEADLINE;
        late.ends(Verdict::Ambiguous);

        let mut read = Story::of(READ);
        read.plans(&["a", "b"]);
        read.tries("a", Outcome::MaybeSent);
        read.tries("b", Outcome::NotSent);
        read.now = Time::ZERO + DEADLINE;
        read.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
    }

    #[test]
    fn a_correction_is_followed_without_a_gap() {
        let mut story = Story::of(WRITE);
        story.plans(&["old", "b"]);
        story.is_corrected_by("old");
        assert_eq!(story.call.follows(), 1);
        story.plans(&["new", "b"]);
        story.tries("new", Outcome::NotSent);
        story.tries("b", Outcome::NotSent);
    }

    #[test]
    fn no_owner_and_no_correction_means_the_next_candidate() {
        let mut story = Story::of(READ);
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::NotOwner);
        story.tries("b", Outcome::NotOwner);
        story.waits();
        story.plans(&[]);
    }

    #[test]
    fn corrections_that_go_in_circles_run_into_a_gap() {
        let mut story = Story::of(WRITE);
        for _ in 0..MAX_FOLLOWS {
            story.plans(&["a", "b"]);
            story.is_corrected_by("a");
        }
        story.plans(&["a", "b"]);
        story.is_corrected_by("a");
        story.waits();
        story.plans(&["a", "b"]);
        assert_eq!(story.call.follows(), 0);
        story.is_corrected_by("a");
        story.plans(&["b"]);
    }

    #[test]
    fn a_retry_after_is_honoured_while_others_are_tried() {
        let mut story = Story::of(READ);
        story.plans(&["a", "b"]);
        story.is_put_off_by("a", Outcome::NotReady, ms(500));
        story.is_put_off_by("b", Outcome::Overloaded, ms(200));
        assert_eq!(story.waits(), ms(200), "until the first of both may be tried again");
        story.plans(&["a", "b"]);
        story.tries("b", Outcome::NotSent);
        while story.now < Time::ZERO + ms(500) {
            story.waits();
            story.plans(&["a"]);
        }
        story.tries("a", Outcome::NotSent);
    }

    #[test]
    fn relays_may_know_the_successor_of_a_primary_that_is_not_ready_but_not_spare_one_that_is_overloaded() {
        let mut story = Story::of(WRITE);
        story.plans(&["a", "b"]);
        story.is_put_off_by("a", Outcome::NotReady, ms(100));
        story.tries("b", Outcome::NotSent);

        let mut story = Story::of(WRITE);
        story.plans(&["a", "b", "c"]);
        story.is_put_off_by("a", Outcome::Overloaded, ms(100));
        assert_eq!(story.waits(), ms(100));

        let mut story = Story::of(WRITE);
        story.plans(&["a", "b", "c"]);
        story.tries("a", Outcome::NotSent);
        story.is_put_off_by("b", Outcome::Overloaded, ms(100));
        story.tries("c", Outcome::NotSent);
    }

    #[test]
    fn a_call_that_can_do_nothing_more_before_its_deadline_ends_at_once() {
        let mut story = Story::of(READ);
        story.plans(&["a", "b"]);
        story.is_put_off_by("a", Outcome::NotReady, DEADLINE);
        story.is_put_off_by("b", Outcome::NotReady, Duration::MAX);
        story.ends(Verdict::Expired { last: Some(Outcome::NotReady) });
    }

    #[test]
    fn no_candidate_is_tried_once_the_deadline_has_come() {
        let mut story = Story::of(READ);
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::NotSent);
        story.now = Time::ZERO + DEADLINE;
        story.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
    }

    #[test]
    fn a_gap_that_would_pass_the_deadline_leaves_room_for_a_last_walk() {
        let mut story = Story::of(READ);
        story.call.gaps = u32::MAX;
        story.now = Time::ZERO + DEADLINE.saturating_sub(ms(2));
        story.plans(&["a"]);
        story.tries("a", Outcome::NotSent);
        assert_eq!(story.waits(), ms(1));
        story.plans(&["a"]);
        story.tries("a", Outcome::NotSent);
        story.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
    }

    #[test]
    fn gaps_grow_until_the_deadline_when_nothing_is_known() {
        let mut story = Story::of(READ);
        let mut gaps = Vec::new();
        while story.next() == Action::Plan {
            story.call.plan(Vec::new());
            if let Action::Wait { until } = story.next() {
                gaps.push(until.since(story.now));
                story.now = until;
            }
            assert!(gaps.len() < 1_000, "the call spins");
        }
        story.ends(Verdict::Expired { last: None });
        assert!(story.now > Time::ZERO + DEADLINE / 2, "{gaps:?}");
        assert!(gaps[..3].iter().all(|gap| *gap <= ms(40)), "{gaps:?}");
        assert!(gaps.iter().any(|gap| *gap > ms(320)), "{gaps:?}");
    }

    #[test]
    fn an_attempt_leaves_time_for_another_one_unless_there_can_be_none() {
        for (kind, at_first, at_last) in
            [(READ, ms(2_000), ms(500)), (KEYED_WRITE, ms(2_000), ms(500)), (WRITE, DEADLINE, ms(1_000))]
        {
            let mut story = Story::of(kind);
            story.plans(&["a", "b"]);
            assert_eq!(story.timeout(), at_first);
            story.now = Time::ZERO + ms(9_000);
            assert_eq!(story.timeout(), at_last);
        }
    }

    #[test]
    fn a_plan_that_comes_unasked_ends_the_wait() {
        let mut story = Story::of(READ);
        story.plans(&["a"]);
        story.is_put_off_by("a", Outcome::NotReady, ms(1_000));
        assert!(matches!(story.next(), Action::Wait { .. }));
        let candidate = Candidate { node: id("b"), tier: Tier::Far, relay: false };
        story.call.plan(vec![Planned { candidate, why: "new owner".into() }]);
        story.tries("b", Outcome::NotSent);
    }

    #[test]
    fn a_request_that_cannot_be_sent_again_ends_as_its_attempts_left_it() {
        for (outcome, verdict) in [
            (Outcome::NotReady, Verdict::Exhausted { last: Some(Outcome::NotReady) }),
            (Outcome::MaybeSent, Verdict::Ambiguous),
        ] {
            let mut story = Story::of(KEYED_WRITE);
            story.plans(&["a", "b"]);
            story.tries("a", outcome);
            story.call.spent();
            story.ends(verdict);
        }
    }

    #[test]
    fn the_fuse_ends_a_call_whose_attempts_are_used_up() {
        let mut story = Story::of(READ);
        story.call.limits.max_attempts = 1;
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::NotSent);
        story.ends(Verdict::Exhausted { last: Some(Outcome::NotSent) });
    }
}
