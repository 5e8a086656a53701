use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_types::Slot;
use parking_lot::Mutex;
use thiserror::Error;

use crate::publish::{Pinned, Published};
use crate::replace::{mark, replace, sift};
use crate::sync::Arc;
use crate::{Diff, MAX_NODES, Snapshot};

/// The most pins a table may hold.
pub const MAX_PINS: usize = 1_000_000;

/// The routing table: snapshots that readers follow without waiting, and diffs that replace them.
pub struct RoutingTable {
    current: Published<Snapshot>,
    writer: Mutex<Retired>,
    counts: Counts,
}

/// Snapshots that were replaced, until nobody but this list holds them. So it is always a writer who takes one apart, after
/// it has published the next, and never a reader who happens to be the last to look.
type Retired = Vec<Arc<Snapshot>>;

#[derive(Default)]
struct Counts {
    diffs: AtomicU64,
    groups: AtomicU64,
    regressions: AtomicU64,
    conflicts: AtomicU64,
}

impl Counts {
    fn add(&self, applied: &Applied) {
        self.diffs.fetch_add(1, Ordering::Relaxed);
        self.groups.fetch_add(applied.changed.len() as u64, Ordering::Relaxed);
        self.regressions.fetch_add(applied.regressions as u64, Ordering::Relaxed);
        self.conflicts.fetch_add(applied.conflicts.len() as u64, Ordering::Relaxed);
    }
}

impl RoutingTable {
    /// A table that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            current: Published::new(Arc::new(Snapshot::empty())),
            writer: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// The table as it is now, for a short look; not to be kept.
    #[inline]
    #[must_use]
    pub fn load(&self) -> Loaded<'_> {
        Loaded(self.current.load())
    }

    /// The table as it is now, for as long as one likes.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.snapshot()
    }

    /// A handle for a thread that looks again and again.
    #[must_use]
    pub fn reader(&self) -> Reader<'_> {
        Reader { table: self, snapshot: self.snapshot() }
    }

    /// Applies a diff: of each of its groups the one with the higher epoch stays, and all changes are seen at once.
    ///
    /// A group with an epoch that is known already, but another content, can't be honest: the known one stays and is
    /// marked as a conflict until a higher epoch comes.
    ///
    /// # Errors
    /// [`ApplyError`] if the table would break a bound; then nothing has changed.
    pub fn apply(&self, diff: &Diff) -> Result<Applied, ApplyError> {
        // Most diffs that arrive twice needn't wait for a writer: what is known now stays known.
        let mut sifted = sift(&self.load(), diff);
        if sifted.changes {
            let mut retired = self.writer.lock();
            let current = self.snapshot();
            sifted = sift(&current, diff);
            if sifted.changes {
                let next = replace(&current, diff, &sifted.applied)?;
                sifted.applied.version = next.version();
                self.publish(next, current, &mut retired);
            }
        }
        self.counts.add(&sifted.applied);
        Ok(sifted.applied)
    }

    /// Marks groups as contradicted, as they were found to be before this table was made: a restart forgets no conflict. Slots of
    /// which nothing is known stay as they are.
    pub fn mark_conflicts(&self, slots: &[Slot]) {
        let mut retired = self.writer.lock();
        let current = self.snapshot();
        if let Some(next) = mark(&current, slots) {
            self.publish(next, current, &mut retired);
        }
    }

    fn publish(&self, next: Snapshot, current: Arc<Snapshot>, retired: &mut Retired) {
        self.current.store(Arc::new(next));
        retired.push(current);
        Published::<Snapshot>::collect();
        retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// What has been applied and ignored since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            diffs: self.counts.diffs.load(Ordering::Relaxed),
            groups: self.counts.groups.load(Ordering::Relaxed),
            regressions: self.counts.regressions.load(Ordering::Relaxed),
            conflicts: self.counts.conflicts.load(Ordering::Relaxed),
        }
    }
}

impl Default for RoutingTable {
    fn default() -> Self {
        Self::new()
    }
}

/// A table as it was when it was loaded.
pub struct Loaded<'a>(Pinned<'a, Snapshot>);

impl Deref for Loaded<'_> {
    type Target = Snapshot;

    #[inline]
    fn deref(&self) -> &Snapshot {
        &self.0
    }
}

/// A thread's own handle, faster than [`RoutingTable::load`]: it keeps the snapshot that it saw last, and only asks whether
/// that is still the one. So what it saw last lives on while nobody asks it again.
pub struct Reader<'a> {
    table: &'a RoutingTable,
    snapshot: Arc<Snapshot>,
}

impl Reader<'_> {
    /// The table as it is now.
    #[inline]
    pub fn load(&mut self) -> &Snapshot {
        if !self.table.current.is(&self.snapshot) {
            self.snapshot = self.table.snapshot();
        }
        &self.snapshot
    }
}

/// What became of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// The table's version afterwards.
    pub version: u64,
    /// The slots whose group is new.
    pub changed: Vec<Slot>,
    /// How many groups were known already.
    pub same: usize,
    /// How many groups were older than what is known, and ignored.
    pub regressions: usize,
    /// The slots whose group contradicts the known one of the same epoch.
    pub conflicts: Vec<Slot>,
}

/// What a table has seen since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Diffs taken, also those that changed nothing; not those that were refused.
    pub diffs: u64,
    /// Groups replaced.
    pub groups: u64,
    /// Groups ignored because a newer one was known.
    pub regressions: u64,
    /// Groups that contradicted a known one of the same epoch.
    pub conflicts: u64,
}

/// Why a diff was not applied. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ApplyError {
    /// The table would hold more than [`MAX_PINS`] pins.
    #[error(
        "the table would hold {pins} pins: at most {MAX_PINS} are allowed; unpin spaces that can live with their slot"
    )]
    TooManyPins {
        /// How many there would be.
        pins: usize,
    },
    /// The table would name more than [`MAX_NODES`] nodes.
    #[error("the table would name more than {MAX_NODES} nodes: that is the most a cluster may have")]
    TooManyNodes,
}
