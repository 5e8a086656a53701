use std::collections::BTreeSet;

use homing_routing_table::{Diff, DiffError, Group, MAX_NODES, Snapshot};
use homing_types::{Epoch, Locality, MAX_REPLICAS, NodeId, Owners, Replica, ReplicaState, Slot};
use thiserror::Error;

use crate::layout::Layout;
use crate::topology::{NodeIndex, Topology};

/// A node that can own something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub node: NodeId,
    /// Where it stands.
    pub locality: Locality,
    /// How much it should hold, relative to the others. Zero drains it: it keeps nothing.
    pub weight: u32,
}

/// What is wanted of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goal {
    /// Replicas of each group beside its primary, 0 to [`MAX_REPLICAS`]. Where there are fewer nodes, there are fewer.
    pub replicas: usize,
}

/// The diff that makes a table right for these members, and touches nothing that is right already. It is empty if all is.
///
/// `mint` gives the epoch of each group that changes. Owners that are no members, or are drained, lose what they hold;
/// a primary that leaves is followed by one of its in-sync replicas, if it has any. Pins stay as they are: whoever
/// pins a space places it.
///
/// The diff says where copies belong, not how they get there. A new owner of a group that exists already holds nothing
/// yet: as a replica it is catching up, but it may be the new primary, too. Whoever commits the diff
/// fills it first.
///
/// # Errors
/// [`PlacementError`] if the members, the goal or an epoch can't be right.
pub fn place(
    members: &[Member],
    goal: Goal,
    current: &Snapshot,
    mut mint: impl FnMut(Slot) -> Epoch,
) -> Result<Diff, PlacementError> {
    if goal.replicas > MAX_REPLICAS {
        return Err(PlacementError::TooManyReplicas { replicas: goal.replicas });
    }
    let topology = Topology::new(members)?;
    match topology.nodes.len() {
        0 => return Err(PlacementError::NoNodes),
        nodes if nodes > MAX_NODES => return Err(PlacementError::TooManyNodes { nodes }),
        _ => {}
    }
    let groups: Vec<Option<Group>> = Slot::all().map(|slot| current.group(slot)).collect();
    let mut changed = Vec::new();
    for ((slot, group), nodes) in Slot::all().zip(groups.iter()).zip(layout(&topology, goal, &groups)) {
        let owners = owners(&topology, &nodes, group.as_ref().map(|group| &group.owners));
        if group.as_ref().is_some_and(|group| group.owners == owners) {
            continue;
        }
        let epoch = mint(slot);
        let known = current.epoch(slot);
        if epoch <= known {
            return Err(PlacementError::Epoch { slot, epoch, known });
        }
        let pins = group.as_ref().map(|group| group.pins.clone()).unwrap_or_default();
        changed.push((slot, Group { epoch, owners, pins }));
    }
    Ok(Diff::new(changed)?)
}

fn layout(topology: &Topology, goal: Goal, groups: &[Option<Group>]) -> Vec<Vec<NodeIndex>> {
    let size = topology.nodes.len().min(goal.replicas + 1);
    let mut layout = Layout::new(topology, size);
    for (slot, group) in groups.iter().enumerate() {
        let Some(Group { owners, .. }) = group else { continue };
        let index = |node| topology.index(node);
        let primary = index(owners.primary());
        let in_sync: Vec<_> = owners.in_sync().filter_map(index).collect();
        let catching_up =
            owners.replicas().iter().filter(|replica| replica.state == ReplicaState::CatchingUp);
        let catching_up = catching_up.filter_map(|replica| index(&replica.node));
        let heirs = in_sync.len();
        let nodes = primary.into_iter().chain(in_sync).chain(catching_up).collect();
        layout.adopt(slot, nodes, primary.is_some(), heirs);
    }
    layout.settle()
}

/// Owners of these nodes, the first as primary. Those that were owners `before` keep their order and come first.
fn owners(topology: &Topology, nodes: &[NodeIndex], before: Option<&Owners>) -> Owners {
    let id = |node: &NodeIndex| &topology.nodes[*node].id;
    let mut replicas: BTreeSet<&NodeId> = nodes[1..].iter().map(id).collect();
    let kept =
        before.into_iter().flat_map(Owners::nodes).filter(|node| replicas.remove(node)).collect::<Vec<_>>();
    let replica = |node: &NodeId| Replica { node: node.clone(), state: state(node, before) };
    let replicas = kept.into_iter().chain(replicas).map(replica).collect();
    match Owners::new(id(&nodes[0]).clone(), replicas) {
        Ok(owners) => owners,
        Err(_) => unreachable!("a group has different nodes, and no more than the goal allows"),
    }
}

/// In a group that nobody held before, nothing is missing to anybody.
fn state(node: &NodeId, before: Option<&Owners>) -> ReplicaState {
    let Some(before) = before else { return ReplicaState::InSync };
    if before.primary() == node {
        return ReplicaState::InSync;
    }
    let replica = before.replicas().iter().find(|replica| replica.node == *node);
    replica.map_or(ReplicaState::CatchingUp, |replica| replica.state)
}

/// Why there is no placement.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlacementError {
    /// No member may own anything.
    #[error("no member has a weight above 0: give one at least 1")]
    NoNodes,
    /// A member stands twice.
    #[error("{node} stands twice among the members: list each node once")]
    Twice {
        /// The node.
        node: NodeId,
    },
    /// There are more nodes than a table may name.
    #[error("{nodes} members have a weight above 0: at most {MAX_NODES} may")]
    TooManyNodes {
        /// How many.
        nodes: usize,
    },
    /// The goal asks for too many replicas.
    #[error("{replicas} replicas are too many: a group has at most {MAX_REPLICAS}")]
    TooManyReplicas {
        /// How many.
        replicas: usize,
    },
    /// A minted epoch isn't above the one that the group has.
    #[error("slot {slot} was given epoch {epoch}, but has {known}: mint a higher one")]
    Epoch {
        /// The slot.
        slot: Slot,
        /// What was minted.
        epoch: Epoch,
        /// What the table has.
        known: Epoch,
    },
    /// The changed groups form no diff.
    #[error(transparent)]
    Diff(#[from] DiffError),
}
