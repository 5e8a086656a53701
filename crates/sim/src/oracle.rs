//! What must never happen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use homing_router::Granted;
use homing_routing_table::Snapshot;
use homing_transport::Routed;
use homing_types::{Access, Epoch, Grant, Owners, Role};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::authority::{Grants, Script};
use crate::meters::Spent;
use crate::names::{node_id, number_of_space, slot_of, space_of};
use crate::report::Violation;
use crate::story::Story;

/// The header that bears the path of a request.
const PATH: HeaderName = HeaderName::from_static("x-sim-path");

/// The header of a write without an idempotency key: its number.
pub(crate) const ONCE: HeaderName = HeaderName::from_static("x-sim-once");

/// The most hops of one attempt.
const MAX_HOPS: usize = 3;

/// Full jitter draws from 0 to min(cap, 10 ms × 2ⁿ): a gap that is this most, to the nanosecond, was not drawn. Only n = 3 to 6
/// are looked at, since shorter gaps and a whole second are also what nodes ask for as retry-after.
const UNDRAWN: [Duration; 4] = [
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(640),
];

/// One or two may be chance: a gap that would pass the deadline is cut to half of what is left.
const CHANCE: u32 = 3;

/// Watches a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Oracle {
    story: Story,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    violations: Vec<Violation>,
    /// What each incarnation of a node knows of each space.
    known: BTreeMap<(usize, usize), Known>,
    /// Writes that may be executed once, and that somebody has begun.
    begun: BTreeSet<u64>,
    /// Gaps that don't look drawn.
    undrawn: u32,
}

#[derive(Debug, Clone)]
struct Known {
    incarnation: u32,
    epoch: Epoch,
    owners: Option<Owners>,
}

impl Oracle {
    pub(crate) fn new(story: Story) -> Self {
        Self { story, state: Arc::default() }
    }

    pub(crate) const fn story(&self) -> &Story {
        &self.story
    }

    pub(crate) fn violated(&self, rule: &'static str, what: String) {
        self.story.tell(format_args!("VIOLATED {rule}: {what}"));
        self.state.lock().violations.push(Violation { rule, what });
    }

    /// A routed request goes to a node. It carries its path, which a new attempt begins anew: the same node, epoch and relay
    /// flag twice is a loop, and only the first of it can be a relay.
    pub(crate) fn crosses(&self, to: usize, routed: &Routed, headers: &mut HeaderMap) {
        let before = headers.get(PATH).and_then(|path| path.to_str().ok()).unwrap_or_default();
        let step = format!("{}@{}{}", node_id(to), routed.believed, if routed.relay { "+relay" } else { "" });
        let looped = before.split_whitespace().any(|passed| passed == step);
        let path = format!("{before} {step}");
        // Who relays is the second on the way, and passes the request on as any other.
        let relayed_on = routed.relay && !before.is_empty();
        if looped || relayed_on || path.split_whitespace().count() > MAX_HOPS {
            self.violated("path", format!("a request for {} went {path}", routed.space));
        }
        if let Ok(path) = HeaderValue::try_from(path) {
            headers.insert(PATH, path);
        }
    }

    /// What a node knows grows newer while it lives, and an epoch has one group.
    pub(crate) fn knows(&self, node: usize, incarnation: u32, spaces: usize, table: &Snapshot) {
        for space in 0..spaces {
            let found = table.lookup(space_of(space).key());
            let owners = found.map(|found| found.owners());
            let now = Known { incarnation, epoch: table.epoch(slot_of(space)), owners };
            let before = self.state.lock().known.insert((node, space), now.clone());
            let Some(before) = before.filter(|before| before.incarnation == incarnation) else { continue };
            if now.epoch < before.epoch || (now.epoch == before.epoch && now.owners != before.owners) {
                let name = node_id(node);
                self.violated("epoch", format!("{name} knew of space-{space} {before:?}, and now {now:?}"));
            }
        }
    }

    /// An answer came to a node, and names an epoch: who is told that its knowledge is old is taught the newer one.
    pub(crate) fn taught(&self, node: usize, space: usize, named: Epoch, known: Epoch) {
        if known < named {
            let name = node_id(node);
            let what =
                format!("{name} was answered out of epoch {named} of space-{space}, and knows {known}");
            self.violated("learns", what);
        }
    }

    /// A node executes, and must have the right to.
    pub(crate) fn granted(
        &self,
        node: usize,
        grant: &Grant,
        access: Access,
        authority: &Script,
        grants: &Grants,
    ) {
        let (me, space) = (node_id(node), number_of_space(&grant.space));
        // Where grants end, who was replaced knows it, or has none.
        let replaced =
            grants.end && grant.role == Role::Primary && *authority.newest(space).1.primary() != me;
        let right = authority.made(space, grant.epoch, &me, grant.role) && !replaced;
        if !right || !grants.hold() || (access != Access::Read && grant.role != Role::Primary) {
            let Grant { space, role, epoch, .. } = grant;
            let holds = grants.hold();
            let what = format!(
                "{me} executes a {access} of {space} as {role} in epoch {epoch}; right {right}, grant {holds}"
            );
            self.violated("grant", what);
        }
    }

    /// Requests under way at a node have a bound.
    pub(crate) fn under_way(&self, node: usize, under_way: usize, most: usize) {
        if under_way > most {
            self.violated(
                "bound",
                format!("{under_way} requests are under way at {}, of {most}", node_id(node)),
            );
        }
    }

    /// A node begins to execute. Returns the number of a write that may be executed once.
    pub(crate) fn begins(&self, node: usize, granted: &Granted) -> Option<u64> {
        let once = granted.request.headers().get(ONCE)?.to_str().ok()?.parse().ok()?;
        if !self.state.lock().begun.insert(once) {
            let what = format!("{} executes write {once} again, which has no idempotency key", node_id(node));
            self.violated("twice", what);
        }
        Some(once)
    }

    /// What was begun was certainly not executed.
    pub(crate) fn did_not_execute(&self, write: u64) {
        self.state.lock().begun.remove(&write);
    }

    /// A router has spent this on retries and hedges in one incarnation.
    pub(crate) fn spent(&self, node: usize, spent: Spent, may: f64) {
        let Spent { calls, retries, hedges } = spent;
        if (retries + hedges) as f64 > may + 1e-6 {
            let what = format!(
                "{}: {retries} retries and {hedges} hedges for {calls} calls, of {may:.1}",
                node_id(node)
            );
            self.violated("budget", what);
        }
    }

    /// A router waits before it tries again.
    pub(crate) fn waits(&self, gap: Duration) {
        if !UNDRAWN.contains(&gap) {
            return;
        }
        let mut state = self.state.lock();
        state.undrawn += 1;
        let undrawn = state.undrawn;
        drop(state);
        if undrawn == CHANCE {
            let what = format!("{CHANCE} gaps like one of {gap:?}: who failed together comes back together");
            self.violated("jitter", what);
        }
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }
}
