use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use homing_types::{Epoch, NodeId, Owners, Slot, SpaceKey};
use thiserror::Error;

use crate::packed::{Packed, Position, pack};
use crate::table::MAX_PINS;
use crate::wire::{self, Cursor, DecodeError, FORMAT, MAX_DIFF_LEN, WireGroup, Writer};
use crate::{Group, MAX_NODES, hash, nodes};

/// A batch of groups, published all or nothing. A slot stands in it at most once, so it has at most
/// [`SLOTS`](homing_types::SLOTS) groups.
///
/// A diff is kept as the bytes in which it travels, checked and with an index of its groups. So two diffs are equal exactly if
/// their bytes are.
#[derive(Clone)]
pub struct Diff {
    bytes: Vec<u8>,
    /// Where the length of each node's id stands in the bytes; the id follows.
    ids: Vec<u32>,
    groups: Vec<Place>,
}

/// Where a group stands in a diff's bytes.
#[derive(Clone, Copy)]
struct Place {
    hash: u64,
    start: u32,
    pin_replicas: u8,
}

impl Diff {
    /// A diff of these groups.
    ///
    /// # Errors
    /// [`DiffError`] names the slot whose group can't be right.
    pub fn new(groups: impl IntoIterator<Item = (Slot, Group)>) -> Result<Self, DiffError> {
        let mut sorted = BTreeMap::new();
        for (slot, group) in groups {
            if sorted.insert(slot, group).is_some() {
                return Err(DiffError::Twice { slot });
            }
        }
        match Self::decode(encode(&sorted)?) {
            Ok(diff) => Ok(diff),
            Err(DecodeError::Diff(error)) => Err(error),
            Err(_) => unreachable!("groups that were checked have an encoding"),
        }
    }

    /// A diff of one group.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn one(slot: Slot, group: Group) -> Result<Self, DiffError> {
        Self::new([(slot, group)])
    }

    /// A diff from its bytes.
    ///
    /// What is allocated beside them grows with the bytes that are there, never with a count that they claim, and is at most
    /// three times as much.
    ///
    /// # Errors
    /// [`DecodeError`] if these aren't the bytes of a diff.
    pub fn decode(bytes: impl Into<Vec<u8>>) -> Result<Self, DecodeError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_DIFF_LEN {
            return Err(DecodeError::TooLong { len: bytes.len() });
        }
        let mut cursor = Cursor(&bytes);
        let [format] = cursor.array()?;
        if format != FORMAT {
            return Err(DecodeError::Format { format });
        }
        let ids = wire::read_ids(&bytes, &mut cursor)?;
        let groups = read_groups(&bytes, &mut cursor, &ids)?;
        if !cursor.0.is_empty() {
            return Err(DecodeError::Long { left: cursor.0.len() });
        }
        Ok(Self { ids, groups, bytes })
    }

    /// The bytes of the diff.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the diff, without copying them.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The groups as values, by slot.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Slot, Group)> {
        let ids: Vec<NodeId> = self.ids().map(nodes::id).collect();
        self.groups().map(move |(group, _)| {
            let owners = |packed: Packed<'_>| packed.owners(|position| &ids[usize::from(position)]);
            let pins = group.pins().map(|(key, pinned)| (key, owners(pinned))).collect();
            (group.slot, Group { epoch: group.epoch, owners: owners(group.owners), pins })
        })
    }

    /// The slots and their epochs.
    pub fn epochs(&self) -> impl ExactSizeIterator<Item = (Slot, Epoch)> {
        self.groups().map(|(group, _)| (group.slot, group.epoch))
    }

    /// The number of groups.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is no group.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The groups of some slots, and no node that only the others name.
    pub(crate) fn only(&self, which: impl Fn(Slot) -> bool) -> Self {
        match Self::new(self.iter().filter(|(slot, _)| which(*slot))) {
            Ok(diff) => diff,
            Err(_) => unreachable!("a part of a diff is one"),
        }
    }

    /// The groups as they are, each with its hash.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = (WireGroup<'_>, u64)> {
        self.groups.iter().map(|place| {
            let bytes = &self.bytes[place.start as usize..];
            (WireGroup::again(bytes, usize::from(place.pin_replicas)), place.hash)
        })
    }

    /// The ids of the nodes, by position.
    pub(crate) fn ids(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.ids.iter().map(|start| id(&self.bytes, *start))
    }
}

impl Default for Diff {
    /// A diff of no group.
    fn default() -> Self {
        let bytes = Writer::new(std::iter::empty(), 0).finish();
        Self { bytes, ids: Vec::new(), groups: Vec::new() }
    }
}

impl PartialEq for Diff {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Diff {}

impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// The id whose length stands at `start`.
fn id(bytes: &[u8], start: u32) -> &str {
    let (len, rest) = bytes[start as usize..].split_at(1);
    std::str::from_utf8(&rest[..usize::from(len[0])]).unwrap_or_default()
}

fn read_groups(bytes: &[u8], cursor: &mut Cursor<'_>, ids: &[u32]) -> Result<Vec<Place>, DecodeError> {
    let count = wire::read_group_count(cursor)?;
    let mut groups = Vec::with_capacity(count);
    let mut used = Used::default();
    let mut last = None;
    let mut pins = 0;
    for _ in 0..count {
        let start = bytes.len() - cursor.0.len();
        let group = WireGroup::read(cursor, ids.len(), |owners| used.add(owners))?;
        if last.replace(group.slot) >= Some(group.slot) {
            return Err(DecodeError::Order { part: "slots" });
        }
        pins += group.pin_count();
        if pins > MAX_PINS {
            return Err(DiffError::TooManyPins.into());
        }
        let hash = hash::hash(&group, |position| id(bytes, ids[usize::from(position)]));
        groups.push(Place { hash, start: start as u32, pin_replicas: group.pin_replicas() as u8 });
    }
    if used.count() < ids.len() { Err(DecodeError::UnusedNode) } else { Ok(groups) }
}

/// Which positions of a dictionary own something.
struct Used([u64; MAX_NODES / 64]);

impl Default for Used {
    fn default() -> Self {
        Self([0; MAX_NODES / 64])
    }
}

impl Used {
    fn add(&mut self, owners: Packed<'_>) {
        for position in owners.positions().map(usize::from) {
            self.0[position / 64] |= 1 << (position % 64);
        }
    }

    fn count(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }
}

fn encode(groups: &BTreeMap<Slot, Group>) -> Result<Vec<u8>, DiffError> {
    let ids: HashSet<&NodeId> = groups.values().flat_map(Group::nodes).collect();
    if ids.len() > MAX_NODES {
        return Err(DiffError::TooManyNodes);
    }
    if groups.values().map(|group| group.pins.len()).sum::<usize>() > MAX_PINS {
        return Err(DiffError::TooManyPins);
    }
    let mut ids: Vec<&NodeId> = ids.into_iter().collect();
    ids.sort_unstable();
    let positions: HashMap<&NodeId, Position> = ids.iter().copied().zip(0..).collect();
    let packed = |owners: &Owners| pack(owners, |node| positions[node]);
    let mut writer = Writer::new(ids.iter().map(|id| id.as_str()), groups.len());
    for (slot, group) in groups {
        writer.group(*slot, group.epoch, &packed(&group.owners), group.pins.len());
        for (key, owners) in &group.pins {
            writer.pin(*key, &packed(owners));
        }
    }
    Ok(writer.finish())
}

/// Why groups form no [`Diff`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DiffError {
    /// A group's epoch is zero, which stands for nothing known.
    #[error("the group of slot {slot} has epoch 0: an authority mints epochs from 1")]
    NoEpoch {
        /// The slot.
        slot: Slot,
    },
    /// A slot stands twice.
    #[error("slot {slot} stands twice: a diff holds one group a slot")]
    Twice {
        /// The slot.
        slot: Slot,
    },
    /// A pin belongs to another slot.
    #[error("the pin {key} in the group of slot {slot} belongs to slot {}", key.slot())]
    ForeignPin {
        /// The slot of the group.
        slot: Slot,
        /// The pin.
        key: SpaceKey,
    },
    /// There are more pins than a table may hold.
    #[error("the diff has more than {MAX_PINS} pins, the most a table may hold")]
    TooManyPins,
    /// The groups name more nodes than a table may.
    #[error("the diff names more than {MAX_NODES} nodes, the most a table may name")]
    TooManyNodes,
}
