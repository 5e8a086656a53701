//! Brings one replica along.

use std::time::Duration;

use homing_types::{Epoch, NodeId, Space};
use xxhash_rust::xxh3::xxh3_64;

use super::desk::Trouble;
use super::task::Stop;
use super::{REPLICA_PATH, Shared};
use crate::{OpError, Position, Progress, Refusal, Reply, Request, RequestKind, Standing, decode_reply};

/// How long one message to a replica may take: a sync of its disk, and 1 MiB on a slow line.
pub(super) const MESSAGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Waits between tries grow from here to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(10);
const MAX_WAIT: Duration = Duration::from_secs(1);

/// How far a replica must come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Goal {
    /// It has synced the log up to here.
    Accepted(Position),
    /// It shows everything up to here.
    Committed(Position),
}

impl Goal {
    fn reached(self, progress: &Progress) -> bool {
        match self {
            Self::Accepted(position) => progress.has_accepted(position),
            Self::Committed(position) => progress.has_committed(position),
        }
    }
}

/// Whether it is worth trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Somebody waits for a write: try until they give up.
    Long,
    /// Only reads wait, and another copy may serve them sooner.
    Short,
}

/// Brings `replica` to the goal. Dropping it stops that at any time, without harm.
pub(super) async fn follow(
    shared: &Shared,
    space: &Space,
    (replica, progress): (&NodeId, &mut Progress),
    goal: Goal,
    (patience, trouble): (Patience, &Trouble),
) -> Result<(), Stop> {
    let mut failures = 0;
    while !goal.reached(progress) {
        let Some(request) = progress.next(&shared.store).map_err(stop)? else {
            return Err(Stop::Again);
        };
        match send(shared, replica, &request).await {
            Ok(reply) => {
                progress.learn(&shared.store, &request, &reply).map_err(stop)?;
                trouble.over(replica);
                failures = 0;
            }
            Err(why) => {
                failures += 1;
                trouble.failed(replica, failures, &why);
                if patience == Patience::Short {
                    return Err(Stop::Unreachable(format!("the replica {replica}: {why}")));
                }
                tokio::time::sleep(wait(space, replica, failures)).await;
                if shared.peers.owners(space.key()).is_none_or(|(epoch, _)| epoch != request.epoch) {
                    return Err(Stop::Again);
                }
            }
        }
    }
    Ok(())
}

/// Asks another node something; any error is a line for people.
pub(super) async fn send(shared: &Shared, to: &NodeId, request: &Request) -> Result<Reply, String> {
    let sent = shared.peers.direct(to, REPLICA_PATH, request.encode(), MESSAGE_TIMEOUT);
    let reply = sent.await.map_err(|error| error.message)?;
    decode_reply(reply).map_err(|error| error.to_string())
}

/// Asks another node what it holds of a space; any error is a line for people that begins with the node.
pub(super) async fn ask(
    shared: &Shared,
    of: &NodeId,
    space: &Space,
    epoch: Epoch,
) -> Result<Standing, String> {
    let request = Request { space: space.clone(), epoch, kind: RequestKind::Ask };
    match send(shared, of, &request).await {
        Ok(Ok(standing)) => Ok(standing),
        Ok(Err(refusal)) => Err(format!("{of}: {refusal}")),
        Err(why) => Err(format!("{of}: {why}")),
    }
}

pub(super) fn stop(error: OpError) -> Stop {
    match error {
        OpError::Refused(Refusal::Fenced { fence }) => Stop::Fenced(fence),
        OpError::Refused(refusal) => Stop::Refused(refusal.to_string()),
        OpError::Store(error) => Stop::Refused(error.to_string()),
    }
}

/// Exponential, with full jitter. The jitter needs no secret: a hash of who waits for whom, and how often,
/// spreads as well.
fn wait(space: &Space, replica: &NodeId, failures: u32) -> Duration {
    let most = MIN_WAIT.saturating_mul(1 << failures.min(10)).min(MAX_WAIT);
    let chance = xxh3_64(format!("{space}/{replica}/{failures}").as_bytes()) % 1_000;
    most.mul_f64(chance as f64 / 1_000.0)
}
