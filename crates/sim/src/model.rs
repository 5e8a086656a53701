//! Every interleaving of a small cluster: what the simulation draws, tried out in full.
//!
//! Three nodes, of which two own the one space in turn, a writer with an idempotency key and one without; up to three epochs, one
//! crash, messages that come late, never, or again. What decides is the code of production: the receive rule over
//! real routing tables and diffs, the call of `homing-failover` and its policy, and the store and the progress of `kv`. What
//! is told here again is the order in which `kv` takes its steps (`node`), and in which a router does.
//!
//! [`explore`] looks at all states (Stateright), and holds each against what must never happen; and from each a fair schedule, in
//! which all messages arrive, must end every call within forty rounds. With a [`Guard`] taken out there must be a
//! counterexample: that is how it is known that the model can fail.

mod client;
mod copies;
mod guard;
mod message;
mod node;
mod state;

use std::collections::BTreeMap;
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
/// Writes, each by a caller of its own; the first one carries an idempotency key.
const WRITES: usize = 2;
/// The newest epoch.
const EPOCHS: u64 = 3;
/// Rounds of a fair schedule after which every call has ended.
const ROUNDS: usize = 40;

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
    /// States of one owner's copy, each made by the real store.
    pub copies: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether that is all there are.
    pub complete: bool,
    /// What was found: what must never happen and does, with the actions that lead there; what should happen sometimes and
    /// never does.
    pub problems: Vec<String>,
}

/// Explores all states within these bounds, or until something is wrong; at most for this time. Tells how many states there are,
/// every few seconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the model has no time; this one times it")]
pub fn explore(bounds: Bounds, guard: Option<Guard>, most: Duration, tell: impl FnMut(usize)) -> Explored {
    let began = Instant::now();
    let cluster = Cluster::new(bounds, guard);
    let copies = Arc::clone(&cluster.copies);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checker = cluster
        .checker()
        .threads(threads)
        .timeout(most)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .report(&mut Progress { tell, told: Duration::ZERO })
        .join();
    let complete = began.elapsed() < most;
    let mut problems = Vec::new();
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        match (property.expectation, found) {
            // It takes a retry with a key.
            (Expectation::Sometimes, None) if guard.is_none() && bounds.callers[0] && bounds.attempts > 1 => {
                problems.push(format!("never: {}", property.name));
            }
            (Expectation::Always, Some(path)) => {
                let after = path.last_state().broken.unwrap_or(property.name);
                let actions: Vec<_> = path.into_actions();
                let lines = actions.iter().map(|action| format!("\n  {}", checker.model().tell(action)));
                problems.push(format!("{after}:{}", lines.collect::<String>()));
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
            Property::always("nothing is broken", |_, state: &State| state.broken.is_none()),
            Property::always("what was acknowledged is at both owners", Self::keeps_its_word),
            Property::always("every call ends in a fair schedule", Self::ends_fairly),
            Property::sometimes("a stale forward and a deduplicated retry in one run", |_, state: &State| {
                state.forwarded_stale && state.deduplicated
            }),
        ]
    }
}
