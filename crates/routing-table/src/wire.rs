//! Diffs as bytes, for requests, replies, operators and files.
//!
//! ```text
//! format     1 byte, 2
//! nodes      2 bytes: how many; each is 1 byte of length and its id, in the order of their bytes
//! groups     2 bytes: how many; in the order of their slots, each is
//!   slot     2 bytes
//!   epoch    8 bytes
//!   owners   1 byte: how many replicas; 1 byte: bit i is set if replica i is catching up;
//!            2 bytes each for the primary and the replicas: positions in `nodes`
//!   pins     3 bytes: how many; each is 16 bytes of space key and its owners, in the order of the keys
//! ```
//!
//! Numbers are big-endian. A diff has one encoding only, and what isn't one is refused: equal bytes and equal diffs are
//! the same. Ids travel, never the positions that a table gives them.

use homing_types::{Epoch, NodeId, OwnersError, Slot, SpaceKey};
use thiserror::Error;

use crate::diff::DiffError;
use crate::nodes::MAX_NODES;
use crate::packed::{self, Packed};
use crate::pins::Shape;
use crate::table::MAX_PINS;

pub(crate) const FORMAT: u8 = 2;

/// The bytes of a space key.
pub(crate) const KEY_LEN: usize = 16;

/// The bytes of a group beside its owners and pins.
pub(crate) const GROUP_LEN: usize = 2 + 8 + 3;

/// The most bytes of a diff: one that fills a table to all its bounds.
pub const MAX_DIFF_LEN: usize = 1
    + (2 + MAX_NODES * (1 + NodeId::MAX_LEN))
    + 2
    + homing_types::SLOTS * (GROUP_LEN + packed::MAX_LEN)
    + MAX_PINS * (KEY_LEN + packed::MAX_LEN);

/// One group in the bytes of a diff.
#[derive(Clone, Copy)]
pub(crate) struct WireGroup<'a> {
    pub(crate) slot: Slot,
    pub(crate) epoch: Epoch,
    pub(crate) owners: Packed<'a>,
    pins: Cursor<'a>,
    pin_count: usize,
    /// The most replicas that one of its pins has.
    pin_replicas: usize,
}

impl<'a> WireGroup<'a> {
    /// Reads and checks a group whose dictionary has `nodes` entries, and tells `seen` of each owner.
    pub(crate) fn read(
        cursor: &mut Cursor<'a>,
        nodes: usize,
        mut seen: impl FnMut(Packed<'a>),
    ) -> Result<Self, DecodeError> {
        let mut group = Self::read_head(cursor, |cursor| Packed::read(cursor, nodes))?;
        if group.epoch.is_zero() {
            return Err(DiffError::NoEpoch { slot: group.slot }.into());
        }
        seen(group.owners);
        let mut last = None;
        for _ in 0..group.pin_count {
            let key = SpaceKey::from_u128(u128::from_be_bytes(cursor.array()?));
            if key.slot() != group.slot {
                return Err(DiffError::ForeignPin { slot: group.slot, key }.into());
            }
            if last.replace(key) >= Some(key) {
                return Err(DecodeError::Order { part: "pins" });
            }
            let owners = Packed::read(cursor, nodes)?;
            group.pin_replicas = group.pin_replicas.max(owners.replica_count());
            seen(owners);
        }
        Ok(group)
    }

    fn read_head(
        cursor: &mut Cursor<'a>,
        owners: impl FnOnce(&mut Cursor<'a>) -> Result<Packed<'a>, DecodeError>,
    ) -> Result<Self, DecodeError> {
        let number = u16::from_be_bytes(cursor.array()?);
        let slot = Slot::new(number).ok_or(DecodeError::Slot { number })?;
        let epoch = Epoch::new(u64::from_be_bytes(cursor.array()?));
        let owners = owners(cursor)?;
        let [a, b, c] = cursor.array()?;
        let pin_count = u32::from_be_bytes([0, a, b, c]) as usize;
        Ok(Self { slot, epoch, owners, pins: *cursor, pin_count, pin_replicas: 0 })
    }

    /// A group that was checked, and of whose pins none has more than so many replicas.
    pub(crate) fn again(bytes: &'a [u8], pin_replicas: usize) -> Self {
        match Self::read_head(&mut Cursor(bytes), |cursor| Ok(trusted(cursor))) {
            Ok(group) => Self { pin_replicas, ..group },
            Err(_) => unreachable!("the group was read before"),
        }
    }

    pub(crate) const fn pin_count(&self) -> usize {
        self.pin_count
    }

    /// The most replicas that one of the pins has.
    pub(crate) const fn pin_replicas(&self) -> usize {
        self.pin_replicas
    }

    pub(crate) const fn pin_shape(&self) -> Shape {
        Shape::new(self.pin_count, self.pin_replicas)
    }

    /// The pins of a group that was checked.
    pub(crate) fn pins(&self) -> impl Iterator<Item = (SpaceKey, Packed<'a>)> + use<'a> {
        let mut cursor = self.pins;
        (0..self.pin_count).map(move |_| match cursor.array() {
            Ok(key) => (SpaceKey::from_u128(u128::from_be_bytes(key)), trusted(&mut cursor)),
            Err(_) => unreachable!("the pins were read before"),
        })
    }
}

/// Owners that were checked.
fn trusted<'a>(cursor: &mut Cursor<'a>) -> Packed<'a> {
    let packed = Packed::new(cursor.0);
    cursor.0 = &cursor.0[packed.bytes().len()..];
    packed
}

/// Reads a dictionary: where each id's length stands in `bytes`, at which `cursor` is somewhere.
pub(crate) fn read_ids(bytes: &[u8], cursor: &mut Cursor<'_>) -> Result<Vec<u32>, DecodeError> {
    let count = usize::from(u16::from_be_bytes(cursor.array()?));
    if count > MAX_NODES {
        return Err(DecodeError::TooManyNodes { count });
    }
    // An id has at least a byte, and its length another.
    let mut starts = Vec::with_capacity(count.min(cursor.0.len() / 2));
    let mut last = "";
    for position in 0..count {
        let start = bytes.len() - cursor.0.len();
        let [len] = cursor.array()?;
        let id = std::str::from_utf8(cursor.slice(usize::from(len))?).unwrap_or_default();
        if !NodeId::fits(id) {
            return Err(DecodeError::Node { position });
        }
        if last >= id {
            return Err(DecodeError::Order { part: "nodes" });
        }
        last = id;
        starts.push(start as u32);
    }
    Ok(starts)
}

/// How many groups follow: no more than there are bytes for.
pub(crate) fn read_group_count(cursor: &mut Cursor<'_>) -> Result<usize, DecodeError> {
    let count = usize::from(u16::from_be_bytes(cursor.array()?));
    if count * (GROUP_LEN + packed::len(0)) > cursor.0.len() { Err(DecodeError::Short) } else { Ok(count) }
}

/// Writes a diff: the dictionary first, then the groups.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    /// The bytes of a diff without nodes and groups.
    pub(crate) const EMPTY_LEN: usize = 1 + 2 + 2;

    /// The ids in the order of their bytes, and the number of groups that will follow. More of either than a diff may have
    /// become bytes that nobody decodes.
    pub(crate) fn new<'a>(ids: impl ExactSizeIterator<Item = &'a str>, groups: usize) -> Self {
        let mut bytes = vec![FORMAT];
        bytes.extend(clamp(ids.len()).to_be_bytes());
        for id in ids {
            // Ids are short by their type.
            bytes.push(id.len() as u8);
            bytes.extend(id.as_bytes());
        }
        bytes.extend(clamp(groups).to_be_bytes());
        Self(bytes)
    }

    /// A group; its pins follow, in the order of their keys. `owners` may have bytes after them.
    pub(crate) fn group(&mut self, slot: Slot, epoch: Epoch, owners: &[u8], pins: usize) {
        self.0.extend(slot.number().to_be_bytes());
        self.0.extend(epoch.number().to_be_bytes());
        self.0.extend(Packed::new(owners).bytes());
        self.0.extend(&u32::try_from(pins).unwrap_or(u32::MAX).min(0xff_ffff).to_be_bytes()[1..]);
    }

    /// A pin of the last group. `owners` may have bytes after them.
    pub(crate) fn pin(&mut self, key: SpaceKey, owners: &[u8]) {
        self.0.extend(key.as_u128().to_be_bytes());
        self.0.extend(Packed::new(owners).bytes());
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }
}

fn clamp(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// Bytes that are not read yet.
#[derive(Clone, Copy)]
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (slice, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(slice)
    }
}

/// Why bytes are no diff. Nothing was taken from them; who sent them has to encode them rightly.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The format isn't known here.
    #[error(
        "the diff has format {format}: this node reads format {FORMAT}; run the same version on all nodes"
    )]
    Format {
        /// The format's number.
        format: u8,
    },
    /// The bytes end too early.
    #[error("the bytes end inside the diff: send the whole of it")]
    Short,
    /// More bytes follow a diff.
    #[error("{left} bytes follow the diff: send one diff alone")]
    Long {
        /// How many.
        left: usize,
    },
    /// There are more bytes than any diff has.
    #[error("{len} bytes are more than a diff can have: at most {MAX_DIFF_LEN}")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// There is no such slot.
    #[error("slot {number} does not exist: slots are 0 to 16383")]
    Slot {
        /// Its number.
        number: u16,
    },
    /// The diff names too many nodes.
    #[error("the diff names {count} nodes: at most {MAX_NODES} are allowed")]
    TooManyNodes {
        /// How many.
        count: usize,
    },
    /// One of the nodes has no proper id.
    #[error(
        "node {position} of the diff has no node id: use DNS labels of 1 to 63 lower-case letters, digits and inner hyphens"
    )]
    Node {
        /// Its position, from 0.
        position: usize,
    },
    /// An owner isn't among the diff's nodes.
    #[error("node {position} of the diff does not exist: owners are positions in the diff's list of nodes")]
    NoSuchNode {
        /// The position.
        position: u16,
    },
    /// A node owns a space twice.
    #[error("node {position} of the diff stands twice among the owners: each owner is another node")]
    OwnerTwice {
        /// The position.
        position: u16,
    },
    /// A node of the diff owns nothing.
    #[error("the diff lists a node that owns nothing: list owners only")]
    UnusedNode,
    /// A replica that isn't there is catching up.
    #[error("the bits {catching_up:#010b} of replicas that catch up name one that isn't there")]
    StrayBits {
        /// The bits.
        catching_up: u8,
    },
    /// The owners can't be right.
    #[error("owners: {0}")]
    Owners(#[from] OwnersError),
    /// A part isn't strictly in order.
    #[error("the {part} are not in rising order, each once")]
    Order {
        /// Which part.
        part: &'static str,
    },
    /// The groups can't stand in a diff.
    #[error(transparent)]
    Diff(#[from] DiffError),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use homing_types::{Owners, Replica, ReplicaState, SLOTS};
    use proptest::prelude::*;

    use super::*;
    use crate::{Diff, Group};

    fn id(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn slot(number: u16) -> Slot {
        Slot::new(number).unwrap()
    }

    fn key(slot: Slot, low: u128) -> SpaceKey {
        SpaceKey::from_u128(u128::from(slot.number()) << 114 | low)
    }

    fn replica(node: &str, state: ReplicaState) -> Replica {
        Replica { node: id(node), state }
    }

    fn sample() -> Diff {
        let replicas = vec![replica("b", ReplicaState::InSync), replica("a", ReplicaState::CatchingUp)];
        let owners = Owners::new(id("c"), replicas).unwrap();
        let pinned = Owners::new(id("a"), Vec::new()).unwrap();
        let pins = BTreeMap::from([(key(slot(3), 9), pinned)]);
        Diff::one(slot(3), Group { epoch: Epoch::new(0x0102), owners, pins }).unwrap()
    }

    prop_compose! {
        fn owners()(
            nodes in prop::sample::subsequence((0..12).collect::<Vec<_>>(), 1..=8).prop_shuffle(),
            states in prop::collection::vec(any::<bool>(), 7),
        ) -> Owners {
            let node = |n: &i32| id(&format!("node-{n}"));
            let state = |in_sync: &bool| if *in_sync { ReplicaState::InSync } else { ReplicaState::CatchingUp };
            let replicas =
                nodes[1..].iter().zip(&states).map(|(n, s)| Replica { node: node(n), state: state(s) });
            Owners::new(node(&nodes[0]), replicas.collect()).unwrap()
        }
    }

    prop_compose! {
        fn any_group()(
            number in 0..SLOTS as u16,
            epoch in 1..=u64::MAX,
            owners in owners(),
            pins in prop::collection::btree_map(0..1_u128 << 114, owners(), 0..6),
        ) -> (Slot, Group) {
            let slot = slot(number);
            let pins = pins.into_iter().map(|(low, owners)| (key(slot, low), owners)).collect();
            (slot, Group { epoch: Epoch::new(epoch), owners, pins })
        }
    }

    fn any_groups() -> impl Strategy<Value = BTreeMap<Slot, Group>> {
        prop::collection::vec(any_group(), 0..6).prop_map(|groups| groups.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_diff_survives_its_encoding(groups in any_groups()) {
            let diff = Diff::new(groups.clone()).unwrap();
            prop_assert_eq!(diff.iter().collect::<BTreeMap<_, _>>(), groups);
            prop_assert_eq!(Diff::decode(diff.as_bytes()), Ok(diff));
        }

        #[test]
        fn a_diff_cut_short_is_refused(groups in any_groups(), cut in any::<prop::sample::Index>()) {
            let bytes = Diff::new(groups).unwrap().into_bytes();
            prop_assert_eq!(Diff::decode(&bytes[..cut.index(bytes.len())]), Err(DecodeError::Short));
        }

        /// Else two nodes could hold the same and differ in its bytes, or the other way round.
        #[test]
        fn what_is_decoded_at_all_is_the_one_encoding_of_it(
            groups in any_groups(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = Diff::new(groups).unwrap().into_bytes();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(diff) = Diff::decode(bytes.clone()) {
                prop_assert_eq!(Diff::new(diff.iter()).unwrap().into_bytes(), bytes);
            }
        }

        #[test]
        fn noise_is_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Diff::decode(bytes.clone()).is_err());
            bytes.insert(0, FORMAT);
            prop_assert!(Diff::decode(bytes).is_err());
        }
    }

    /// So that no change breaks a cluster whose nodes run two versions, or a stored table.
    #[test]
    fn the_format_is_fixed() {
        let mut expected = vec![2, 0, 3, 1, b'a', 1, b'b', 1, b'c', 0, 1];
        expected.extend([0, 3, 0, 0, 0, 0, 0, 0, 1, 2]);
        expected.extend([2, 0b10, 0, 2, 0, 1, 0, 0]);
        expected.extend([0, 0, 1]);
        expected.extend(key(slot(3), 9).as_u128().to_be_bytes());
        expected.extend([0, 0, 0, 0]);
        assert_eq!(sample().as_bytes(), expected);
        assert_eq!(Diff::default().as_bytes(), [2, 0, 0, 0, 0]);
    }

    #[test]
    fn wrong_bytes_are_refused_with_their_reason() {
        let good = sample().into_bytes();
        let decode = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Diff::decode(bytes)
        };
        let (nodes, group) = (1, 11);
        let owners = group + 10;
        let pin = owners + 11;
        assert_eq!(decode(0, 1), Err(DecodeError::Format { format: 1 }));
        assert_eq!(decode(nodes, 0xff), Err(DecodeError::TooManyNodes { count: 0xff03 }));
        assert_eq!(decode(nodes + 3, b'A'), Err(DecodeError::Node { position: 0 }));
        assert_eq!(decode(nodes + 3, 0xff), Err(DecodeError::Node { position: 0 }));
        assert_eq!(decode(nodes + 3, b'b'), Err(DecodeError::Order { part: "nodes" }));
        assert_eq!(decode(group, 0x40), Err(DecodeError::Slot { number: 0x4003 }));
        assert_eq!(decode(owners, 8), Err(DecodeError::Owners(OwnersError::TooMany { replicas: 8 })));
        assert_eq!(decode(owners + 1, 0b110), Err(DecodeError::StrayBits { catching_up: 0b110 }));
        assert_eq!(decode(owners + 3, 3), Err(DecodeError::NoSuchNode { position: 3 }));
        assert_eq!(decode(owners + 3, 1), Err(DecodeError::OwnerTwice { position: 1 }));
        assert_eq!(decode(owners + 10, 2), Err(DecodeError::Short));
        assert!(matches!(decode(pin, 1), Err(DecodeError::Diff(DiffError::ForeignPin { .. }))));

        let mut long = good.clone();
        long.push(0);
        assert_eq!(Diff::decode(long), Err(DecodeError::Long { left: 1 }));
        let group = &good[group..];
        let twice = [&good[..10], &[2], group, group].concat();
        assert_eq!(Diff::decode(twice), Err(DecodeError::Order { part: "slots" }));
        let key = &group[21..37];
        let two_pins = [&good[..31], &[2], key, &[0, 0, 0, 0], key, &[0, 0, 0, 0]].concat();
        assert_eq!(Diff::decode(two_pins), Err(DecodeError::Order { part: "pins" }));
        let unused = [&[2, 0, 1, 1, b'a'][..], &[0, 0]].concat();
        assert_eq!(Diff::decode(unused), Err(DecodeError::UnusedNode));
        let claims = [2, 0, 0, 0xff, 0xff];
        assert_eq!(Diff::decode(claims), Err(DecodeError::Short));
    }
}
