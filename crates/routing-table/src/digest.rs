//! A hash tree over all groups (Merkle, 1987), two levels deep, so that two tables find what differs in three small
//! messages: the root (8 bytes), the branches (128 × 8), the leaves of a branch that differs (128 × 8).

use std::fmt;

use homing_types::{SLOTS, Slot};
use xxhash_rust::xxh3::xxh3_64;

/// Branches of the tree.
pub const BRANCHES: usize = 128;

/// Slots of a branch.
pub(crate) const LEAVES: usize = SLOTS / BRANCHES;

/// The root of a table's hash tree. Two tables hold equal groups exactly if their digests are equal: but for 1 in 2⁶⁴, and for
/// groups that somebody made to collide, which xxh3 doesn't resist.
///
/// That a group is in conflict isn't part of it: it is what one node has seen, and another that holds the same content
/// needn't ever see it. Two tables that hold the two contents themselves differ, as they should, until the authority mints
/// the group anew.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest(u64);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The inner nodes of the tree; its leaves are the groups' content hashes, 0 for a slot nobody knows.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    branches: [u64; BRANCHES],
}

impl Default for Tree {
    fn default() -> Self {
        Self { branches: [hash(&[0; LEAVES]); BRANCHES] }
    }
}

impl Tree {
    /// Hashes the branches anew in which these slots stand.
    pub(crate) fn update<'a>(&mut self, slots: &[Slot], leaves: impl Fn(usize) -> &'a [u64; LEAVES]) {
        let mut dirty = [false; BRANCHES];
        for slot in slots {
            dirty[slot.index() / LEAVES] = true;
        }
        for branch in (0..BRANCHES).filter(|branch| dirty[*branch]) {
            self.branches[branch] = hash(leaves(branch));
        }
    }

    pub(crate) fn root(&self) -> Digest {
        Digest(hash(&self.branches))
    }

    pub(crate) const fn branches(&self) -> &[u64; BRANCHES] {
        &self.branches
    }
}

/// The slots whose leaves stand in a branch.
pub(crate) fn slots_of(branch: usize) -> impl Iterator<Item = Slot> {
    Slot::all().skip(branch * LEAVES).take(LEAVES)
}

fn hash<const N: usize>(hashes: &[u64; N]) -> u64 {
    xxh3_64(hashes.map(u64::to_be_bytes).as_flattened())
}
