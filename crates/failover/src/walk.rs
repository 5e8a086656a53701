//! One walk through one plan, from its best candidate to its last.

use homing_types::{NodeId, Time};

use crate::plan::{Candidate, MAX_PLAN, Planned};
use crate::rests::Rests;

#[derive(Debug, Clone)]
pub(crate) struct Walk {
    candidates: Vec<Candidate>,
    /// How many of them are behind.
    passed: usize,
}

impl Walk {
    pub(crate) fn new(plan: Vec<Planned>) -> Self {
        let candidates = plan.into_iter().take(MAX_PLAN).map(|planned| planned.candidate).collect();
        Self { candidates, passed: 0 }
    }

    /// Whether a candidate is ahead that doesn't rest.
    pub(crate) fn has_next(&self, rests: &Rests, now: Time) -> bool {
        self.candidates[self.passed..].iter().any(|candidate| rests.over(&candidate.node) <= now)
    }

    /// The next candidate that doesn't rest.
    pub(crate) fn step(&mut self, rests: &Rests, now: Time) -> Option<Candidate> {
        let ahead = &self.candidates[self.passed..];
        let found = ahead.iter().position(|candidate| rests.over(&candidate.node) <= now);
        self.passed += found.map_or(ahead.len(), |skipped| skipped + 1);
        found.map(|_| self.candidates[self.passed - 1].clone())
    }

    /// Lets go of all that is ahead.
    pub(crate) fn end(&mut self) {
        self.passed = self.candidates.len();
    }

    /// Lets go of the relays ahead if `node` is the one they would relay to.
    pub(crate) fn end_relays(&mut self, node: &NodeId) {
        let direct = self.candidates.iter().any(|candidate| candidate.node == *node && !candidate.relay);
        if direct {
            let ahead = self.candidates.split_off(self.passed);
            self.candidates.extend(ahead.into_iter().filter(|candidate| !candidate.relay));
        }
    }

    /// Lets go of the relays to a node that has asked to be left alone.
    pub(crate) fn end_relays_of_resting(&mut self, rests: &Rests) {
        let resting = self.candidates.iter().find(|to| !to.relay && rests.over(&to.node) > Time::ZERO);
        if let Some(node) = resting.map(|to| to.node.clone()) {
            self.end_relays(&node);
        }
    }

    /// When the first of all candidates may be tried (again). Without candidates nobody needs to be waited for.
    pub(crate) fn again(&self, rests: &Rests) -> Time {
        self.candidates.iter().map(|candidate| rests.over(&candidate.node)).min().unwrap_or(Time::ZERO)
    }
}
