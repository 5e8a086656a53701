//! Who asked to be left alone, and until when.
//!
//! A retry-after holds for the node that said it. So it outlives the plan in which it was heard, and doesn't keep
//! a call from the other owners.

use homing_types::{NodeId, Time};

/// At most one entry a node, so never more than a call has attempts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rests(Vec<(NodeId, Time)>);

impl Rests {
    pub(crate) fn rest(&mut self, node: &NodeId, until: Time) {
        self.0.retain(|(other, _)| other != node);
        self.0.push((node.clone(), until));
    }

    /// When `node` may be tried (again): the past for whoever asked for nothing.
    pub(crate) fn over(&self, node: &NodeId) -> Time {
        self.0.iter().find(|(other, _)| other == node).map_or(Time::ZERO, |(_, until)| *until)
    }
}
