use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homing_types::Slot;
use parking_lot::Mutex;
use thiserror::Error;

use crate::content::{self, Content};
use crate::nodes::{MAX_NODES, Nodes};
use crate::publish::{Pinned, Published};
use crate::snapshot::{Entry, Snapshot};
use crate::{Diff, Group};

/// The most pins a table may hold.
pub const MAX_PINS: usize = 1_000_000;

/// The routing table: snapshots that readers follow without waiting, and diffs that replace them.
pub struct RoutingTable {
    current: Published<Snapshot>,
    writer: Mutex<()>,
    counts: Counts,
}

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
        Self { current: Published::new(Snapshot::empty()), writer: Mutex::new(()), counts: Counts::default() }
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
        Arc::clone(&self.current.load())
    }

    /// Applies a diff: of each of its groups the one with the higher epoch stays, and all changes are seen at once.
    ///
    /// A group with an epoch that is known already, but another content, can't be honest: the known one stays and is
    /// marked as a conflict until a higher epoch comes.
    ///
    /// # Errors
    /// [`ApplyError`] if the table would break a bound; then nothing has changed.
    pub fn apply(&self, diff: &Diff) -> Result<Applied, ApplyError> {
        let _writer = self.writer.lock();
        let current = self.snapshot();
        let (news, mut applied) = sift(&current, diff);
        let newly_marked = applied.conflicts.iter().any(|slot| !current.conflict(*slot));
        if !news.is_empty() || newly_marked {
            let next = replace(&current, &news, &applied.conflicts)?;
            applied.version = next.version;
            self.current.store(next);
        }
        self.counts.add(&applied);
        Ok(applied)
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

/// Tells what is new in a diff from what is known, older, or a contradiction. The news are in the order of their slots.
fn sift<'a>(current: &Snapshot, diff: &'a Diff) -> (Vec<(Slot, &'a Group)>, Applied) {
    let mut applied = Applied { version: current.version, ..Applied::default() };
    let mut news = Vec::new();
    for (slot, group) in diff.iter() {
        let known = current.epoch(slot);
        if group.epoch > known {
            applied.changed.push(slot);
            news.push((slot, group));
        } else if group.epoch < known {
            applied.regressions += 1;
        } else if content::hash(slot, group) == current.leaf(slot.index()) {
            applied.same += 1;
        } else {
            applied.conflicts.push(slot);
        }
    }
    (news, applied)
}

/// The snapshot after `current`: with `news`, and with marks on the slots in conflict.
fn replace(current: &Snapshot, news: &[(Slot, &Group)], conflicts: &[Slot]) -> Result<Snapshot, ApplyError> {
    let mut next = current.clone();
    next.version += 1;
    next.pins = pins_after(current, news)?;
    if write(&mut next, news).is_none() {
        reintern(&mut next, current, news)?;
    }
    for slot in conflicts {
        next.entries[slot.index()].conflict = true;
    }
    let changed: Vec<Slot> = news.iter().map(|(slot, _)| *slot).collect();
    let mut tree = next.tree.clone();
    tree.update(&changed, |slot| next.leaf(slot));
    next.tree = tree;
    Ok(next)
}

fn pins_after(current: &Snapshot, news: &[(Slot, &Group)]) -> Result<usize, ApplyError> {
    let replaced =
        |slot: &Slot| current.contents[slot.index()].as_ref().map_or(0, |content| content.pins.len());
    let pins = news.iter().fold(current.pins, |pins, (slot, group)| pins - replaced(slot) + group.pins.len());
    if pins > MAX_PINS { Err(ApplyError::TooManyPins { pins }) } else { Ok(pins) }
}

/// Writes all groups anew with a dictionary of those nodes alone that they name: the old one was full, maybe of nodes that
/// nobody names any more.
fn reintern(next: &mut Snapshot, current: &Snapshot, news: &[(Slot, &Group)]) -> Result<(), ApplyError> {
    next.nodes = Nodes::default();
    for (slot, group) in current.groups() {
        if news.binary_search_by_key(&slot, |(new, _)| *new).is_err() {
            write(next, &[(slot, &group)]).ok_or(ApplyError::TooManyNodes)?;
            next.entries[slot.index()].conflict = current.conflict(slot);
        }
    }
    write(next, news).ok_or(ApplyError::TooManyNodes)
}

/// Writes groups into a snapshot that nobody sees yet; `None` if the dictionary of nodes is full.
fn write(next: &mut Snapshot, groups: &[(Slot, &Group)]) -> Option<()> {
    for (slot, group) in groups {
        let content = Content::new(*slot, group, &mut next.nodes)?;
        next.entries[slot.index()] = Entry {
            epoch: group.epoch,
            primary: content.owners.primary(),
            has_pins: !content.pins.is_empty(),
            conflict: false,
        };
        next.contents[slot.index()] = Some(Arc::new(content));
    }
    Some(())
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
    /// Diffs applied.
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
