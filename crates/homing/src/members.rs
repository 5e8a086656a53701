//! What members ask of each other besides requests: are you there, and take this table.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use homing_router::{DirectError, DirectService, PING_PATH, Peers, Router};
use homing_routing_table::{Applied, Diff, RoutingTable};
use homing_transport::BoxFuture;
use homing_types::NodeId;

/// The path by which an operator's table reaches a member: an encoded diff in, what became of it out.
pub const APPLY_PATH: &str = "/homing.v1.Table/Apply";

/// Whether a member answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// It answered just now.
    Alive,
    /// It did not.
    Unreachable,
}

impl MemberState {
    /// The word in the CLI.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Called before a node takes its first request, and after an operator's diff was applied and before that is
/// acknowledged, so that no restart forgets it.
pub type KeepTable = Arc<dyn Fn(&RoutingTable) -> Result<(), String> + Send + Sync>;

/// Asks one member whether it is there.
pub(crate) async fn ping(peers: &dyn Peers, node: &NodeId, timeout: Duration) -> MemberState {
    match peers.direct(node, PING_PATH, Bytes::new(), timeout).await {
        Ok(_) => MemberState::Alive,
        Err(_) => MemberState::Unreachable,
    }
}

/// Takes an operator's table. It doesn't keep the router alive.
pub(crate) struct Apply {
    pub(crate) router: Weak<Router>,
    pub(crate) keep: Option<KeepTable>,
}

impl DirectService for Apply {
    fn call(&self, from: NodeId, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        let applied = Diff::decode(message).map_err(|error| error.to_string()).and_then(|diff| {
            tracing::info!(%from, groups = diff.len(), "an operator's table arrived");
            let router = self.router.upgrade().ok_or("this node is stopping")?;
            apply(&router, self.keep.as_ref(), &diff)
        });
        Box::pin(std::future::ready(applied.map(|applied| TableOutcome::from(&applied).encode())))
    }
}

/// Applies an operator's diff at this node.
pub(crate) fn apply(router: &Router, keep: Option<&KeepTable>, diff: &Diff) -> Result<Applied, String> {
    let applied = router.apply(diff).map_err(|error| error.to_string())?;
    keep_applied(router.table(), keep)?;
    Ok(applied)
}

fn keep_applied(table: &RoutingTable, keep: Option<&KeepTable>) -> Result<(), String> {
    let kept = keep.map_or(Ok(()), |keep| keep(table));
    kept.map_err(|error| format!("applied, but not kept: {error}"))
}

/// Brings an operator's diff to one member.
pub(crate) async fn apply_at(
    router: &Arc<Router>,
    keep: Option<&KeepTable>,
    node: &NodeId,
    diff: &Diff,
    timeout: Duration,
) -> Result<TableOutcome, DirectError> {
    let failed = |message| DirectError { sent: homing_transport::Sent::NotSent, message };
    if node == router.me() {
        return apply(router, keep, diff).map(|applied| TableOutcome::from(&applied)).map_err(failed);
    }
    let answer = router.peers().direct(node, APPLY_PATH, diff.as_bytes().to_vec().into(), timeout).await?;
    TableOutcome::decode(&answer).ok_or_else(|| failed(format!("{node} answered with nonsense")))
}

/// How many groups of a diff a member took, and how many not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableOutcome {
    /// New ones.
    pub changed: u32,
    /// Known ones.
    pub same: u32,
    /// Ones older than what the member knows: ignored.
    pub older: u32,
    /// Ones that contradict what the member knows under the same epoch: their writes stop.
    pub conflicts: u32,
}

impl From<&Applied> for TableOutcome {
    fn from(applied: &Applied) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            changed: count(applied.changed.len()),
            same: count(applied.same),
            older: count(applied.regressions),
            conflicts: count(applied.conflicts.len()),
        }
    }
}

impl TableOutcome {
    fn encode(self) -> Bytes {
        [self.changed, self.same, self.older, self.conflicts]
            .into_iter()
            .flat_map(u32::to_be_bytes)
            .collect::<Vec<_>>()
            .into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<4>() else { return None };
        let &[changed, same, older, conflicts] = numbers else { return None };
        let number = u32::from_be_bytes;
        Some(Self {
            changed: number(changed),
            same: number(same),
            older: number(older),
            conflicts: number(conflicts),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_not_kept_is_told_from_one_that_was_not_applied() {
        let keep: KeepTable = Arc::new(|_| Err("no space left".to_owned()));
        let kept = keep_applied(&RoutingTable::new(), Some(&keep));
        assert_eq!(kept, Err("applied, but not kept: no space left".to_owned()));
    }
}
