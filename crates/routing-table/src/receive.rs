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

use homing_types::{Access, Epoch, NodeId, Role};

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
            Self::Behind => "the sender knows newer owners of the space, and this node could not learn them yet",
            Self::Conflict => "two groups came with one epoch: no writes until the authority mints the group anew",
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
    match received.hops_left.checked_sub(1) {
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
