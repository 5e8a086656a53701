use std::process::ExitStatus;
use std::time::Duration;

use homing::NodeId;
use tokio::time::{Instant, sleep, timeout};

use super::children::Children;
use super::log::Log;
use super::progress::Progress;
use super::report::how;
use crate::ask;
use crate::init::PlannedNode;

/// By when a cluster must answer.
const WITHIN: Duration = Duration::from_secs(60);

/// How long one question may take.
const QUESTION: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(50);

/// Why a cluster doesn't answer.
pub(super) enum NotAnswering {
    /// A node ended.
    Ended { index: usize, status: ExitStatus },
    /// These nodes took too long.
    Late { missing: Vec<NodeId> },
}

/// Waits until every node says that it is ready and answers a read as its clients will send it.
pub(super) async fn until_all_answer(
    nodes: &[PlannedNode],
    children: &mut Children,
    progress: &Progress,
) -> Result<(), NotAnswering> {
    let deadline = Instant::now() + WITHIN;
    let mut missing: Vec<&PlannedNode> = nodes.iter().collect();
    loop {
        progress.tell(format!("waiting until {} answer", names(missing.iter().map(|node| &node.id))));
        let mut round = Vec::new();
        tokio::select! {
            (id, status) = children.next_end() => {
                let index = nodes.iter().position(|node| node.id == id).unwrap_or_default();
                return Err(NotAnswering::Ended { index, status });
            }
            () = async {
                for node in &missing {
                    if !answers(node).await {
                        round.push(*node);
                    }
                }
                sleep(POLL).await;
            } => missing = round,
        }
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(NotAnswering::Late { missing: missing.iter().map(|node| node.id.clone()).collect() });
        }
    }
}

async fn answers(node: &PlannedNode) -> bool {
    let (client, admin) = (node.addresses.client.to_string(), node.addresses.admin.to_string());
    timeout(QUESTION, async { ask::ready(&admin).await && ask::answers(&client).await })
        .await
        .unwrap_or(false)
}

impl NotAnswering {
    /// One line that says who is at fault, and where to read on.
    pub(super) fn explain(&self, nodes: &[PlannedNode], logs: &[Log]) -> String {
        match self {
            Self::Ended { index, status } => {
                let (node, log) = (&nodes[*index].id, &logs[*index]);
                let line = log.last_line();
                let line = line.strip_prefix("homing: ").unwrap_or(&line);
                let (how, path) = (how(*status), log.path().display());
                format!("{node} ended while it started ({how}): {line}; its log is {path}")
            }
            Self::Late { missing } => {
                let index = nodes.iter().position(|node| missing.contains(&node.id)).unwrap_or_default();
                let path = logs[index].path().display();
                format!("{} did not answer within {WITHIN:?}: see {path}", names(missing.iter()))
            }
        }
    }
}

fn names<'a>(ids: impl Iterator<Item = &'a NodeId>) -> String {
    let ids: Vec<_> = ids.map(NodeId::as_str).collect();
    ids.join(", ")
}
