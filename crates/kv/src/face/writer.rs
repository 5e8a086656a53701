//! The one thread that writes: many jobs, one transaction, one sync.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinError;

use crate::{Batch, OpError, Refusal, Store, StoreError};

/// Jobs that wait at a time. Over it, who brings one waits.
const QUEUE: usize = 1_024;
/// Jobs in one transaction.
const BATCH: usize = 256;
/// How long commits stay unsynced when nothing else is written.
const FLUSH_AFTER: Duration = Duration::from_millis(50);

/// Runs operations on the store, one at a time.
pub(super) enum Writer {
    /// In batches, on a thread of its own.
    Thread { jobs: Sender<Queued>, places: Arc<Semaphore> },
    /// Each at once, where it is asked for: nothing runs but what the caller's runtime runs.
    InPlace(Arc<Store>),
}

/// Why an operation has no result.
#[derive(Debug, Error)]
pub(super) enum WriteError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The batch failed with the disk. Whether it was done is not known.
    #[error("the store of this node failed; its log says why")]
    Broken,
}

pub(super) struct Queued {
    job: Job,
    _place: OwnedSemaphorePermit,
}

/// Does its part of a batch, and returns how to tell the result once the batch is committed.
type Job = Box<dyn FnOnce(&mut Batch<'_>) -> Result<Tell, StoreError> + Send>;
type Tell = Box<dyn FnOnce() + Send>;

impl Writer {
    pub(super) fn start(store: Arc<Store>) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        std::thread::Builder::new().name("kv-writer".to_owned()).spawn(move || serve(&store, &queue))?;
        Ok(Self::Thread { jobs, places: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Reads off the runtime's threads, unless everything is to run in place.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        match self {
            Self::Thread { .. } => tokio::task::spawn_blocking(read).await,
            Self::InPlace(_) => Ok(read()),
        }
    }

    /// Runs one operation, and returns once its batch is committed. It runs even if nobody waits for it any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        op: impl FnOnce(&mut Batch<'_>) -> Result<T, OpError> + Send + 'static,
    ) -> Result<T, WriteError> {
        let (jobs, places) = match self {
            Self::Thread { jobs, places } => (jobs, places),
            Self::InPlace(store) => return in_place(store, op),
        };
        let place = Arc::clone(places).acquire_owned().await.map_err(|_| WriteError::Broken)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |batch| {
            let result = match op(batch) {
                Ok(result) => Ok(result),
                Err(OpError::Refused(refusal)) => Err(refusal),
                Err(OpError::Store(error)) => return Err(error),
            };
            Ok(Box::new(move || {
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }))
        });
        jobs.send(Queued { job, _place: place }).map_err(|_| WriteError::Broken)?;
        Ok(answered.await.map_err(|_| WriteError::Broken)??)
    }
}

fn in_place<T>(
    store: &Store,
    op: impl FnOnce(&mut Batch<'_>) -> Result<T, OpError>,
) -> Result<T, WriteError> {
    let written = store.write(|batch| match op(batch) {
        Ok(result) => Ok(Ok(result)),
        Err(OpError::Refused(refusal)) => Ok(Err(refusal)),
        Err(OpError::Store(error)) => Err(error),
    });
    match written {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "a write failed");
            Err(WriteError::Broken)
        }
    }
}

/// The thread. It ends when the last [`Writer`] is gone.
fn serve(store: &Store, queue: &Receiver<Queued>) {
    loop {
        match queue.recv_timeout(FLUSH_AFTER) {
            Ok(first) => run_batch(store, first, queue),
            Err(RecvTimeoutError::Timeout) => flush(store),
            Err(RecvTimeoutError::Disconnected) => return flush(store),
        }
        // With nothing left to flush there is nothing to wake up for.
        if !store.is_floating() {
            match queue.recv() {
                Ok(first) => run_batch(store, first, queue),
                Err(_) => return,
            }
        }
    }
}

/// Runs what is queued in one batch. If the batch fails, all answers are dropped, and all askers know.
fn run_batch(store: &Store, first: Queued, queue: &Receiver<Queued>) {
    let told = store.write(|batch| {
        let jobs = std::iter::once(first).chain(queue.try_iter().take(BATCH - 1));
        jobs.map(|queued| (queued.job)(batch)).collect::<Result<Vec<_>, _>>()
    });
    match told {
        Ok(told) => told.into_iter().for_each(|tell| tell()),
        Err(error) => tracing::error!(%error, "a batch of writes failed"),
    }
}

fn flush(store: &Store) {
    if let Err(error) = store.flush() {
        tracing::error!(%error, "the store can't be flushed");
    }
}
