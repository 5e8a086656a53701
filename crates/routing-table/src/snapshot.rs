use std::collections::BTreeMap;
use std::sync::Arc;

use homing_types::{Access, Epoch, NodeId, Owners, ReplicaState, Role, SLOTS, Slot, SpaceKey};

use crate::Group;
use crate::content::Content;
use crate::digest::{self, BRANCHES, Digest, Tree};
use crate::nodes::{NodeIndex, Nodes};
use crate::pins::Packed;

/// All groups at one moment. It never changes.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) entries: Box<[Entry; SLOTS]>,
    pub(crate) contents: Box<[Option<Arc<Content>>; SLOTS]>,
    pub(crate) nodes: Nodes,
    pub(crate) pins: usize,
    pub(crate) tree: Tree,
}

/// What every lookup needs of a group, in one small array.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) epoch: Epoch,
    pub(crate) primary: NodeIndex,
    pub(crate) has_pins: bool,
    /// Another content came with this very epoch: writes stop until the group is minted anew.
    pub(crate) conflict: bool,
}

impl Snapshot {
    pub(crate) fn empty() -> Self {
        Self {
            version: 0,
            entries: boxed(Entry::default()),
            contents: boxed(None),
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
        let entry = &self.entries[key.slot().index()];
        if entry.epoch.is_zero() {
            return None;
        }
        let pin = if entry.has_pins { self.pin(key) } else { None };
        Some(Lookup { snapshot: self, slot: key.slot(), entry, pin })
    }

    fn pin(&self, key: SpaceKey) -> Option<&Packed> {
        self.contents[key.slot().index()].as_ref()?.pins.find(key)
    }

    /// The epoch of a slot; zero if nothing is known.
    #[must_use]
    pub fn epoch(&self, slot: Slot) -> Epoch {
        self.entries[slot.index()].epoch
    }

    /// Whether two contents came with the epoch that this slot has.
    #[must_use]
    pub fn conflict(&self, slot: Slot) -> bool {
        self.entries[slot.index()].conflict
    }

    /// The group of a slot, as a value.
    #[must_use]
    pub fn group(&self, slot: Slot) -> Option<Group> {
        let content = self.contents[slot.index()].as_ref()?;
        let pins = content.pins.iter().map(|(key, owners)| (key, owners.owners(&self.nodes)));
        Some(Group {
            epoch: self.epoch(slot),
            owners: content.owners.owners(&self.nodes),
            pins: pins.collect::<BTreeMap<_, _>>(),
        })
    }

    /// All groups, as values, by slot.
    pub fn groups(&self) -> impl Iterator<Item = (Slot, Group)> + '_ {
        Slot::all().filter_map(|slot| Some((slot, self.group(slot)?)))
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
        digest::slots_of(branch % BRANCHES).map(|slot| (slot, self.epoch(slot), self.leaf(slot.index())))
    }

    /// The hash of a slot's content, slot and epoch included.
    pub(crate) fn leaf(&self, slot: usize) -> u64 {
        self.contents[slot].as_ref().map_or(0, |content| content.hash)
    }
}

/// What a table knows of one space.
#[derive(Clone, Copy)]
pub struct Lookup<'a> {
    snapshot: &'a Snapshot,
    slot: Slot,
    entry: &'a Entry,
    pin: Option<&'a Packed>,
}

impl<'a> Lookup<'a> {
    /// The epoch of the space's group; never zero.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.entry.epoch
    }

    /// The space's primary.
    #[inline]
    #[must_use]
    pub fn primary(&self) -> &'a NodeId {
        let index = self.pin.map_or(self.entry.primary, Packed::primary);
        self.snapshot.nodes.id(index)
    }

    /// The space's replicas, in the order in which they were minted.
    pub fn replicas(&self) -> impl Iterator<Item = (&'a NodeId, ReplicaState)> + use<'a> {
        let nodes = &self.snapshot.nodes;
        self.packed().into_iter().flat_map(Packed::replicas).map(|(index, state)| (nodes.id(index), state))
    }

    /// The owners, as a value.
    #[must_use]
    pub fn owners(&self) -> Owners {
        match self.packed() {
            Some(packed) => packed.owners(&self.snapshot.nodes),
            None => unreachable!("an entry with an epoch has a content"),
        }
    }

    /// Whether the space has owners of its own.
    #[must_use]
    pub const fn is_pinned(&self) -> bool {
        self.pin.is_some()
    }

    /// Whether two contents came with this epoch. Writes stop until the group is minted anew.
    #[must_use]
    pub const fn conflict(&self) -> bool {
        self.entry.conflict
    }

    /// In which role `node` may serve `access`, if it may. A conflict is not looked at here.
    #[must_use]
    pub fn serves(&self, node: &NodeId, access: Access) -> Option<Role> {
        if self.primary() == node {
            Some(Role::Primary)
        } else if access.any_replica()
            && self.replicas().any(|(replica, state)| replica == node && state == ReplicaState::InSync)
        {
            Some(Role::Replica)
        } else {
            None
        }
    }

    fn packed(&self) -> Option<&'a Packed> {
        self.pin.or_else(|| self.snapshot.contents[self.slot.index()].as_ref().map(|content| &content.owners))
    }
}

/// An array on the heap that never stood on the stack.
fn boxed<T: Clone>(value: T) -> Box<[T; SLOTS]> {
    match vec![value; SLOTS].into_boxed_slice().try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("the vector has as many elements as the array"),
    }
}
