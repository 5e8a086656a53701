//! One space at its primary, while somebody waits for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use homing_types::{Epoch, IdempotencyKey, NodeId, Space};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Shared;
use super::desk::{Desk, Trouble, Wanted, Write, WriteFailed, maybe, not_executed};
use super::follow::{Goal, Patience, ask, follow, stop};
use super::writer::WriteError;
use crate::limits::{MAX_BYTES, MAX_TAIL};
use crate::{Applied, Batch, OpError, Position, Progress, Proposal, Refusal};

/// The task of one space. It goes round: propose all that waits, in one batch; bring it to the disks of
/// the in-sync replicas; commit it here, and there; answer.
///
/// A tail that was left by a primary before, or by this one when nobody waited any more, comes first: new
/// writes are proposed only when it is committed. So while a replica is away, writes wait where
/// they can still be declined as *not executed*.
pub(super) struct Task {
    shared: Arc<Shared>,
    space: Space,
    queue: mpsc::Receiver<Wanted>,
    trouble: Arc<Trouble>,
    lead: Option<Lead>,
    queued: Vec<Write>,
    waiting: Vec<Waiting>,
    settling: Vec<oneshot::Sender<Result<(), String>>>,
}

/// What this node knows of its replicas, as the primary of one epoch.
struct Lead {
    epoch: Epoch,
    replicas: BTreeMap<NodeId, Progress>,
    /// Whether all of them hold this node's log, and so take its writes.
    aligned: bool,
}

/// A write in the log, or one that was executed before.
struct Waiting {
    position: Position,
    applied: Option<Applied>,
    answer: oneshot::Sender<Result<Applied, WriteFailed>>,
}

/// Why a round ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The owners changed: go round again.
    Again,
    /// Nobody waits any more.
    Nobody,
    /// Another node is the primary.
    NotPrimary { epoch: Epoch, primary: Option<NodeId> },
    /// A higher epoch was seen than this node's table shows.
    Fenced(Epoch),
    /// A replica can't be reached, and nobody waits who would wait for that.
    Unreachable(String),
    /// Going on would not help.
    Refused(String),
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => stop(refusal.into()),
            WriteError::Broken => Self::Refused(error.to_string()),
        }
    }
}

/// What became of the queued writes.
enum Proposed {
    /// Nothing: this node is fenced off.
    Refused(Vec<Write>, Refusal),
    /// Nothing: the tail up to here comes first.
    TailFirst(Vec<Write>, Position),
    /// All are proposed; the log ends here.
    All(Vec<(Write, Result<Proposal, Refusal>)>, Position),
}

impl Task {
    pub(super) fn new(
        shared: Arc<Shared>,
        space: Space,
        queue: mpsc::Receiver<Wanted>,
        trouble: Arc<Trouble>,
    ) -> Self {
        Self { shared, space, queue, trouble, lead: None, queued: vec![], waiting: vec![], settling: vec![] }
    }

    /// Works until nobody waits.
    pub(super) async fn run(mut self, desk: Arc<Desk>) {
        loop {
            self.gather();
            let idle = self.queued.is_empty() && self.waiting.is_empty() && self.settling.is_empty();
            if idle && desk.end(&self.space, &self.queue) {
                return;
            }
            match self.round().await {
                Ok(()) | Err(Stop::Again | Stop::Nobody) => {}
                Err(Stop::NotPrimary { epoch, primary }) => self.not_primary(epoch, primary).await,
                Err(Stop::Fenced(fence)) => {
                    self.decline(&format!("a newer primary acts in epoch {fence}"));
                }
                Err(Stop::Unreachable(reason) | Stop::Refused(reason)) => self.decline(&reason),
            }
        }
    }

    /// Takes what came, as much as one batch may hold, and drops who has gone.
    fn gather(&mut self) {
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        self.queued.retain(|write| !write.answer.is_closed());
        self.settling.retain(|answer| !answer.is_closed());
        let mut bytes: usize = self.queued.iter().map(|write| write.op.size()).sum();
        while bytes < MAX_BYTES
            && (self.queued.len() as u64) < MAX_TAIL
            && let Ok(wanted) = self.queue.try_recv()
        {
            match wanted {
                Wanted::Write(write) => {
                    bytes += write.op.size();
                    self.queued.push(write);
                }
                Wanted::Settle(answer) => self.settling.push(answer),
            }
        }
    }

    async fn round(&mut self) -> Result<(), Stop> {
        let epoch = self.take_lead()?;
        self.align().await?;
        let space = self.space.clone();
        let queued = std::mem::take(&mut self.queued);
        let now = (self.shared.clock)();
        let job = move |batch: &mut Batch<'_>| propose_all(batch, &space, epoch, queued, now);
        let last = match self.shared.writer.run(job).await? {
            Proposed::Refused(queued, refusal) => {
                self.queued = queued;
                return Err(stop(refusal.into()));
            }
            Proposed::TailFirst(queued, last) => {
                self.queued = queued;
                last
            }
            Proposed::All(proposed, last) => {
                proposed.into_iter().for_each(|(write, known)| self.keep(write, known));
                last
            }
        };
        self.commit_everywhere(last).await?;
        self.answer(last);
        Ok(())
    }

    /// Reads who owns the space now, and begins anew with the replicas if that is another epoch.
    fn take_lead(&mut self) -> Result<Epoch, Stop> {
        let owners = self.shared.peers.owners(self.space.key());
        let Some((epoch, owners)) = owners else {
            return Err(Stop::NotPrimary { epoch: Epoch::ZERO, primary: None });
        };
        if *owners.primary() != self.shared.me {
            return Err(Stop::NotPrimary { epoch, primary: Some(owners.primary().clone()) });
        }
        if self.lead.as_ref().is_none_or(|lead| lead.epoch != epoch) {
            let progress = |replica: &NodeId| (replica.clone(), Progress::new(self.space.clone(), epoch));
            self.lead =
                Some(Lead { epoch, replicas: owners.in_sync().map(progress).collect(), aligned: false });
        }
        Ok(epoch)
    }

    /// Before the first write of an epoch, all replicas take what the log holds. So a primary that was replaced, or one
    /// that misses a replica, finds out while nothing is proposed yet: its writes are *not executed*.
    async fn align(&mut self) -> Result<(), Stop> {
        if self.lead.as_ref().is_some_and(|lead| lead.aligned) {
            return Ok(());
        }
        let standing = self.shared.store.standing(&self.space).map_err(|error| stop(error.into()))?;
        self.replicate(Goal::Accepted(standing.last)).await?;
        if let Some(lead) = &mut self.lead {
            lead.aligned = true;
        }
        Ok(())
    }

    /// Remembers who waits for what, and answers what is decided already.
    fn keep(&mut self, write: Write, proposed: Result<Proposal, Refusal>) {
        let (position, applied) = match proposed {
            Ok(Proposal::Appended(position) | Proposal::Pending(position)) => (position, None),
            // Its replicas may not show it yet: it is answered with the others.
            Ok(Proposal::Done(applied)) => (applied.version, Some(applied)),
            Err(refusal @ (Refusal::KeyReused | Refusal::TooLate | Refusal::TooNew { .. })) => {
                let _ = write.answer.send(Err(WriteFailed::Refused(refusal)));
                return;
            }
            Err(refusal) => {
                let reason = format!("the space {:?}: {refusal}", self.space);
                let _ = write.answer.send(Err(WriteFailed::Declined(not_executed(reason))));
                return;
            }
        };
        self.waiting.push(Waiting { position, applied, answer: write.answer });
    }

    /// Brings the log up to `last` to all in-sync replicas, commits it here, and there.
    async fn commit_everywhere(&mut self, last: Position) -> Result<(), Stop> {
        self.replicate(Goal::Accepted(last)).await?;
        let epoch = self.still_primary()?;
        let space = self.space.clone();
        let applied = self.shared.writer.run(move |batch| batch.commit(&space, epoch, last)).await?;
        let applied: HashMap<_, _> = applied.into_iter().map(|applied| (applied.version, applied)).collect();
        for waiting in &mut self.waiting {
            waiting.applied = waiting.applied.or_else(|| applied.get(&waiting.position).copied());
        }
        self.replicate(Goal::Committed(last)).await?;
        self.still_primary().map(|_| ())
    }

    /// All replicas at once, until all are there, one says that there is no point, or nobody waits.
    async fn replicate(&mut self, goal: Goal) -> Result<(), Stop> {
        let patience =
            if self.waiting.is_empty() && self.queued.is_empty() { Patience::Short } else { Patience::Long };
        let (shared, space, trouble) = (&*self.shared, &self.space, &*self.trouble);
        let replicas = self.lead.iter_mut().flat_map(|lead| &mut lead.replicas);
        let all = replicas.map(|replica| follow(shared, space, replica, goal, (patience, trouble)));
        let gone = async {
            for waiting in &mut self.waiting {
                waiting.answer.closed().await;
            }
            for write in &mut self.queued {
                write.answer.closed().await;
            }
            for answer in &mut self.settling {
                answer.closed().await;
            }
        };
        tokio::select! {
            biased;
            all = try_join_all(all) => all.map(|_| ()),
            () = gone => Err(Stop::Nobody),
        }
    }

    /// The epoch in which this node still acts: what it did under an older one is not acknowledged.
    fn still_primary(&self) -> Result<Epoch, Stop> {
        let now = self.shared.peers.owners(self.space.key());
        match (&self.lead, now) {
            (Some(lead), Some((epoch, _))) if lead.epoch == epoch => Ok(epoch),
            _ => Err(Stop::Again),
        }
    }

    /// Answers everything up to `last`.
    fn answer(&mut self, last: Position) {
        for Waiting { position, applied, answer } in std::mem::take(&mut self.waiting) {
            match applied {
                Some(applied) => {
                    let _ = answer.send(Ok(applied));
                }
                None if position.seq > last.seq => self.waiting.push(Waiting { position, applied, answer }),
                // Another primary replaced it, or committed it: only its log can tell.
                None => {
                    let reason = format!("the space {:?} had another primary in between", self.space);
                    let _ = answer.send(Err(WriteFailed::Declined(maybe(reason))));
                }
            }
        }
        for answer in self.settling.drain(..) {
            let _ = answer.send(Ok(()));
        }
    }

    /// Declines all that waits.
    fn decline(&mut self, reason: &str) {
        for write in self.queued.drain(..) {
            let reason = format!("the write to the space {:?} was not executed: {reason}", self.space);
            let _ = write.answer.send(Err(WriteFailed::Declined(not_executed(reason))));
        }
        for waiting in self.waiting.drain(..) {
            let reason = format!("the write to the space {:?} was not acknowledged: {reason}", self.space);
            let _ = waiting.answer.send(Err(WriteFailed::Declined(maybe(reason))));
        }
        for answer in self.settling.drain(..) {
            let _ = answer.send(Err(reason.to_owned()));
        }
    }

    /// At a replica only reads have business here: they want to know what is committed, and the primary knows.
    async fn not_primary(&mut self, epoch: Epoch, primary: Option<NodeId>) {
        self.lead = None;
        let mut reason = match &primary {
            Some(primary) => format!("its primary in epoch {epoch} is {primary}"),
            None => "nobody is known to own it".to_owned(),
        };
        if let Some(primary) = primary
            && !self.settling.is_empty()
        {
            match self.ask(epoch, &primary).await {
                Ok(()) => self.settling.drain(..).for_each(|answer| drop(answer.send(Ok(())))),
                Err(why) => reason = why,
            }
        }
        self.decline(&reason);
    }

    async fn ask(&self, epoch: Epoch, primary: &NodeId) -> Result<(), String> {
        let standing = ask(&self.shared, primary, &self.space, epoch).await;
        let standing = standing.map_err(|why| format!("its primary {why}"))?;
        let space = self.space.clone();
        let settled = self.shared.writer.run(move |batch| batch.settle(&space, epoch, standing.committed));
        settled.await.map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Proposes all that nobody has given up, unless a tail comes first.
fn propose_all(
    batch: &mut Batch<'_>,
    space: &Space,
    epoch: Epoch,
    queued: Vec<Write>,
    now: Duration,
) -> Result<Proposed, OpError> {
    let standing = match batch.lead(space, epoch) {
        Ok(standing) => standing,
        Err(OpError::Refused(refusal)) => return Ok(Proposed::Refused(queued, refusal)),
        Err(error) => return Err(error),
    };
    if standing.last.seq > standing.committed.seq {
        return Ok(Proposed::TailFirst(queued, standing.last));
    }
    let mut proposed = Vec::with_capacity(queued.len());
    let mut last = standing.last;
    for write in queued {
        if write.answer.is_closed() || !write.claim.take() {
            continue;
        }
        // A node that is late hears of a deadline late, too.
        if write.deadline <= Instant::now() {
            let reason = format!("the write to the space {space:?} waited until its deadline");
            let _ = write.answer.send(Err(WriteFailed::Declined(not_executed(reason))));
            continue;
        }
        let known = match propose(batch, space, epoch, &write, now) {
            Ok(known) => Ok(known),
            Err(OpError::Refused(refusal)) => Err(refusal),
            Err(error) => return Err(error),
        };
        if let Ok(Proposal::Appended(position)) = known {
            last = position;
        }
        proposed.push((write, known));
    }
    Ok(Proposed::All(proposed, last))
}

/// Proposes one write. A key that lies too far in the future is refused, unless its write is here already: then the caller was told
/// that it may have been executed, and a refusal would say that it was not.
fn propose(
    batch: &mut Batch<'_>,
    space: &Space,
    epoch: Epoch,
    write: &Write,
    now: Duration,
) -> Result<Proposal, OpError> {
    if let Some(key) = write.idempotency_key
        && let Some(ahead) = ahead(key, now)
        && !batch.knows(space, epoch, &write.op, key)?
    {
        return Err(Refusal::TooNew { ahead }.into());
    }
    batch.propose(space, epoch, &write.op, write.idempotency_key)
}

/// How far a key lies in the future, if it is too far. A space remembers its newest keys and refuses older ones, so the keys
/// of one wrong clock would shut out those of all others.
fn ahead(key: IdempotencyKey, now: Duration) -> Option<Duration> {
    Duration::from_millis(key.unix_millis()).checked_sub(now).filter(|ahead| *ahead > MAX_AHEAD)
}

/// How far the clocks of those who make idempotency keys may run ahead.
const MAX_AHEAD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
