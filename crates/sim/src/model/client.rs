//! A caller: the real call of `homing-failover`, over the real policy.

use std::collections::HashMap;
use std::time::Duration;

use homing_failover::{
    Action, BudgetLimits, Call, Candidate, Limits, Nearest, PlanRequest, Planned, Policy, Report, Shared,
    Standing, Terms, Tier,
};
use homing_types::{Access, Locality, Outcome, Time};
use parking_lot::RwLock;
use rand::rand_core::{Infallible, TryRng};

use super::guard::Guard;
use super::interned::Interned;
use super::state::Cluster;
use super::{NODES, is_keyed, node_name};

/// The forwards that the receiver of an attempt may still make, as a router has it.
const HOPS_LEFT: u8 = 2;

/// How soon a node that isn't ready wants to be asked again.
const SOON: Duration = Duration::from_millis(50);

/// Whom a plan names first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum First {
    /// The primary.
    Primary,
    /// The replica, as a relay: the primary is suspected.
    Replica,
    /// Who owns nothing, as where a call enters by way of any node.
    Stranger,
}

impl First {
    pub(super) const ALL: [Self; 3] = [Self::Primary, Self::Replica, Self::Stranger];
}

/// A caller with its call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Caller {
    call: CallId,
    /// What it knows.
    pub(super) epoch: u64,
    /// What its plan rests on.
    planned: Option<u64>,
    now: Time,
    pub(super) attempt: u8,
    /// Whom it waits for.
    pub(super) waits_for: Option<u8>,
    pub(super) over: bool,
}

/// A state of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct CallId(u32);

/// All states of calls that were ever seen, and what came of what was done with them.
#[derive(Default)]
pub(super) struct Calls {
    seen: Interned<Call>,
    nexts: RwLock<HashMap<(Caller, First), Next>>,
    reports: RwLock<HashMap<(Caller, u8, Outcome, bool), Caller>>,
}

/// A caller that has made its plan, and what it does.
type Next = (Caller, Option<Try>);

/// An attempt to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Try {
    pub(super) to: u8,
    pub(super) relay: bool,
    pub(super) hops_left: u8,
}

impl Calls {
    fn intern(&self, call: Call) -> CallId {
        CallId(self.seen.id(format!("{call:?}"), || call))
    }

    fn get(&self, id: CallId) -> Call {
        self.seen.read(id.0, Call::clone)
    }
}

/// Time and chance are the model's to choose: gaps are as short as they may be.
struct Shortest;

impl TryRng for Shortest {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(0);
        Ok(())
    }
}

impl Cluster {
    /// A caller before its first attempt, or one that never calls.
    pub(super) fn caller(&self, who: usize, attempts: u32, calls: bool) -> Caller {
        let limits = Limits { max_attempts: attempts, ..Limits::default() };
        let deadline = Time::ZERO + Duration::from_secs(1_000);
        let keyed = is_keyed(who);
        let terms = Terms { access: Access::Write, keyed, retry: false, started: Time::ZERO, deadline };
        let call = self.calls.intern(Call::new(limits, terms));
        let (now, planned) = (Time::ZERO, None);
        Caller { call, epoch: 1, planned, now, attempt: 0, waits_for: None, over: !calls }
    }

    /// Whom the caller tries next; `None` if its call is over.
    pub(super) fn next_attempt(&self, caller: &mut Caller, first: First) -> Option<Try> {
        let before = (caller.clone(), first);
        let known = self.calls.nexts.read().get(&before).cloned();
        let (after, next) = known.unwrap_or_else(|| {
            let next = self.work_out_next(caller, first);
            self.calls.nexts.write().insert(before, (caller.clone(), next));
            (caller.clone(), next)
        });
        *caller = after;
        next
    }

    fn work_out_next(&self, caller: &mut Caller, first: First) -> Option<Try> {
        let mut call = self.calls.get(caller.call);
        let mut shared = Shared::new(BudgetLimits::default());
        let next = loop {
            if caller.planned.is_some_and(|planned| planned < caller.epoch) {
                call.renew();
                caller.planned = Some(caller.epoch);
                call.plan(self.plan(caller.epoch, first, call.is_lost()));
            }
            match call.next(caller.now, &mut shared, &mut Shortest) {
                Action::Plan => {
                    caller.planned = Some(caller.epoch);
                    call.plan(self.plan(caller.epoch, first, call.is_lost()));
                }
                Action::Attempt { candidate, .. } => {
                    let hops_left = HOPS_LEFT.saturating_sub(u8::try_from(call.follows()).unwrap_or(u8::MAX));
                    caller.attempt += 1;
                    let to =
                        (0..NODES).position(|node| node_name(node) == candidate.node).unwrap_or_default();
                    break Some(Try { to: to as u8, relay: candidate.relay, hops_left });
                }
                Action::Wait { until, .. } => caller.now = until,
                Action::Finish(_) => {
                    caller.over = true;
                    break None;
                }
            }
        };
        caller.call = self.calls.intern(call);
        next
    }

    /// Tells the call what became of its attempt at a node. `taught`: its reply brought newer owners.
    pub(super) fn attempted(&self, caller: &mut Caller, node: u8, outcome: Outcome, taught: bool) {
        let before = (caller.clone(), node, outcome, taught);
        let known = self.calls.reports.read().get(&before).cloned();
        *caller = known.unwrap_or_else(|| {
            let after = self.report(caller.clone(), node, outcome, taught);
            self.calls.reports.write().insert(before, after.clone());
            after
        });
    }

    fn report(&self, mut caller: Caller, node: u8, outcome: Outcome, taught: bool) -> Caller {
        let mut call = self.calls.get(caller.call);
        let retry_after = (outcome == Outcome::NotReady).then_some(SOON);
        if taught && outcome != Outcome::NotReady {
            caller.planned = Some(caller.epoch);
        }
        let node = node_name(node.into());
        call.attempted(Report { node, outcome, retry_after, taught, reason: String::new() }, caller.now);
        caller.waits_for = None;
        caller.call = self.calls.intern(call);
        caller
    }

    /// Whether the caller learns this epoch from a reply.
    pub(super) fn teach(&self, caller: &mut Caller, epoch: u64) -> bool {
        let newer = epoch > caller.epoch && self.keeps(Guard::Learned);
        if newer {
            caller.epoch = self.tables.learn(caller.epoch, epoch);
        }
        newer
    }

    fn plan(&self, epoch: u64, first: First, lost: bool) -> Vec<Planned> {
        let [primary, replica] = self.tables.owners(epoch).map(node_name);
        let suspect = |node: &_| Standing {
            suspect: first == First::Replica && *node == primary,
            ..Standing::default()
        };
        let request = PlanRequest {
            me: None,
            locality: &Locality::default(),
            access: Access::Write,
            primary: &primary,
            in_sync: std::slice::from_ref(&replica),
            locality_of: &|_| None,
            standing: &suspect,
        };
        let mut plan = Nearest.plan(&request, &mut Shortest);
        let owner = |node: &_| *node == primary || *node == replica;
        let strangers = (0..NODES).map(node_name).filter(|node| !owner(node)).map(|node| Planned {
            candidate: Candidate { node, tier: Tier::Far, relay: false },
            standing: Standing::default(),
            why: "may know the owners".into(),
        });
        match (first, lost) {
            (First::Stranger, _) => plan.splice(..0, strangers).for_each(drop),
            (_, true) => plan.extend(strangers),
            (_, false) => {}
        }
        plan
    }
}
