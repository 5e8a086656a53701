//! Where calls wait for the task of their space.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use homing_router::Declined;
use homing_types::{Execution, IdempotencyKey, NodeId, Space};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::task::Task;
use crate::{Applied, Op, Refusal};

/// How long a read waits until its copy knows what is committed. Another copy may know already.
const SETTLE_WAIT: Duration = Duration::from_secs(1);

/// Calls of one space that wait for its task at a time. Over it, they are refused.
const QUEUE: usize = 256;
/// When a declined call may be tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A task for each space with something to do, and the way to it.
///
/// The router bounds the calls that are under way, hence the tasks.
pub(super) struct Desk {
    shared: Arc<Shared>,
    tasks: Mutex<HashMap<Space, Counter>>,
}

/// Where one space's calls queue.
#[derive(Clone)]
struct Counter {
    queue: mpsc::Sender<Wanted>,
    trouble: Arc<Trouble>,
}

/// What a call wants of the task.
pub(super) enum Wanted {
    Write(Write),
    /// To know which writes are committed.
    Settle(oneshot::Sender<Result<(), String>>),
}

/// A write on its way through the task.
pub(super) struct Write {
    pub(super) op: Op,
    pub(super) idempotency_key: Option<IdempotencyKey>,
    pub(super) claim: Claim,
    /// When nobody waits for it any more.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Applied, WriteFailed>>,
}

/// Why a write has no result.
#[derive(Debug)]
pub(super) enum WriteFailed {
    /// The store's own answer: the idempotency key is reused, or too late.
    Refused(Refusal),
    /// It was not executed, or nobody can tell.
    Declined(Declined),
}

/// Decides whether a write is proposed or given up: whoever comes first.
#[derive(Clone, Default)]
pub(super) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether this was the first.
    pub(super) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, tasks: Mutex::default() }
    }

    /// Writes, with an answer at the deadline at the latest.
    pub(super) async fn write(
        self: &Arc<Self>,
        space: &Space,
        op: Op,
        idempotency_key: Option<IdempotencyKey>,
        deadline: Instant,
    ) -> Result<Applied, WriteFailed> {
        let (answer, answered) = oneshot::channel();
        let claim = Claim::default();
        let write = Write { op, idempotency_key, claim: claim.clone(), deadline, answer };
        let trouble = self.enqueue(space, Wanted::Write(write)).map_err(WriteFailed::Declined)?;
        match timeout_at(deadline, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_gone)) => Err(WriteFailed::Declined(maybe(format!(
                "the write to the space {space:?} was begun, and its task ended without an answer"
            )))),
            Err(_late) if claim.take() => Err(WriteFailed::Declined(not_executed(format!(
                "the write to the space {space:?} waited behind others{trouble}"
            )))),
            Err(_late) => Err(WriteFailed::Declined(maybe(format!(
                "the write to the space {space:?} is on the disk of {} and not acknowledged by all \
                 in-sync replicas{trouble}",
                self.shared.me
            )))),
        }
    }

    /// Waits until this node knows which writes of the space are committed.
    pub(super) async fn settle(self: &Arc<Self>, space: &Space, deadline: Instant) -> Result<(), Declined> {
        let (answer, answered) = oneshot::channel();
        let trouble = self.enqueue(space, Wanted::Settle(answer))?;
        let reason = match timeout_at(deadline.min(Instant::now() + SETTLE_WAIT), answered).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(reason))) => reason,
            Ok(Err(_gone)) => "its task ended".to_owned(),
            Err(_late) => format!("no answer in time{trouble}"),
        };
        Err(not_executed(format!(
            "{} doesn't know yet which writes of the space {space:?} are committed: {reason}",
            self.shared.me
        )))
    }

    fn enqueue(self: &Arc<Self>, space: &Space, wanted: Wanted) -> Result<Arc<Trouble>, Declined> {
        let mut tasks = self.tasks();
        let wanted = match tasks.get(space) {
            None => wanted,
            Some(counter) => match counter.queue.try_send(wanted) {
                Ok(()) => return Ok(Arc::clone(&counter.trouble)),
                Err(mpsc::error::TrySendError::Full(_)) => {
                    let waiting = format!("{QUEUE} calls of the space {space:?} wait already");
                    return Err(not_executed(format!("{waiting}{}", counter.trouble)));
                }
                // The task panicked; another one takes its place.
                Err(mpsc::error::TrySendError::Closed(wanted)) => wanted,
            },
        };
        let (queue, waiting) = mpsc::channel(QUEUE);
        let counter = Counter { queue, trouble: Arc::default() };
        let trouble = Arc::clone(&counter.trouble);
        // The queue is new: it has room.
        let _ = counter.queue.try_send(wanted);
        tasks.insert(space.clone(), counter);
        drop(tasks);
        let task = Task::new(Arc::clone(&self.shared), space.clone(), waiting, Arc::clone(&trouble));
        tokio::spawn(task.run(Arc::clone(self)));
        Ok(trouble)
    }

    /// Ends a task unless something came in the meantime.
    pub(super) fn end(&self, space: &Space, waiting: &mpsc::Receiver<Wanted>) -> bool {
        let mut tasks = self.tasks();
        let idle = waiting.is_empty();
        if idle {
            tasks.remove(space);
        }
        idle
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<Space, Counter>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps a space's writes from being acknowledged, for those who give up waiting.
#[derive(Default)]
pub(super) struct Trouble(Mutex<BTreeMap<NodeId, (u32, String)>>);

impl Trouble {
    /// A try that failed.
    pub(super) fn failed(&self, replica: &NodeId, tries: u32, why: &str) {
        self.lock().insert(replica.clone(), (tries, why.to_owned()));
    }

    /// A replica answers.
    pub(super) fn over(&self, replica: &NodeId) {
        self.lock().remove(replica);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, (u32, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rest of a sentence: `: the replica n3 was tried 4 times; the last time: …`. Empty without trouble.
impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for (replica, (tries, why)) in &*self.lock() {
            write!(text, ": the replica {replica} was tried {tries} times; the last time: {why}")?;
        }
        f.write_str(&text)
    }
}

/// Declined, and certainly not executed.
pub(super) const fn not_executed(reason: String) -> Declined {
    Declined { execution: Execution::No, retry_after: RETRY_AFTER, reason }
}

/// Declined, and nobody can tell.
pub(super) const fn maybe(reason: String) -> Declined {
    Declined { execution: Execution::Maybe, retry_after: RETRY_AFTER, reason }
}
