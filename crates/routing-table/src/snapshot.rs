use std::sync::Arc;

use homing_types::{Epoch, SLOTS, Slot, SpaceKey};

use crate::Group;
use crate::branch::{Branch, Leaf};
use crate::digest::{BRANCHES, Digest, LEAVES, Tree, slots_of};
use crate::lookup::Lookup;
use crate::nodes::Nodes;
use crate::packed::Packed;

/// All groups at one moment. It never changes.
///
/// The groups lie in [`BRANCHES`] branches, which snapshots share: a diff of one group copies one of them.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) branches: [Arc<Branch>; BRANCHES],
    pub(crate) nodes: Nodes,
    pub(crate) pins: usize,
    pub(crate) tree: Tree,
}

impl Snapshot {
    pub(crate) fn empty() -> Self {
        let branch = Arc::new(Branch::default());
        Self {
            version: 0,
            branches: std::array::from_fn(|_| Arc::clone(&branch)),
            nodes: Nodes::default(),
            pins: 0,
            tree: Tree::default(),
        }
    }

    /// Rises by one with each publication; 0 for the empty table. It is local: another node's version says nothing.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// What is known of a space's owners; `None` if nothing is.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: SpaceKey) -> Option<Lookup<'_>> {
        let leaf = self.leaf(key.slot());
        let entry = leaf.entry();
        if entry.epoch.is_zero() { None } else { Some(Lookup::new(&self.nodes, leaf, entry.pin(key))) }
    }

    /// The epoch of a slot; zero if nothing is known.
    #[must_use]
    pub fn epoch(&self, slot: Slot) -> Epoch {
        self.leaf(slot).entry().epoch
    }

    /// Whether two contents came with the epoch that this slot has.
    #[must_use]
    pub fn conflict(&self, slot: Slot) -> bool {
        self.leaf(slot).entry().conflict
    }

    /// The slots of which two contents came with the epoch that they have.
    pub fn conflicts(&self) -> impl Iterator<Item = Slot> + '_ {
        Slot::all().filter(|slot| self.conflict(*slot))
    }

    /// The group of a slot, as a value.
    #[must_use]
    pub fn group(&self, slot: Slot) -> Option<Group> {
        let leaf = self.leaf(slot);
        let epoch = leaf.entry().epoch;
        if epoch.is_zero() {
            return None;
        }
        let owners = |packed: Packed<'_>| packed.owners(|position| self.nodes.id(position));
        let pins = leaf.pins().map(|(key, pinned)| (key, owners(pinned))).collect();
        Some(Group { epoch, owners: owners(leaf.owners()), pins })
    }

    /// All groups, as values, by slot.
    pub fn groups(&self) -> impl Iterator<Item = (Slot, Group)> + '_ {
        Slot::all().filter_map(|slot| Some((slot, self.group(slot)?)))
    }

    /// The number of pins in the group of a slot.
    #[must_use]
    pub fn pins_of(&self, slot: Slot) -> usize {
        self.leaf(slot).pin_count()
    }

    /// The number of pins in all groups.
    #[must_use]
    pub const fn pins(&self) -> usize {
        self.pins
    }

    /// The root of the hash tree over all groups.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.tree.root()
    }

    /// The branches of the hash tree, to compare with those of a table whose digest differs.
    #[must_use]
    pub const fn branches(&self) -> &[u64; BRANCHES] {
        self.tree.branches()
    }

    /// The leaves of one branch (modulo [`BRANCHES`]), to compare with those of a table whose branch differs: a slot, its
    /// epoch, and the hash of its content.
    pub fn leaves(&self, branch: usize) -> impl Iterator<Item = (Slot, Epoch, u64)> + '_ {
        slots_of(branch % BRANCHES).map(|slot| {
            let leaf = self.leaf(slot);
            (slot, leaf.entry().epoch, leaf.hash())
        })
    }

    #[inline]
    pub(crate) fn leaf(&self, slot: Slot) -> Leaf<'_> {
        let (branch, leaf) = place(slot);
        Leaf::new(&self.branches[branch], leaf)
    }

    /// The branch of a slot, no longer shared, and the slot's leaf there.
    pub(crate) fn leaf_mut(&mut self, slot: Slot) -> (&mut Branch, usize) {
        let (branch, leaf) = place(slot);
        (Arc::make_mut(&mut self.branches[branch]), leaf)
    }
}

/// The branch of a slot, and its leaf there.
#[inline]
const fn place(slot: Slot) -> (usize, usize) {
    // The slot is below SLOTS by its type; the remainder tells the compiler.
    (slot.index() % SLOTS / LEAVES, slot.index() % LEAVES)
}
