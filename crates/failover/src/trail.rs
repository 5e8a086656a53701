//! What was tried, kept for the error that ends a call.
//!
//! The first attempts tell how the trouble began and the last how it ended; those between repeat them, so they
//! are counted and let go.

use std::time::Duration;

use homing_types::{NodeId, Outcome};

/// The most attempts a trail keeps: half of them from its start, half from its end.
pub const MAX_TRAIL: usize = 16;

/// One attempt and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// The node that was tried.
    pub node: NodeId,
    /// What became of it.
    pub outcome: Outcome,
    /// When that was known, from the beginning of the call.
    pub after: Duration,
    /// Why, in one line for people.
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Trail {
    kept: Vec<Attempted>,
    omitted: u32,
}

impl Trail {
    pub(crate) fn push(&mut self, attempted: Attempted) {
        if self.kept.len() == MAX_TRAIL {
            self.kept.remove(MAX_TRAIL / 2);
            self.omitted = self.omitted.saturating_add(1);
        }
        self.kept.push(attempted);
    }

    pub(crate) fn into_kept(self) -> (Vec<Attempted>, u32) {
        (self.kept, self.omitted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_keeps_its_ends_and_counts_its_middle() {
        let mut trail = Trail::default();
        let node = NodeId::new("n1").unwrap();
        for after in (0..100).map(Duration::from_secs) {
            let (node, reason) = (node.clone(), String::new());
            trail.push(Attempted { node, outcome: Outcome::NotSent, after, reason });
        }
        let (kept, omitted) = trail.into_kept();
        let times: Vec<_> = kept.iter().map(|attempted| attempted.after.as_secs()).collect();
        assert_eq!(times, (0..8).chain(92..100).collect::<Vec<_>>());
        assert_eq!(omitted, 84);
    }
}
