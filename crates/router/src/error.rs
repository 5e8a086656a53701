use std::fmt;
use std::time::Duration;

use homing_failover::{Attempted, Call, Verdict};
use homing_types::{Access, Epoch, Space};
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
    /// Whether it was the budget for retries that the call waited for last.
    pub starved: bool,
    /// The epoch that the entry node has for the space's group now; zero if it has none.
    pub epoch: Epoch,
    /// The attempts there were.
    pub attempts: u32,
    /// How long the call took.
    pub took: Duration,
    /// What was tried, oldest first; of many attempts the first and the last.
    pub trail: Vec<Attempted>,
    /// How many attempts are missing in the middle of the trail.
    pub omitted: u32,
}

impl CallError {
    pub(crate) fn new(
        space: Space,
        access: Access,
        verdict: Verdict,
        epoch: Epoch,
        call: Call,
        took: Duration,
    ) -> Self {
        let (attempts, starved) = (call.attempts(), call.is_starved());
        let (trail, omitted) = call.into_trail();
        Self { space, access, verdict, starved, epoch, attempts, took, trail, omitted }
    }

    /// How the call ended, in a few words.
    #[must_use]
    pub const fn problem(&self) -> &'static str {
        match self.verdict {
            Verdict::Expired { .. } if self.starved => {
                "no answer within the deadline, which came while the call waited for the budget for retries"
            }
            Verdict::Expired { .. } => "no answer within the deadline",
            Verdict::Exhausted { .. } => "no answer within the allowed attempts",
            Verdict::Ambiguous => "it may have been executed, or not",
            Verdict::Refused => "refused",
        }
    }
}

impl fmt::Display for CallError {
    /// One line. A reason stands at the first attempt that has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { space, access, attempts, took, trail, omitted, .. } = self;
        let problem = self.problem();
        write!(f, "{access} of space {:?}: {problem} ({attempts} attempts in {took:.1?})", space.as_str())?;
        for (i, tried) in trail.iter().enumerate() {
            f.write_str(if i == 0 { ": " } else { "; " })?;
            if *omitted > 0 && i == trail.len() / 2 {
                write!(f, "{omitted} more; ")?;
            }
            let Attempted { node, outcome, after, reason } = tried;
            write!(f, "{node} {outcome} at {after:.1?}")?;
            let told = trail[..i].iter().any(|before| before.node == *node && before.reason == *reason);
            if !reason.is_empty() && !told {
                write!(f, " ({reason})")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use homing_types::{NodeId, Outcome};

    use super::*;

    #[test]
    fn the_line_tells_each_attempt_and_each_reason_once() {
        let tried = |node: &str, outcome, ms, reason: &str| Attempted {
            node: NodeId::new(node).unwrap(),
            outcome,
            after: Duration::from_millis(ms),
            reason: reason.to_owned(),
        };
        let error = CallError {
            space: Space::new("acme").unwrap(),
            access: Access::Write,
            verdict: Verdict::Ambiguous,
            starved: false,
            epoch: Epoch::new(1),
            attempts: 9,
            took: Duration::from_millis(40),
            trail: vec![
                tried("n1", Outcome::NotSent, 2, "refused"),
                tried("n1", Outcome::NotSent, 10, "refused"),
                tried("n2", Outcome::MaybeSent, 30, "lost"),
                tried("n1", Outcome::NotSent, 40, "refused"),
            ],
            omitted: 5,
        };
        assert_eq!(
            error.to_string(),
            "write of space \"acme\": it may have been executed, or not (9 attempts in 40.0ms): \
             n1 not-sent at 2.0ms (refused); n1 not-sent at 10.0ms; 5 more; n2 maybe-sent at 30.0ms (lost); \
             n1 not-sent at 40.0ms"
        );
    }
}
