//! Every interleaving of a small cluster: what the simulation draws, tried out in full.
//!
//! Three nodes, of which two own the one space in turn, a writer with an idempotency key and one without; up to three epochs, one
//! crash, messages that come late, never, or again. What decides is the code of production: the receive rule over
//! real routing tables and diffs, the call of `homing-failover` and its policy, and the store and the progress of `kv`. What
//! is told here again is the order in which `kv` takes its steps (`node`), and in which a router does.
//!
//! [`explore`] looks at all states (Stateright), and holds each against what must never happen; and from each a fair schedule, in
//! which all messages arrive, must end every call within forty rounds, and have a new one acknowledged within forty more. With a
//! [`Guard`] taken out there must be a counterexample, and of the rule that it guards: that is how it is known that the model can
//! fail.

mod client;
mod copies;
mod guard;
mod interned;
mod message;
mod node;
mod rule;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use homing_types::{NodeId, Space};
use stateright::report::{ReportData, ReportDiscovery, Reporter};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

pub use guard::Guard;
use state::{Action, Cluster, State};

/// Nodes: two owners, and one that owns nothing.
const NODES: usize = 3;
/// Those that own the space, in turn.
const OWNERS: usize = 2;
/// Writes that are explored, each by a caller of its own.
const WRITES: usize = 2;
/// The new caller of a fair schedule, with a write of its own. In all states that are explored it does nothing.
const FRESH: usize = WRITES;
/// All callers.
const CALLERS: usize = WRITES + 1;
/// The newest epoch.
const EPOCHS: u64 = 3;
/// Rounds of a fair schedule within which every call ends, and as many more within which a new one is acknowledged. A message gets
/// one step further in each, and a call takes seven of them after what the nodes are at, so that this leaves room for retries.
const ROUNDS: usize = 40;

/// Whether this caller's write carries an idempotency key: all but the second one's do.
const fn is_keyed(caller: usize) -> bool {
    caller != 1
}

fn node_name(node: usize) -> NodeId {
    match NodeId::new(&format!("n{node}")) {
        Ok(id) => id,
        Err(error) => unreachable!("{error}"),
    }
}

fn space() -> Space {
    match Space::new("acme") {
        Ok(space) => space,
        Err(error) => unreachable!("{error}"),
    }
}

/// How large a cluster is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The newest epoch, at most 3.
    pub epochs: u64,
    /// Crashes of an owner, each with or without what its disk had not synced.
    pub crashes: u8,
    /// Requests with an idempotency key that arrive twice. (Messages between owners may always do.)
    pub repeats: u8,
    /// Attempts of a call.
    pub attempts: u32,
    /// Whether the caller with an idempotency key calls, and the one without.
    pub callers: [bool; WRITES],
}

impl Bounds {
    /// The caller with an idempotency key, alone.
    pub const KEYED: Self =
        Self { epochs: EPOCHS, crashes: 1, repeats: 0, attempts: 2, callers: [true, false] };
    /// The caller without one, alone.
    pub const UNKEYED: Self =
        Self { epochs: EPOCHS, crashes: 1, repeats: 0, attempts: 3, callers: [false, true] };
    /// Both, and one promotion.
    pub const BOTH: Self = Self { epochs: 2, crashes: 1, repeats: 0, attempts: 1, callers: [true, true] };
    /// The caller with a key, one of whose requests arrives twice: some sixteen million states.
    pub const REPEATED: Self = Self { repeats: 1, ..Self::KEYED };
    /// Both callers, and two promotions: some ten million states.
    pub const ALL: Self = Self { epochs: EPOCHS, ..Self::BOTH };
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { epochs, crashes, repeats, attempts, callers: [keyed, unkeyed] } = self;
        let who = match (keyed, unkeyed) {
            (true, true) => "both callers",
            (true, false) => "a keyed write",
            _ => "an un-keyed write",
        };
        write!(f, "{who}; epochs {epochs}, crashes {crashes}, repeats {repeats}, attempts {attempts}")
    }
}

/// What an exploration came to.
#[derive(Debug, Clone)]
pub struct Explored {
    /// States, all different.
    pub states: usize,
    /// States of one owner's copy, each made by the real store, those of fair schedules among them.
    pub copies: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether it came to its end before the time was over. If not, what was not found may be there all the same.
    pub complete: bool,
    /// What was found. Without a guard other rules may break, too, and stand before [what it guards](Guard::breaks).
    pub problems: Vec<Problem>,
}

/// What must never happen and does, or should happen sometimes and never does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which rule it breaks.
    pub what: String,
    /// The actions that lead there; none if it never happens.
    pub steps: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, steps } = self;
        if steps.is_empty() {
            return f.write_str(what);
        }
        write!(f, "{what}:")?;
        steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// Explores all states within these bounds, or until something is wrong, or, without a guard, until that breaks which it guards; at
/// most for this time. Tells how many states there are, every few seconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the model has no time; this one times it")]
pub fn explore(
    bounds: Bounds,
    without: Option<Guard>,
    most: Duration,
    progress: impl FnMut(usize),
) -> Explored {
    let began = Instant::now();
    let cluster = Cluster::new(bounds, without);
    let copies = Arc::clone(&cluster.copies);
    let end = match without {
        Some(guard) => HasDiscoveries::AnyOf(BTreeSet::from([guard.breaks()])),
        None => HasDiscoveries::AnyFailures,
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = cluster
        .checker()
        .threads(threads)
        .timeout(most)
        .finish_when(end)
        .spawn_bfs()
        .report(&mut Progress { tell: progress, told: Duration::ZERO })
        .join();
    let complete = began.elapsed() < most;
    let mut problems = Vec::new();
    for property in checker.model().properties() {
        let what = property.name;
        match (property.expectation, checker.discovery(what)) {
            // It takes a retry with a key.
            (Expectation::Sometimes, None)
                if without.is_none() && bounds.callers[0] && bounds.attempts > 1 =>
            {
                problems.push(Problem { what: format!("never: {what}"), steps: Vec::new() });
            }
            (Expectation::Always, Some(path)) => {
                let actions = path.into_actions();
                let steps = actions.iter().map(|action| checker.model().tell(action)).collect();
                problems.push(Problem { what: what.to_owned(), steps });
            }
            _ => {}
        }
    }
    let states = checker.unique_state_count();
    Explored { states, copies: copies.len(), took: began.elapsed(), complete, problems }
}

/// Looks often, so that nobody waits for it, and tells seldom.
struct Progress<F> {
    tell: F,
    told: Duration,
}

const LOOK: Duration = Duration::from_millis(20);
const TELL: Duration = Duration::from_secs(5);

impl<F: FnMut(usize)> Reporter<Cluster> for Progress<F> {
    fn report_checking(&mut self, data: ReportData) {
        if !data.done && data.duration >= self.told + TELL {
            self.told = data.duration;
            (self.tell)(data.unique_states);
        }
    }

    fn report_discoveries(&mut self, _: &Cluster, _: BTreeMap<&'static str, ReportDiscovery<Cluster>>) {}

    fn delay(&self) -> Duration {
        LOOK
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.possible(state));
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut after = before.clone();
        self.act(&mut after, action);
        (after != *before).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(rule::PATH, |_, state: &State| state.broken != Some(rule::PATH)),
            Property::always(rule::HOPS, |_, state: &State| state.broken != Some(rule::HOPS)),
            Property::always(rule::RELAY, |_, state: &State| state.broken != Some(rule::RELAY)),
            Property::always(rule::OLD, |_, state: &State| state.broken != Some(rule::OLD)),
            Property::always(rule::EPOCH, |_, state: &State| state.broken != Some(rule::EPOCH)),
            Property::always(rule::TWICE, |_, state: &State| state.broken != Some(rule::TWICE)),
            Property::always(rule::TAUGHT, |_, state: &State| state.broken != Some(rule::TAUGHT)),
            Property::always(rule::HELD, Self::keeps_its_word),
            Property::always(rule::FAIR, Self::serves_fairly),
            Property::sometimes(rule::RETRIED, |_, state: &State| {
                state.forwarded_stale && state.deduplicated
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_steps() {
        let steps = vec!["one".to_owned(), "two".to_owned()];
        let problem = Problem { what: "it broke".to_owned(), steps };
        assert_eq!(problem.to_string(), "it broke:\n  one\n  two");
        let never = Problem { what: "never: it".to_owned(), steps: Vec::new() };
        assert_eq!(never.to_string(), "never: it");
    }
}
