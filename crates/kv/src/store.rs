//! One node's copies of spaces, on disk.

mod accept;
mod apply;
mod batch;
mod error;
mod export;
mod identity;
mod install;
mod propose;
mod read;
mod tables;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use homing_types::{Space, SpaceError};
use redb::{Builder, Database, Durability, StorageBackend};

pub use batch::Batch;
use batch::Effects;
pub use error::StoreError;
pub use export::Export;
pub use identity::Identity;
pub use propose::Proposal;
pub use read::{Listed, Listing};
use tables::{Meta, Tables};

/// Memory for redb's pages: enough for the hot ones, little enough for several nodes on one machine.
const CACHE_BYTES: usize = 64 << 20;

/// One node's copies of spaces, in one redb database.
///
/// All changes are made in [batches](Self::write), one at a time; reads see the state after a whole batch
/// and wait for nobody. Not async: a driver gives it a thread of its own.
///
/// What a batch must not lose (an entry, a fence, a part of a full copy) is synced to disk before
/// [`write`](Self::write) returns. What it may lose is that entries were committed: they are in the
/// log, and a copy that finds such a tail when it starts shows nothing of its space until it is
/// *settled*: until all of that tail is committed or replaced, or a settled copy has said what is.
#[derive(Debug)]
pub struct Store {
    db: Database,
    /// Spaces that had a tail when the store was opened, with the last seq of that tail.
    unsettled: Mutex<HashMap<Space, u64>>,
    /// Whether the last commit may still be lost.
    floating: AtomicBool,
}

impl Store {
    /// Opens the data in `folder`, or creates it for the node `identity`.
    ///
    /// # Errors
    /// [`StoreError`] if the folder can't be used, is in use, is of another format, or belongs to
    /// another node or cluster.
    pub fn open(folder: &Path, identity: &Identity) -> Result<Self, StoreError> {
        let unusable = |reason: String| StoreError::Unusable { folder: folder.display().to_string(), reason };
        std::fs::create_dir_all(folder).map_err(|error| unusable(error.to_string()))?;
        let db = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(folder.join("kv.redb"))
            .map_err(|error| unusable(error.to_string()))?;
        Self::over(db, identity)
    }

    /// Opens the data in a storage of the caller's, such as a disk that forgets what was not synced.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn with_backend(backend: impl StorageBackend, identity: &Identity) -> Result<Self, StoreError> {
        let db =
            Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend).map_err(|error| {
                StoreError::Unusable { folder: "the given storage".to_owned(), reason: error.to_string() }
            })?;
        Self::over(db, identity)
    }

    fn over(db: Database, identity: &Identity) -> Result<Self, StoreError> {
        let txn = db.begin_write()?;
        identity.claim(&txn)?;
        let tails = Tables::open(&txn)?.tails()?;
        txn.commit()?;
        let unsettled = tails.into_iter().map(|(space, standing)| (space, standing.last.seq)).collect();
        Ok(Self { db, unsettled: Mutex::new(unsettled), floating: AtomicBool::new(false) })
    }

    /// Runs `jobs` in one transaction: all of it happens, or nothing if `jobs` or the disk fails.
    ///
    /// It is synced to disk before this returns, unless all that was done is to commit entries; what changed nothing is not
    /// written. Run many jobs in one batch, and they share the sync.
    ///
    /// # Errors
    /// What `jobs` returns, or [`StoreError`] if the disk fails; then the outcome is known only after
    /// the store was opened again.
    pub fn write<T>(
        &self,
        jobs: impl FnOnce(&mut Batch<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut txn = self.db.begin_write()?;
        let mut batch = Batch::new(self, Tables::open(&txn)?);
        let answer = jobs(&mut batch)?;
        let Effects { changed, sync, settled } = batch.into_effects();
        if changed {
            if !sync {
                txn.set_durability(Durability::None)?;
            }
            txn.commit()?;
            self.floating.store(!sync, Ordering::Release);
        }
        for space in settled {
            self.unsettled().remove(&space);
        }
        Ok(answer)
    }

    /// Syncs what [`write`](Self::write) left unsynced, so that a restart finds short tails.
    ///
    /// # Errors
    /// [`StoreError`] if the disk fails.
    pub fn flush(&self) -> Result<(), StoreError> {
        if self.floating.swap(false, Ordering::AcqRel) {
            self.db.begin_write()?.commit()?;
        }
        Ok(())
    }

    /// Whether the last [`write`](Self::write) that changed anything is not synced yet.
    #[must_use]
    pub fn is_floating(&self) -> bool {
        self.floating.load(Ordering::Acquire)
    }

    /// Whether this copy shows every write that was acknowledged.
    fn settled(&self, space: &Space, meta: &Meta) -> bool {
        let mut unsettled = self.unsettled();
        let Some(&until) = unsettled.get(space) else { return true };
        // A newer primary may have replaced the end of the tail: then what it replaced was never acknowledged.
        let settled = meta.committed.seq >= until.min(meta.last.seq);
        if settled {
            unsettled.remove(space);
        }
        settled
    }

    fn unsettled(&self) -> MutexGuard<'_, HashMap<Space, u64>> {
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that was checked when it was written can only be wrong on a damaged disk.
fn stored_space(name: &str) -> Result<Space, StoreError> {
    Space::new(name).map_err(|_: SpaceError| StoreError::Damaged("space"))
}
