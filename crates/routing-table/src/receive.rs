//! The receive rule: what a node does with a routed request, by what the sender believes and what it knows itself.
//!
//! A request says which epoch `s` of the group its sender believes in; this node has epoch `x`.
//!
//! 1. `s > x`: this node is behind. It applies the group that came along, or pulls it once, and decides again. If it
//!    could not learn it, it asks for patience: it never acts on what it was just told is old. If the sender can't
//!    show the epoch that it claims, that epoch is a phantom.
//! 2. It owns the space for this access: it executes, unless the gate holds requests back.
//! 3. Else, and `x > s`: the sender is behind. The request goes on with epoch `x`, so each such hop strictly raises it.
//! 4. Else, `x == s` and the relay flag is set: the sender couldn't reach the owner itself. The request goes on once,
//!    the flag cleared.
//! 5. Else, or with no hops left: this node says that it is not the owner, and who is.
//!
//! So a path ends: each hop raises the epoch or clears the flag (which nobody sets on the way), and counts down
//! the hops. No (node, epoch, relay flag) occurs twice on it.

use std::fmt;
use std::time::Duration;

use homing_types::{Access, Epoch, NodeId, Role, Twin};

use crate::Lookup;

/// How soon to ask again a node that is behind: about a round trip and a diff's spreading.
const BEHIND: Duration = Duration::from_millis(50);

/// How soon to ask again for a group in conflict: somebody has to have it minted anew.
const CONFLICT: Duration = Duration::from_secs(1);

/// What a routed request says, and what became of learning from its sender.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// The epoch that the sender believes in; zero if it knows nothing.
    pub believed: Epoch,
    /// What the request wants of its space.
    pub access: Access,
    /// How many more hops the request may take.
    pub hops_left: u8,
    /// Whether the sender couldn't reach the owner itself.
    pub relay: bool,
    /// The epoch of the group that came along, if one did. It was applied, or was known.
    pub shown: Option<Epoch>,
    /// What became of the pull from the sender.
    pub pull: Pull,
}

/// What became of the one pull that a request may cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pull {
    /// There was none.
    NotTried,
    /// The sender could not be asked, or gave no usable answer.
    Failed,
    /// The sender showed a group of this epoch (zero: it has none). It was applied, or was known.
    Answered(Epoch),
}

/// What this node knows.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// This node.
    pub me: &'a NodeId,
    /// What its table says of the space, if anything.
    pub lookup: Option<&'a Lookup<'a>>,
    /// The gate: while requests for the space in this role are held back (fenced, loading, catching up, being moved),
    /// how soon to ask again.
    pub closed: &'a dyn Fn(Role) -> Option<Duration>,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Pull the group from the sender, and decide again.
    Pull,
    /// Execute the request here.
    Execute {
        /// As what.
        role: Role,
        /// The epoch that says so.
        epoch: Epoch,
    },
    /// Don't execute it: ask for patience.
    NotReady {
        /// How soon to ask again.
        retry_after: Duration,
        /// Why.
        reason: NotReadyReason,
    },
    /// Pass it on to an owner, once, with the relay flag cleared.
    Forward {
        /// The epoch to pass on as believed: this node's.
        epoch: Epoch,
        /// The hops left to whoever gets it.
        hops_left: u8,
    },
    /// Say who owns the space, as far as is known.
    NotOwner,
    /// Refuse it: the sender claims an epoch that it can't show.
    Phantom,
}

/// Why an owner can't execute a request now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotReadyReason {
    /// The sender knows a newer group, which this node could not learn.
    Behind,
    /// Two groups came with one epoch.
    Conflict,
    /// The gate is closed.
    Closed,
}

impl fmt::Display for NotReadyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Behind => {
                "the sender knows newer owners of the space, and this node could not learn them yet"
            }
            Self::Conflict => {
                "two groups came with one epoch: no writes until the authority mints the group anew"
            }
            Self::Closed => "this node owns the space but holds its requests back",
        })
    }
}

/// Decides what to do with a routed request.
#[must_use]
pub fn receive(received: &Received, known: &Known<'_>) -> Decision {
    let group = known.lookup.map_or(GroupFacts::default(), |lookup| GroupFacts {
        epoch: lookup.epoch(),
        role: lookup.serves(known.me, received.access),
        conflict: lookup.conflict(),
    });
    decide(received, group, known.closed)
}

/// What the rule needs of a group.
#[derive(Debug, Clone, Copy, Default)]
struct GroupFacts {
    epoch: Epoch,
    /// In which role this node may serve the access.
    role: Option<Role>,
    conflict: bool,
}

fn decide(received: &Received, group: GroupFacts, closed: &dyn Fn(Role) -> Option<Duration>) -> Decision {
    if received.believed > group.epoch {
        return catch_up(received);
    }
    if let Some(role) = group.role {
        return serve(received.access, role, group, closed);
    }
    let sender_is_behind = group.epoch > received.believed;
    let relayed = received.relay && !group.epoch.is_zero();
    match received.hops_left.checked_sub(u8::from(!Twin::HopNotCounted.is_on())) {
        Some(hops_left) if sender_is_behind || relayed => Decision::Forward { epoch: group.epoch, hops_left },
        _ => Decision::NotOwner,
    }
}

/// The sender believes in an epoch that this node doesn't know.
fn catch_up(received: &Received) -> Decision {
    let answered = match received.pull {
        Pull::Answered(epoch) => Some(epoch),
        Pull::NotTried | Pull::Failed => None,
    };
    match received.shown.or(answered) {
        Some(epoch) if epoch < received.believed => Decision::Phantom,
        None if received.pull == Pull::NotTried => Decision::Pull,
        _ => Decision::NotReady { retry_after: BEHIND, reason: NotReadyReason::Behind },
    }
}

fn serve(
    access: Access,
    role: Role,
    group: GroupFacts,
    closed: &dyn Fn(Role) -> Option<Duration>,
) -> Decision {
    if group.conflict && access == Access::Write {
        return Decision::NotReady { retry_after: CONFLICT, reason: NotReadyReason::Conflict };
    }
    match closed(role) {
        Some(retry_after) => Decision::NotReady { retry_after, reason: NotReadyReason::Closed },
        None => Decision::Execute { role, epoch: group.epoch },
    }
}

#[cfg(test)]
mod tests {
    use homing_types::{Owners, Replica, ReplicaState, SpaceKey};

    use super::*;
    use crate::{Diff, Group, RoutingTable};

    const WAIT: Duration = Duration::from_millis(7);

    fn epochs() -> impl Iterator<Item = Epoch> + Clone {
        [0, 1, 2, u64::MAX - 1, u64::MAX].into_iter().map(Epoch::new)
    }

    /// Every request and every state of this node over small domains.
    fn cases(mut check: impl FnMut(Received, GroupFacts, bool, Decision)) {
        let roles = [None, Some(Role::Primary), Some(Role::Replica)];
        let shown: Vec<_> = epochs().map(Some).chain([None]).collect();
        let pulls: Vec<_> = epochs().map(Pull::Answered).chain([Pull::NotTried, Pull::Failed]).collect();
        for believed in epochs() {
            for epoch in epochs() {
                for access in Access::ALL {
                    for role in roles {
                        for flags in 0..8_u8 {
                            let [relay, conflict, open] = [1, 2, 4].map(|bit| flags & bit != 0);
                            let group = GroupFacts { epoch, role, conflict };
                            if !possible(access, group) {
                                continue;
                            }
                            for hops_left in [0, 1, 2, u8::MAX] {
                                for &shown in &shown {
                                    for &pull in &pulls {
                                        let received =
                                            Received { believed, access, hops_left, relay, shown, pull };
                                        let decision = decide(&received, group, &|_| (!open).then_some(WAIT));
                                        check(received, group, open, decision);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// A node that knows nothing has no role, and only reads go to replicas.
    fn possible(access: Access, group: GroupFacts) -> bool {
        let reads_replica = group.role != Some(Role::Replica) || access == Access::Read;
        reads_replica && (!group.epoch.is_zero() || (group.role.is_none() && !group.conflict))
    }

    #[test]
    fn nothing_is_executed_on_knowledge_that_is_known_to_be_old() {
        cases(|received, group, _, decision| {
            let acts = matches!(decision, Decision::Execute { .. } | Decision::Forward { .. });
            assert!(!(acts && received.believed > group.epoch), "{received:?} {group:?} {decision:?}");
        });
    }

    #[test]
    fn an_owner_that_is_not_behind_executes_exactly_if_nothing_holds_it_back() {
        cases(|received, group, open, decision| {
            let (Some(role), true) = (group.role, received.believed <= group.epoch) else {
                assert!(!matches!(decision, Decision::Execute { .. }), "{received:?} {group:?} {decision:?}");
                return;
            };
            let expected = if group.conflict && received.access == Access::Write {
                Decision::NotReady { retry_after: CONFLICT, reason: NotReadyReason::Conflict }
            } else if open {
                Decision::Execute { role, epoch: group.epoch }
            } else {
                Decision::NotReady { retry_after: WAIT, reason: NotReadyReason::Closed }
            };
            assert_eq!(decision, expected, "{received:?} {group:?}");
        });
    }

    #[test]
    fn each_forward_raises_the_epoch_or_clears_the_relay_flag_and_counts_down() {
        cases(|received, group, _, decision| {
            if let Decision::Forward { epoch, hops_left } = decision {
                assert_eq!(epoch, group.epoch);
                assert_eq!(Some(hops_left), received.hops_left.checked_sub(1));
                assert!(epoch > received.believed || (epoch == received.believed && received.relay));
                assert!(!epoch.is_zero() && group.role.is_none());
            }
        });
    }

    #[test]
    fn whoever_is_no_owner_forwards_what_it_can_and_explains_the_rest() {
        cases(|received, group, _, decision| {
            if group.role.is_some() || received.believed > group.epoch {
                assert!(!matches!(decision, Decision::Forward { .. } | Decision::NotOwner));
                return;
            }
            let may = group.epoch > received.believed || (received.relay && !group.epoch.is_zero());
            let forwards = matches!(decision, Decision::Forward { .. });
            assert_eq!(forwards, may && received.hops_left > 0, "{received:?} {group:?} {decision:?}");
            assert_eq!(decision == Decision::NotOwner, !forwards, "{received:?} {group:?} {decision:?}");
        });
    }

    #[test]
    fn a_node_behind_pulls_once_then_asks_for_patience_or_calls_out_a_phantom() {
        cases(|received, group, _, decision| {
            if received.believed <= group.epoch {
                assert!(!matches!(decision, Decision::Pull | Decision::Phantom), "{decision:?}");
                return;
            }
            let learned = match (received.shown, received.pull) {
                (Some(shown), _) => Some(shown),
                (None, Pull::Answered(answered)) => Some(answered),
                (None, Pull::NotTried) => return assert_eq!(decision, Decision::Pull),
                (None, Pull::Failed) => None,
            };
            let behind = Decision::NotReady { retry_after: BEHIND, reason: NotReadyReason::Behind };
            let phantom = learned.is_some_and(|learned| learned < received.believed);
            assert_eq!(decision, if phantom { Decision::Phantom } else { behind }, "{received:?}");
        });
    }

    #[test]
    fn the_rule_takes_its_facts_from_the_table() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| NodeId::new(id).unwrap());
        let replicas = vec![
            Replica { node: b.clone(), state: ReplicaState::InSync },
            Replica { node: c.clone(), state: ReplicaState::CatchingUp },
        ];
        let owners = Owners::new(a.clone(), replicas).unwrap();
        let key = SpaceKey::of("acme");
        let table = RoutingTable::new();
        let decide = |me: &NodeId, access| {
            let loaded = table.load();
            let lookup = loaded.lookup(key);
            let pull = Pull::NotTried;
            let believed = Epoch::ZERO;
            let received = Received { believed, access, hops_left: 1, relay: false, shown: None, pull };
            receive(&received, &Known { me, lookup: lookup.as_ref(), closed: &|_| None })
        };
        assert_eq!(decide(&a, Access::Write), Decision::NotOwner);

        let group = Group::new(Epoch::new(5), owners);
        table.apply(&Diff::one(key.slot(), group).unwrap()).unwrap();
        let execute = |role| Decision::Execute { role, epoch: Epoch::new(5) };
        let forward = Decision::Forward { epoch: Epoch::new(5), hops_left: 0 };
        assert_eq!(decide(&a, Access::Write), execute(Role::Primary));
        assert_eq!(decide(&b, Access::Write), forward);
        assert_eq!(decide(&b, Access::Read), execute(Role::Replica));
        assert_eq!(decide(&b, Access::ReadPrimary), forward);
        assert_eq!(decide(&c, Access::Read), forward);
        assert_eq!(decide(&d, Access::Read), forward);

        let other = Group::new(Epoch::new(5), Owners::new(d, Vec::new()).unwrap());
        table.apply(&Diff::one(key.slot(), other).unwrap()).unwrap();
        assert!(matches!(
            decide(&a, Access::Write),
            Decision::NotReady { reason: NotReadyReason::Conflict, .. }
        ));
        assert_eq!(decide(&a, Access::Read), execute(Role::Primary));
    }

    /// What one of three nodes holds, or a sender shows: an epoch, and who is the primary in it.
    type Belief = (u64, usize);

    /// How a request's group gets to a node that is behind.
    #[derive(Debug, Clone, Copy)]
    enum Proof {
        Carried,
        Pulled,
        Unreachable,
        Phantom,
    }

    /// Follows a write from node to node. Returns each (node, epoch believed, relay flag) on its path.
    fn walk(
        mut tables: [Belief; 3],
        mut sender: Belief,
        proof: Proof,
        start: usize,
        mut relay: bool,
        mut hops_left: u8,
    ) -> Vec<(usize, u64, bool)> {
        let mut path = Vec::new();
        let mut at = start;
        loop {
            path.push((at, sender.0, relay));
            let mut shown = None;
            let mut pull = Pull::NotTried;
            if matches!(proof, Proof::Carried) {
                shown = Some(Epoch::new(sender.0));
                tables[at] = newer(tables[at], sender);
            }
            let forward = loop {
                let (epoch, primary) = tables[at];
                let role = (epoch > 0 && primary == at).then_some(Role::Primary);
                let group = GroupFacts { epoch: Epoch::new(epoch), role, conflict: false };
                let believed = Epoch::new(sender.0);
                let received = Received { believed, access: Access::Write, hops_left, relay, shown, pull };
                match decide(&received, group, &|_| None) {
                    Decision::Pull => {
                        assert_eq!(pull, Pull::NotTried, "at most one pull a node");
                        pull = match proof {
                            Proof::Carried | Proof::Pulled => Pull::Answered(believed),
                            Proof::Unreachable => Pull::Failed,
                            Proof::Phantom => Pull::Answered(Epoch::ZERO),
                        };
                        if matches!(proof, Proof::Pulled) {
                            tables[at] = newer(tables[at], sender);
                        }
                    }
                    Decision::Forward { epoch, hops_left } => break Some((epoch, hops_left)),
                    Decision::Execute { epoch, .. } => {
                        assert!(primary == at && epoch >= believed);
                        break None;
                    }
                    Decision::NotReady { .. } | Decision::NotOwner | Decision::Phantom => break None,
                }
            };
            let Some((epoch, left)) = forward else { return path };
            assert_eq!(epoch.number(), tables[at].0);
            sender = tables[at];
            (at, hops_left, relay) = (sender.1, left, false);
            assert!(path.len() <= 16, "the path doesn't end: {path:?}");
        }
    }

    fn newer(mine: Belief, theirs: Belief) -> Belief {
        if theirs.0 > mine.0 { theirs } else { mine }
    }

    /// Whatever the tables say, even if two disagree at one epoch, a request passes no (node, epoch, relay flag) twice.
    #[test]
    fn every_path_ends_and_passes_no_node_twice_with_one_belief() {
        let beliefs: Vec<Belief> = (0..4).flat_map(|epoch| (0..3).map(move |node| (epoch, node))).collect();
        let proofs = [Proof::Carried, Proof::Pulled, Proof::Unreachable, Proof::Phantom];
        let mut longest = 0;
        for (a, b, c) in worlds(&beliefs) {
            for &sender in &beliefs {
                for (proof, start, relay) in starts(&proofs) {
                    for hops_left in [0, 2, u8::MAX] {
                        let path = walk([a, b, c], sender, proof, start, relay, hops_left);
                        let twice = (1..path.len()).any(|i| path[..i].contains(&path[i]));
                        assert!(!twice, "{a:?} {b:?} {c:?} {sender:?} {proof:?}: {path:?}");
                        assert!(path.len() <= usize::from(hops_left) + 1);
                        longest = longest.max(path.len());
                    }
                }
            }
        }
        assert_eq!(longest, 4, "the start, and a node for each of three rises");
    }

    fn worlds(beliefs: &[Belief]) -> impl Iterator<Item = (Belief, Belief, Belief)> + '_ {
        beliefs
            .iter()
            .flat_map(move |a| beliefs.iter().flat_map(move |b| beliefs.iter().map(move |c| (*a, *b, *c))))
    }

    fn starts(proofs: &[Proof]) -> impl Iterator<Item = (Proof, usize, bool)> + '_ {
        proofs.iter().flat_map(|proof| {
            (0..3).flat_map(move |start| [false, true].into_iter().map(move |relay| (*proof, start, relay)))
        })
    }
}
