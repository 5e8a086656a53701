//! The groups of some slots that follow each other, as they lie in a table.

use homing_types::{Epoch, SpaceKey};

use crate::digest::LEAVES;
use crate::packed::{self, Packed, Position};
use crate::pins::{self, Places, Shape};
use crate::wire::WireGroup;

/// The groups of [`LEAVES`] slots. What a lookup of a primary needs stands in one small array.
#[derive(Clone)]
pub(crate) struct Branch {
    entries: [Entry; LEAVES],
    owners: [[u8; packed::MAX_LEN]; LEAVES],
    hashes: [u64; LEAVES],
}

/// What every lookup needs of a group: half a cache line.
#[derive(Clone, Default)]
pub(crate) struct Entry {
    /// Zero if nothing is known of the group.
    pub(crate) epoch: Epoch,
    pins: Option<Places>,
    shape: Shape,
    pub(crate) primary: Position,
    /// Another content came with this very epoch: writes stop until the group is minted anew.
    pub(crate) conflict: bool,
}

const _: () = assert!(size_of::<Entry>() == 32);

impl Entry {
    /// The owners that a space has apart from those of its group.
    #[inline]
    pub(crate) fn pin(&self, key: SpaceKey) -> Option<Packed<'_>> {
        pins::find(self.pins.as_ref()?, self.shape, key)
    }
}

impl Default for Branch {
    fn default() -> Self {
        Self {
            entries: std::array::from_fn(|_| Entry::default()),
            owners: [[0; packed::MAX_LEN]; LEAVES],
            hashes: [0; LEAVES],
        }
    }
}

impl Branch {
    /// Replaces a group, with the positions that the table gives its nodes. Its pins are laid out in `scratch`.
    pub(crate) fn write(
        &mut self,
        leaf: usize,
        group: &WireGroup<'_>,
        hash: u64,
        position: impl Fn(Position) -> Position,
        scratch: &mut Vec<u8>,
    ) {
        self.owners[leaf] = group.owners.translated(&position);
        let primary = Packed::new(&self.owners[leaf]).primary();
        let shape = group.pin_shape();
        let pins = pins::lay_out(shape, group.pins(), position, scratch);
        self.entries[leaf] = Entry { epoch: group.epoch, pins, shape, primary, conflict: false };
        self.hashes[leaf] = hash;
    }

    pub(crate) fn mark_conflict(&mut self, leaf: usize) {
        self.entries[leaf].conflict = true;
    }

    /// The leaves of the digest's tree.
    pub(crate) const fn hashes(&self) -> &[u64; LEAVES] {
        &self.hashes
    }
}

/// One group of a branch.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a> {
    branch: &'a Branch,
    at: usize,
}

impl<'a> Leaf<'a> {
    #[inline]
    pub(crate) const fn new(branch: &'a Branch, at: usize) -> Self {
        Self { branch, at }
    }

    #[inline]
    pub(crate) const fn entry(self) -> &'a Entry {
        &self.branch.entries[self.at]
    }

    #[inline]
    pub(crate) const fn owners(self) -> Packed<'a> {
        Packed::new(&self.branch.owners[self.at])
    }

    /// The hash of the group, slot and epoch included.
    pub(crate) const fn hash(self) -> u64 {
        self.branch.hashes[self.at]
    }

    pub(crate) const fn pin_count(self) -> usize {
        self.entry().shape.pins()
    }

    /// The pins, in the order of their keys.
    pub(crate) fn pins(self) -> impl Iterator<Item = (SpaceKey, Packed<'a>)> {
        let entry = self.entry();
        entry.pins.iter().flat_map(|places| pins::iter(places, entry.shape))
    }
}
