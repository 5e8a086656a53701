//! The life of one call at its entry node.
//!
//! A call walks its plan from the best candidate to the last. New knowledge ends the walk, and a new plan starts
//! another at once; a walk that ends without an answer is followed by a gap, then by a new plan, until the
//! deadline. So every call ends in an answer, and nothing is sent twice that must not be (see
//! [`react()`]). What is sent again after somebody may have worked on it is a *retry*, and paid for from the
//! router's budget; moving on from a node that was never reached, or to the owner that a correction names, is free. The reasoning is that of Brooker, "Timeouts, retries, and backoff with jitter" (Amazon
//! Builders' Library, 2019): retry in one place of the stack, within bounds, and only what is safe.

use std::time::Duration;

use homing_types::{Access, Execution, NodeId, Outcome, Time};
use rand_core::Rng;

use crate::deadline::attempt_timeout;
use crate::rests::Rests;
use crate::trail::Trail;
use crate::walk::Walk;
use crate::{Attempted, Candidate, Limits, Next, Planned, Shared, Tier, react};

/// The most corrections that a call follows between two gaps: as many as a call has hops. Who is sent on more
/// often follows a change that is still under way, and waits for it to settle.
pub const MAX_FOLLOWS: u32 = 3;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What it does with its space.
    pub access: Access,
    /// Whether it carries an idempotency key, and the service dedupes by it.
    pub keyed: bool,
    /// Whether it is somebody's retry already: then it is paid for as one, and gets none here, or layers of retries would
    /// multiply.
    pub retry: bool,
    /// When it began.
    pub started: Time,
    /// When it ends.
    pub deadline: Time,
}

/// One call, from its first plan to its end. Only the entry node holds one: who forwards never retries.
///
/// The driver does what [`Call::next`] says: plans, tries, waits, or ends. It reports an attempt that had an outcome
/// with [`Call::attempted`]; an attempt that brought the service's own answer ends the call, and the driver
/// drops this.
#[derive(Debug, Clone)]
pub struct Call {
    limits: Limits,
    terms: Terms,
    state: State,
    rests: Rests,
    trail: Trail,
    attempts: u32,
    retries: u32,
    last: Option<Outcome>,
    /// Whether the next attempt is a retry.
    pays: bool,
    /// Corrections followed since the last gap.
    follows: u32,
    gaps: u32,
    /// Whether a walk came to its end without an answer.
    lost: bool,
    /// Whether a gap was cut short to fit before the deadline.
    cut: bool,
    /// Whether the last gap was one for the budget.
    starved: bool,
    /// Whether this is a write that may have been executed.
    maybe_executed: bool,
}

#[derive(Debug, Clone)]
enum State {
    /// No plan, or none that still holds.
    Unplanned,
    /// On its way through a plan.
    Walking(Walk),
    /// In a gap between two walks.
    Waiting { until: Time, starved: bool, backoff: Backed },
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
        /// After what time without a reply [`Call::hedge`] may be asked; `None` for never.
        hedge_after: Option<Duration>,
    },
    /// Ask again at `until`, which lies before the deadline. [`Call::plan`] ends the wait early, for a driver that
    /// sees an owner change meanwhile.
    Wait {
        /// When to ask again.
        until: Time,
        /// Whether this waits for the budget, and not only for its backoff.
        starved: bool,
        /// The backoff in it. The wait can be longer, until a node may be asked again, and shorter, to fit before the
        /// deadline.
        backoff: Backed,
    },
    /// Tell the caller how it ended, with [`Call::into_trail`].
    Finish(Verdict),
}

/// The backoff of one gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backed {
    /// How many gaps of the call came before it.
    pub nth: u32,
    /// What was drawn: evenly from zero to `base` × 2ⁿ, or `cap` if that is less.
    pub drawn: Duration,
}

/// Why a call ended without the service's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The deadline came, or every owner asked to be left alone until after it. A write was not executed.
    Expired {
        /// The last outcome, [`Outcome::NotOwner`] only if there was no other; `None` if nobody could be tried.
        last: Option<Outcome>,
    },
    /// The attempts are used up, or the request can't be sent again, or the call is a retry itself, or this node is at its limit.
    /// A write was not executed.
    Exhausted {
        /// As for [`Verdict::Expired`]; `None` if no attempt was allowed.
        last: Option<Outcome>,
    },
    /// A write may have been executed, whatever came after the attempt that left it open. The caller may send it
    /// again with the same idempotency key; without one it has to look.
    Ambiguous,
    /// The request breaks a rule, and every node would refuse it. A write was not executed.
    Refused,
}

impl Verdict {
    /// The word in traces and errors.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired { .. } => "expired",
            Self::Exhausted { .. } => "exhausted",
            Self::Ambiguous => "ambiguous",
            Self::Refused => "refused",
        }
    }
}

/// What became of an attempt that did not bring the service's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The node that was tried.
    pub node: NodeId,
    /// What became of it.
    pub outcome: Outcome,
    /// How long the node asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether its reply brought newer knowledge, which is already applied.
    pub taught: bool,
    /// Why, in one line for people.
    pub reason: String,
}

impl Call {
    /// A call on these terms.
    #[must_use]
    pub fn new(limits: Limits, terms: Terms) -> Self {
        Self {
            limits,
            terms,
            state: State::Unplanned,
            rests: Rests::default(),
            trail: Trail::default(),
            attempts: 0,
            retries: 0,
            last: None,
            pays: false,
            follows: 0,
            gaps: 0,
            lost: false,
            cut: false,
            starved: false,
            maybe_executed: false,
        }
    }

    /// Takes a plan from the newest knowledge, of which the first [`MAX_PLAN`](crate::MAX_PLAN) candidates
    /// count. An empty one stands for *nothing is known*, and is asked for again after a gap.
    ///
    /// [`Call::renew`] before it says that this knowledge is newer than what the last plan rested on.
    pub fn plan(&mut self, plan: Vec<Planned>) {
        let mut walk = Walk::new(plan);
        if self.lost {
            walk.end_relays_of_resting(&self.rests);
        }
        self.enter(State::Walking(walk));
    }

    /// Newer knowledge came from elsewhere: what comes next follows it, which is free like following a correction.
    pub const fn renew(&mut self) {
        self.pays = false;
    }

    /// What to do now. The attempt that it names counts as started, and is paid for.
    pub fn next(&mut self, now: Time, shared: &mut Shared, rng: &mut dyn Rng) -> Action {
        loop {
            match &mut self.state {
                State::Over(verdict) => return Action::Finish(*verdict),
                _ if now >= self.terms.deadline => self.finish(Verdict::Expired { last: self.last }),
                State::Unplanned => return Action::Plan,
                State::Walking(walk) if !walk.has_next(&self.rests, now) => {
                    let again = walk.again(&self.rests);
                    self.wait(again, false, now, rng);
                }
                State::Walking(_) if self.attempts >= self.limits.max_attempts => self.exhaust(),
                State::Walking(_) if self.pays && self.terms.retry => self.exhaust(),
                State::Walking(walk) => {
                    match pay(self.attempts, self.pays, self.terms.retry, self.retries == 0, shared, now) {
                        Ok(()) => {
                            let Some(candidate) = walk.step(&self.rests, now) else { continue };
                            let others = walk.has_next(&self.rests, now);
                            return self.start(candidate, others, now, shared);
                        }
                        Err(again) => self.wait(again, true, now, rng),
                    }
                }
                State::Waiting { until, starved, backoff } if now < *until => {
                    return Action::Wait { until: *until, starved: *starved, backoff: *backoff };
                }
                State::Waiting { .. } => {
                    self.follows = 0;
                    self.pays = self.attempts > 0;
                    self.enter(State::Unplanned);
                }
            }
        }
    }

    /// Whom to ask beside the node that has not answered yet, if there is somebody and the budget allows it. The attempt
    /// counts as started; both are reported, in any order, and an answer of either ends the call.
    pub fn hedge(&mut self, now: Time, shared: &mut Shared) -> Option<Candidate> {
        let State::Walking(walk) = &mut self.state else { return None };
        let affordable = walk.has_next(&self.rests, now)
            && self.attempts < self.limits.max_attempts
            && shared.budget.hedge(now);
        let candidate = if affordable { walk.step(&self.rests, now) } else { None };
        self.attempts += u32::from(candidate.is_some());
        candidate
    }

    /// Reports what became of an attempt.
    pub fn attempted(&mut self, report: Report, now: Time) {
        let Report { node, outcome, retry_after, taught, reason } = report;
        self.maybe_executed |= !self.terms.access.is_read() && outcome.execution() == Execution::Maybe;
        // That somebody else is not the owner explains less than why the owner did not answer.
        if outcome != Outcome::NotOwner || self.last.is_none() {
            self.last = Some(outcome);
        }
        let next = react(outcome, self.terms.access, self.terms.keyed);
        // Whoever was not reached, or knows that it is not the one, has not worked on it.
        self.pays |= !matches!(outcome, Outcome::NotSent | Outcome::NotOwner);
        match next {
            Next::End(verdict) => self.finish(verdict),
            Next::Wait => self.rest(&node, outcome, now + retry_after.unwrap_or_default()),
            Next::TryNext | Next::Follow if taught => self.follow(),
            Next::TryNext | Next::Follow => {}
        }
        self.remark(node, outcome, reason, now);
    }

    /// Whether an attempt may be given up while it is under way, and the request be sent to another node.
    #[must_use]
    pub fn may_be_sent_again(&self) -> bool {
        matches!(react(Outcome::MaybeSent, self.terms.access, self.terms.keyed), Next::TryNext)
    }

    /// Reports that an attempt at `node` was given up, since it owns the space no more. Like a correction, following that is
    /// free.
    pub fn overtaken(&mut self, node: NodeId, reason: String, now: Time) {
        let report = Report { node, outcome: Outcome::MaybeSent, retry_after: None, taught: true, reason };
        self.attempted(report, now);
        self.pays = false;
    }

    /// Notes for the trail why nobody could be tried.
    pub fn remark(&mut self, node: NodeId, outcome: Outcome, reason: String, now: Time) {
        let after = now.since(self.terms.started);
        self.trail.push(Attempted { node, outcome, after, reason });
    }

    /// Ends the call before an attempt: the request can't be sent again, or this node has no room for it.
    pub fn give_up(&mut self, node: NodeId, outcome: Outcome, reason: String, now: Time) {
        self.remark(node, outcome, reason, now);
        self.finish(Verdict::Exhausted { last: self.last.or(Some(outcome)) });
    }

    /// Attempts started so far.
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Attempts so far that were paid for, not counting hedges, nor the first attempt of a call that is a retry itself.
    #[must_use]
    pub const fn retries(&self) -> u32 {
        self.retries
    }

    /// Whether a whole walk through the known owners has brought nothing, so that others may know better.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether its last wait was one for the budget.
    #[must_use]
    pub const fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether there is a plan to go on with. Without one, attempts that are still under way are no longer waited for.
    #[must_use]
    pub const fn is_walking(&self) -> bool {
        matches!(self.state, State::Walking(_))
    }

    /// Corrections followed since the last gap, at most [`MAX_FOLLOWS`]. Each costs the next attempt a hop.
    #[must_use]
    pub const fn follows(&self) -> u32 {
        self.follows
    }

    /// What was tried, oldest first: all of it, or its two ends if it is more than [`MAX_TRAIL`](crate::MAX_TRAIL); and how
    /// many attempts are missing in the middle.
    #[must_use]
    pub fn into_trail(self) -> (Vec<Attempted>, u32) {
        self.trail.into_kept()
    }

    fn start(&mut self, candidate: Candidate, others: bool, now: Time, shared: &Shared) -> Action {
        self.attempts += 1;
        self.retries += u32::from(self.pays);
        self.pays = false;
        self.starved = false;
        // To ask oneself again helps as little as to ask nobody.
        let last_chance = !self.may_be_sent_again() || (candidate.tier == Tier::Local && !others);
        let left = self.terms.deadline.since(now);
        let timeout = attempt_timeout(self.limits.attempt_timeout, left, last_chance);
        let hedged = others && self.terms.access.any_replica() && !self.terms.retry;
        let hedge_after = shared.timer.delay().filter(|delay| hedged && *delay < timeout);
        Action::Attempt { candidate, timeout, hedge_after }
    }

    /// Newer knowledge: what is ahead on the old plan rests on what is no longer so.
    /// A hedge that brings it a second time changes nothing.
    fn follow(&mut self) {
        let State::Walking(walk) = &mut self.state else { return };
        if self.follows < MAX_FOLLOWS {
            self.follows += 1;
            self.enter(State::Unplanned);
        } else {
            walk.end();
        }
    }

    /// A node that isn't ready may have been replaced, and a relay knows by whom: that is asked once. One that is overloaded
    /// gains nothing from the same request by a detour, times the number of replicas.
    fn rest(&mut self, node: &NodeId, outcome: Outcome, until: Time) {
        self.rests.rest(node, until);
        let ends = outcome == Outcome::Overloaded || self.lost;
        if let (true, State::Walking(walk)) = (ends, &mut self.state) {
            walk.end_relays(node);
        }
    }

    /// Starts a gap that ends when a candidate may be tried `again`, at the earliest.
    ///
    /// A gap that would pass the deadline is cut, once, to half of what is left, so that there is a last walk;
    /// but not the time for which nodes asked. If nothing can be tried before the deadline, the call ends now
    /// instead of then: its answer would be the same, and later.
    fn wait(&mut self, again: Time, starved: bool, now: Time, rng: &mut dyn Rng) {
        let left = self.terms.deadline.since(now);
        let backoff = Backed { nth: self.gaps, drawn: self.limits.backoff.delay(self.gaps, rng) };
        let mut gap = backoff.drawn;
        if gap >= left && !self.cut {
            gap = left / 2;
            self.cut = true;
        }
        self.gaps = self.gaps.saturating_add(1);
        self.starved = starved;
        self.lost |= !starved;
        let until = again.max(now + gap);
        if until < self.terms.deadline {
            self.enter(State::Waiting { until, starved, backoff });
        } else {
            self.finish(Verdict::Expired { last: self.last });
        }
    }

    fn exhaust(&mut self) {
        self.finish(Verdict::Exhausted { last: self.last });
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
}

/// The first attempt of a call earns for others; a retry pays, and so does a call that is somebody's retry. So whatever
/// those retry who call through this router, and say so, it adds no more than its budget to what they ask for the first time.
/// The reserve is for this router's own first retries.
fn pay(
    attempts: u32,
    pays: bool,
    retry: bool,
    first: bool,
    shared: &mut Shared,
    now: Time,
) -> Result<(), Time> {
    if pays {
        return shared.budget.retry(now, first);
    }
    if attempts > 0 {
        return Ok(());
    }
    if !retry {
        shared.budget.earn();
        return Ok(());
    }
    // A router that retries nothing itself adds nothing to what others retry.
    if shared.budget.refills() { shared.budget.retry(now, false) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
