//! What a table knows as diffs, for another table.

use std::mem;

use homing_types::Slot;

use crate::packed::{Packed, Position};
use crate::wire::{self, Writer};
use crate::{Diff, Snapshot};

impl Snapshot {
    /// What is known of these slots: what another table needs to know as much. Slots that nobody knows are left out.
    #[must_use]
    pub fn diff(&self, slots: impl IntoIterator<Item = Slot>) -> Diff {
        let mut slots: Vec<Slot> = slots.into_iter().filter(|slot| self.knows(*slot)).collect();
        slots.sort_unstable();
        slots.dedup();
        match Diff::decode(self.encode(&slots)) {
            Ok(diff) => diff,
            Err(_) => unreachable!("a table holds no more than a diff may"),
        }
    }

    /// The whole table as one diff.
    #[must_use]
    pub fn to_diff(&self) -> Diff {
        self.diff(Slot::all())
    }

    /// The whole table as diffs of at most `len` bytes, in any number of which it can be sent: no rule spans two groups, so
    /// each may be applied as it comes. A group is one piece: one that is larger goes alone, with its dictionary.
    pub fn chunks(&self, len: usize) -> impl Iterator<Item = Diff> + '_ {
        let mut slots = Slot::all().filter(|slot| self.knows(*slot)).peekable();
        std::iter::from_fn(move || {
            let mut chunk = vec![slots.next()?];
            let mut used = Used::of(self);
            let mut size = Writer::EMPTY_LEN + self.size(chunk[0], &mut used);
            while let Some(slot) = slots.peek() {
                size += self.size(*slot, &mut used);
                if size > len {
                    break;
                }
                chunk.extend(slots.next());
            }
            Some(self.diff(chunk))
        })
    }

    fn knows(&self, slot: Slot) -> bool {
        !self.epoch(slot).is_zero()
    }

    /// The bytes that a group adds to a diff, its nodes' ids included where they aren't `used` yet.
    fn size(&self, slot: Slot, used: &mut Used) -> usize {
        let new = self.positions(slot).filter(|position| used.add(*position));
        let ids: usize = new.map(|position| 1 + self.nodes.id(position).as_str().len()).sum();
        let leaf = self.leaf(slot);
        let pins: usize = leaf.pins().map(|(_, owners)| wire::KEY_LEN + owners.bytes().len()).sum();
        ids + wire::GROUP_LEN + leaf.owners().bytes().len() + pins
    }

    /// The owners of a group, and of its pins.
    fn positions(&self, slot: Slot) -> impl Iterator<Item = Position> + '_ {
        let leaf = self.leaf(slot);
        let pins = leaf.pins().map(|(_, owners)| owners);
        std::iter::once(leaf.owners()).chain(pins).flat_map(Packed::positions)
    }

    fn encode(&self, slots: &[Slot]) -> Vec<u8> {
        let mut used = Used::of(self);
        for position in slots.iter().flat_map(|slot| self.positions(*slot)) {
            used.add(position);
        }
        let mut ids: Vec<Position> = used.positions().collect();
        ids.sort_unstable_by_key(|position| self.nodes.id(*position));
        let mut positions: Vec<Position> = vec![0; self.nodes.len()];
        (0..).zip(&ids).for_each(|(new, old)| positions[usize::from(*old)] = new);

        let translated = |owners: Packed<'_>| owners.translated(|old| positions[usize::from(old)]);
        let mut writer = Writer::new(ids.iter().map(|id| self.nodes.id(*id).as_str()), slots.len());
        for slot in slots {
            let leaf = self.leaf(*slot);
            writer.group(*slot, leaf.entry().epoch, &translated(leaf.owners()), leaf.pin_count());
            leaf.pins().for_each(|(key, owners)| writer.pin(key, &translated(owners)));
        }
        writer.finish()
    }
}

/// Which positions of a table's dictionary own something.
struct Used(Vec<bool>);

impl Used {
    fn of(table: &Snapshot) -> Self {
        Self(vec![false; table.nodes.len()])
    }

    /// Whether it is new.
    fn add(&mut self, position: Position) -> bool {
        !mem::replace(&mut self.0[usize::from(position)], true)
    }

    fn positions(&self) -> impl Iterator<Item = Position> + '_ {
        (0..).zip(&self.0).filter(|(_, used)| **used).map(|(position, _)| position)
    }
}
