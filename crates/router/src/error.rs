use std::fmt;
use std::time::Duration;

use homing_failover::Verdict;
use homing_types::{Access, Execution, NodeId, Outcome, Space};
use thiserror::Error;

/// Why a call has no answer of the service, with all that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct CallError {
    /// The space.
    pub space: Space,
    /// What the call wanted of it.
    pub access: Access,
    /// How it ended.
    pub verdict: Verdict,
    /// The attempts there were.
    pub attempts: u32,
    /// How long the call took.
    pub took: Duration,
    /// The last word of each node that was tried, in the order of their first attempts.
    pub tried: Vec<Tried>,
}

/// What became of the tries of one node in a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// The node.
    pub node: NodeId,
    /// The last outcome there, or the last that left open whether it executed.
    pub outcome: Outcome,
    /// Why, in one line.
    pub reason: String,
    /// How often it was tried.
    pub times: u32,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, access, verdict, attempts, took, tried } = self;
        let how = match verdict {
            Verdict::Expired { .. } => "no answer within the deadline",
            Verdict::Exhausted { .. } => "no answer within the allowed attempts",
            Verdict::Ambiguous => "it may have been executed, or not",
            Verdict::Refused => "refused",
        };
        write!(f, "{access} of space {:?}: {how} ({attempts} attempts in {took:.1?})", space.as_str())?;
        for (i, Tried { node, outcome, reason, times }) in tried.iter().enumerate() {
            let separator = if i == 0 { ": " } else { "; " };
            write!(f, "{separator}{node} ×{times} {outcome}")?;
            if !reason.is_empty() {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

/// Keeps the last word of each node, or the last that left it open whether it executed; a call plans with few, so a short list is enough.
#[derive(Debug, Default)]
pub(crate) struct Trail(Vec<Tried>);

impl Trail {
    /// The most nodes a trail names. Owners may change on the way, so there can be more than one plan has.
    const MAX: usize = 16;

    pub(crate) fn push(&mut self, node: &NodeId, outcome: Outcome, reason: String) {
        if let Some(tried) = self.0.iter_mut().find(|tried| tried.node == *node) {
            tried.times += 1;
            // What may have been executed stays so, whatever came after it: it is why the call is ambiguous.
            let weaker =
                outcome.execution() == Execution::No && tried.outcome.execution() == Execution::Maybe;
            if !weaker {
                tried.outcome = outcome;
                tried.reason = reason;
            }
        } else if self.0.len() < Self::MAX {
            self.0.push(Tried { node: node.clone(), outcome, reason, times: 1 });
        }
    }

    pub(crate) fn into_tried(self) -> Vec<Tried> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_shows_why_a_call_is_ambiguous() {
        let node = NodeId::new("n1").unwrap();
        let mut trail = Trail::default();
        for (outcome, reason) in [
            (Outcome::NotSent, "refused"),
            (Outcome::MaybeSent, "lost"),
            (Outcome::MaybeSent, "lost again"),
            (Outcome::NotSent, "refused"),
        ] {
            trail.push(&node, outcome, reason.to_owned());
        }
        let reason = "lost again".to_owned();
        assert_eq!(trail.into_tried(), [Tried { node, outcome: Outcome::MaybeSent, reason, times: 4 }]);
    }
}
