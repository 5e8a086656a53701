//! What a diff makes of a snapshot.

use homing_types::{Slot, Twin};

use crate::Diff;
use crate::nodes::Nodes;
use crate::snapshot::Snapshot;
use crate::table::{Applied, ApplyError, MAX_PINS};
use crate::wire::WireGroup;

/// What a diff says to who holds `current`.
pub(crate) struct Sifted {
    pub(crate) applied: Applied,
    /// Whether there will be another snapshot.
    pub(crate) changes: bool,
}

/// Tells what is new in a diff from what is known, older, or a contradiction.
pub(crate) fn sift(current: &Snapshot, diff: &Diff) -> Sifted {
    let mut applied = Applied { version: current.version, ..Applied::default() };
    let mut newly_marked = false;
    for (group, hash) in diff.groups() {
        let leaf = current.leaf(group.slot);
        let known = leaf.entry();
        let twin = Twin::EqualEpochApplied.is_on() && group.epoch == known.epoch && hash != leaf.hash();
        if group.epoch > known.epoch || twin {
            applied.changed.push(group.slot);
        } else if group.epoch < known.epoch {
            applied.regressions += 1;
        } else if hash == leaf.hash() {
            applied.same += 1;
        } else {
            applied.conflicts.push(group.slot);
            newly_marked |= !known.conflict;
        }
    }
    Sifted { changes: newly_marked || !applied.changed.is_empty(), applied }
}

/// The snapshot after `current`: with what is new, and with marks on the slots in conflict.
pub(crate) fn replace(current: &Snapshot, diff: &Diff, applied: &Applied) -> Result<Snapshot, ApplyError> {
    let is_new = |slot: Slot| applied.changed.binary_search(&slot).is_ok();
    let news = || diff.groups().filter(|(group, _)| is_new(group.slot));
    let mut next = current.clone();
    next.version += 1;
    for (group, _) in news() {
        next.pins = next.pins - current.leaf(group.slot).pin_count() + group.pin_count();
    }
    if next.pins > MAX_PINS {
        return Err(ApplyError::TooManyPins { pins: next.pins });
    }
    if write(&mut next, diff, news()).is_none() {
        reintern(&mut next, current, diff, &is_new)?;
    }
    for slot in &applied.conflicts {
        mark_conflict(&mut next, *slot);
    }
    let Snapshot { tree, branches, .. } = &mut next;
    tree.update(&applied.changed, |branch| branches[branch].hashes());
    Ok(next)
}

/// The snapshot after `current`, with marks on these slots too; `None` if that is nothing new.
pub(crate) fn mark(current: &Snapshot, slots: &[Slot]) -> Option<Snapshot> {
    let is_new = |slot: &&Slot| !current.epoch(**slot).is_zero() && !current.conflict(**slot);
    let mut new = slots.iter().filter(is_new).peekable();
    new.peek()?;
    let mut next = current.clone();
    next.version += 1;
    new.for_each(|slot| mark_conflict(&mut next, *slot));
    Some(next)
}

/// Writes all groups anew, with a dictionary of those nodes alone that they name: the old one was full, maybe of nodes that
/// nobody names any more.
fn reintern(
    next: &mut Snapshot,
    current: &Snapshot,
    diff: &Diff,
    is_new: &impl Fn(Slot) -> bool,
) -> Result<(), ApplyError> {
    let stays = current.diff(Slot::all().filter(|slot| !is_new(*slot)));
    let news = diff.only(is_new);
    next.nodes = Nodes::default();
    for diff in [&stays, &news] {
        write(next, diff, diff.groups()).ok_or(ApplyError::TooManyNodes)?;
    }
    for slot in current.conflicts().filter(|slot| !is_new(*slot)) {
        mark_conflict(next, slot);
    }
    Ok(())
}

fn mark_conflict(next: &mut Snapshot, slot: Slot) {
    let (branch, leaf) = next.leaf_mut(slot);
    branch.mark_conflict(leaf);
}

/// Writes groups of a diff into a snapshot that nobody sees yet; `None` if the dictionary of nodes is full.
fn write<'a>(
    next: &mut Snapshot,
    diff: &Diff,
    groups: impl Iterator<Item = (WireGroup<'a>, u64)>,
) -> Option<()> {
    let positions = next.nodes.intern(diff.ids())?;
    let mut scratch = Vec::new();
    for (group, hash) in groups {
        let (branch, leaf) = next.leaf_mut(group.slot);
        branch.write(leaf, &group, hash, |position| positions[usize::from(position)], &mut scratch);
    }
    Some(())
}
