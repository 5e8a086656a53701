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

use crate::authority::{Lease, Script};
use crate::meters::Spent;
use crate::report::Violation;
use crate::story::Story;
use crate::world::{node_id, number_of_space, slot_of, space_of};

/// The header that bears the path of a request.
const PATH: HeaderName = HeaderName::from_static("x-sim-path");

/// The header of a write without an idempotency key: its number.
pub(crate) const ONCE: HeaderName = HeaderName::from_static("x-sim-once");

/// The most hops of one attempt.
const MAX_HOPS: usize = 3;

/// Gaps that are drawn come out as one of these only if they are not: the most that the fourth to the seventh can be. (Shorter ones
/// are what nodes ask for, and a second is both.)
const UNDRAWN: [Duration; 4] = [
    Duration::from_millis(80),
    Duration::from_millis(160),
    Duration::from_millis(320),
    Duration::from_millis(640),
];

/// So many of them are not by chance: a call whose deadline is near waits half of what is left.
const CHANCE: u32 = 3;

/// Watches a run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Oracle(Arc<Watched>);

struct Watched {
    story: Story,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    violations: Vec<Violation>,
    /// What each life of a node knows of each space.
    known: BTreeMap<(usize, usize), Known>,
    /// Writes that may be executed once, and that somebody has begun.
    begun: BTreeSet<u64>,
    /// Gaps that don't look drawn.
    undrawn: u32,
    /// Calls by the hops of their answers.
    hops: BTreeMap<u8, u64>,
}

#[derive(Debug, Clone)]
struct Known {
    life: u32,
    epoch: Epoch,
    owners: Option<Owners>,
}

impl Oracle {
    pub(crate) fn new(story: Story) -> Self {
        Self(Arc::new(Watched { story, state: Mutex::default() }))
    }

    pub(crate) fn violated(&self, rule: &'static str, what: String) {
        self.0.story.tell(format_args!("VIOLATED {rule}: {what}"));
        self.0.state.lock().violations.push(Violation { rule, what });
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
    pub(crate) fn knows(&self, node: usize, life: u32, spaces: usize, table: &Snapshot) {
        for space in 0..spaces {
            let found = table.lookup(space_of(space).key());
            let owners = found.map(|found| found.owners());
            let now = Known { life, epoch: table.epoch(slot_of(space)), owners };
            let before = self.0.state.lock().known.insert((node, space), now.clone());
            let Some(before) = before.filter(|before| before.life == life) else { continue };
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
        lease: &Lease,
    ) {
        let (me, space) = (node_id(node), number_of_space(&grant.space));
        let right = authority.made(space, grant.epoch, &me, grant.role);
        if !right || !lease.holds() || (access != Access::Read && grant.role != Role::Primary) {
            let Grant { space, role, epoch, .. } = grant;
            let holds = lease.holds();
            let what = format!(
                "{me} executes a {access} of {space} as {role} in epoch {epoch}; right {right}, grant {holds}"
            );
            self.violated("grant", what);
        }
    }

    /// Requests under way at a node have a bound.
    pub(crate) fn is_bounded(&self, node: usize, under_way: usize, most: usize) {
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
        if !self.0.state.lock().begun.insert(once) {
            let what = format!("{} executes write {once} again, which has no idempotency key", node_id(node));
            self.violated("twice", what);
        }
        Some(once)
    }

    /// What was begun was certainly not executed.
    pub(crate) fn did_not_execute(&self, write: u64) {
        self.0.state.lock().begun.remove(&write);
    }

    /// A router has spent this on retries and hedges in one life.
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
        let mut state = self.0.state.lock();
        state.undrawn += 1;
        let undrawn = state.undrawn;
        drop(state);
        if undrawn == CHANCE {
            let what = format!("{CHANCE} gaps like one of {gap:?}: who failed together comes back together");
            self.violated("jitter", what);
        }
    }

    pub(crate) fn answered(&self, hops: u8) {
        *self.0.state.lock().hops.entry(hops).or_default() += 1;
    }

    pub(crate) fn violations(&self) -> Vec<Violation> {
        self.0.state.lock().violations.clone()
    }

    pub(crate) fn hops(&self) -> BTreeMap<u8, u64> {
        self.0.state.lock().hops.clone()
    }
}
