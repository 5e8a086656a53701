//! Groups as bytes, for requests, replies, diffs and files.
//!
//! ```text
//! format     1 byte, 1
//! slot       2 bytes
//! epoch      8 bytes
//! nodes      2 bytes: how many; each is 1 byte of length and its id, in the order of their bytes
//! owners     1 byte: how many replicas; 1 byte: bit i is set if replica i is catching up;
//!            2 bytes each for the primary and the replicas: positions in `nodes`
//! pins       4 bytes: how many; each is 16 bytes of space key and its owners, in the order of the keys
//! ```
//!
//! Numbers are big-endian. A group has one encoding only, and what isn't one is refused: equal bytes and equal groups are
//! the same. Ids travel, never the local indices of a table. A diff is its groups one after the other, by slot.

use std::collections::{BTreeMap, BTreeSet};

use homing_types::{
    Epoch, MAX_REPLICAS, NodeId, NodeIdError, Owners, OwnersError, Replica, ReplicaState, Slot, SpaceKey,
};
use thiserror::Error;

use crate::diff::{self, Diff, DiffError};
use crate::{Group, MAX_NODES};

const FORMAT: u8 = 1;

/// The bytes of a group. One past the bounds of a table becomes bytes that nobody decodes.
#[must_use]
pub fn encode_group(slot: Slot, group: &Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_group(&mut bytes, slot, group);
    bytes
}

/// A group from its bytes. It is one that a [`Diff`] takes.
///
/// What is allocated grows with the bytes that are there, never with a count that they claim.
///
/// # Errors
/// [`DecodeError`] if these aren't the bytes of one group.
pub fn decode_group(bytes: &[u8]) -> Result<(Slot, Group), DecodeError> {
    let mut reader = Reader(bytes);
    let group = read_group(&mut reader)?;
    if reader.0.is_empty() { Ok(group) } else { Err(DecodeError::Long { left: reader.0.len() }) }
}

/// The bytes of a diff.
#[must_use]
pub fn encode_diff(diff: &Diff) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (slot, group) in diff.iter() {
        write_group(&mut bytes, slot, group);
    }
    bytes
}

/// A diff from its bytes. As for [`decode_group`], memory follows the bytes.
///
/// # Errors
/// [`DecodeError`] if these aren't the bytes of a diff.
pub fn decode_diff(bytes: &[u8]) -> Result<Diff, DecodeError> {
    let mut reader = Reader(bytes);
    let mut groups = Vec::new();
    let mut last = None;
    while !reader.0.is_empty() {
        let (slot, group) = read_group(&mut reader)?;
        if last.replace(slot) >= Some(slot) {
            return Err(DecodeError::Order { part: "slots" });
        }
        groups.push((slot, group));
    }
    Ok(Diff::new(groups)?)
}

fn write_group(bytes: &mut Vec<u8>, slot: Slot, group: &Group) {
    let ids: Vec<&NodeId> = group.nodes().collect::<BTreeSet<_>>().into_iter().collect();
    bytes.push(FORMAT);
    bytes.extend(slot.number().to_be_bytes());
    bytes.extend(group.epoch.number().to_be_bytes());
    bytes.extend(clamped_u16(ids.len()).to_be_bytes());
    for id in &ids {
        bytes.push(clamped_u8(id.as_str().len()));
        bytes.extend(id.as_str().as_bytes());
    }
    write_owners(bytes, &group.owners, &ids);
    bytes.extend(u32::try_from(group.pins.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (key, owners) in &group.pins {
        bytes.extend(key.as_u128().to_be_bytes());
        write_owners(bytes, owners, &ids);
    }
}

fn write_owners(bytes: &mut Vec<u8>, owners: &Owners, ids: &[&NodeId]) {
    let catching_up = owners
        .replicas()
        .iter()
        .rev()
        .fold(0_u8, |bits, replica| (bits << 1) | u8::from(replica.state == ReplicaState::CatchingUp));
    bytes.push(clamped_u8(owners.replicas().len()));
    bytes.push(catching_up);
    for node in owners.nodes() {
        let position = ids.binary_search(&node).unwrap_or(usize::MAX);
        bytes.extend(clamped_u16(position).to_be_bytes());
    }
}

fn clamped_u8(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

fn clamped_u16(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn read_group(reader: &mut Reader<'_>) -> Result<(Slot, Group), DecodeError> {
    let [format] = reader.array()?;
    if format != FORMAT {
        return Err(DecodeError::Format { format });
    }
    let number = u16::from_be_bytes(reader.array()?);
    let slot = Slot::new(number).ok_or(DecodeError::Slot { number })?;
    let epoch = Epoch::new(u64::from_be_bytes(reader.array()?));
    let ids = read_ids(reader)?;
    let mut used = vec![false; ids.len()];
    let owners = read_owners(reader, &ids, &mut used)?;
    let mut pins = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(reader.array()?) {
        let key = SpaceKey::from_u128(u128::from_be_bytes(reader.array()?));
        if pins.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::Order { part: "pins" });
        }
        pins.insert(key, read_owners(reader, &ids, &mut used)?);
    }
    if used.contains(&false) {
        return Err(DecodeError::UnusedNode);
    }
    let group = Group { epoch, owners, pins };
    diff::check(slot, &group)?;
    Ok((slot, group))
}

fn read_ids(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let count = usize::from(u16::from_be_bytes(reader.array()?));
    if count > MAX_NODES {
        return Err(DecodeError::TooManyNodes { count });
    }
    let mut ids: Vec<NodeId> = Vec::new();
    for _ in 0..count {
        let [len] = reader.array()?;
        let id = NodeId::new(&String::from_utf8_lossy(reader.slice(usize::from(len))?))?;
        if ids.last().is_some_and(|last| *last >= id) {
            return Err(DecodeError::Order { part: "nodes" });
        }
        ids.push(id);
    }
    Ok(ids)
}

fn read_owners(reader: &mut Reader<'_>, ids: &[NodeId], used: &mut [bool]) -> Result<Owners, DecodeError> {
    let [count, catching_up] = reader.array()?;
    let count = usize::from(count);
    if count > MAX_REPLICAS {
        return Err(OwnersError::TooMany { replicas: count }.into());
    }
    let primary = read_node(reader, ids, used)?;
    let mut replicas = Vec::with_capacity(count);
    let mut bits = catching_up;
    for _ in 0..count {
        let state = if bits & 1 == 1 { ReplicaState::CatchingUp } else { ReplicaState::InSync };
        bits >>= 1;
        replicas.push(Replica { node: read_node(reader, ids, used)?, state });
    }
    if bits != 0 {
        return Err(DecodeError::StrayBits { catching_up });
    }
    Ok(Owners::new(primary, replicas)?)
}

fn read_node(reader: &mut Reader<'_>, ids: &[NodeId], used: &mut [bool]) -> Result<NodeId, DecodeError> {
    let position = u16::from_be_bytes(reader.array()?);
    let id = ids.get(usize::from(position)).ok_or(DecodeError::NoSuchNode { position })?;
    used[usize::from(position)] = true;
    Ok(id.clone())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn slice(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (slice, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(slice)
    }
}

/// Why bytes are no group or no diff. Nothing was taken from them; who sent them has to encode them rightly.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The format isn't known here.
    #[error(
        "the group has format {format}: this node reads format {FORMAT}; run the same version on all nodes"
    )]
    Format {
        /// The format's number.
        format: u8,
    },
    /// The bytes end too early.
    #[error("the bytes end inside a group: send the whole of it")]
    Short,
    /// More bytes follow a group.
    #[error("{left} bytes follow the group: send one group alone")]
    Long {
        /// How many.
        left: usize,
    },
    /// There is no such slot.
    #[error("slot {number} does not exist: slots are 0 to 16383")]
    Slot {
        /// Its number.
        number: u16,
    },
    /// The group names too many nodes.
    #[error("the group names {count} nodes: at most {MAX_NODES} are allowed")]
    TooManyNodes {
        /// How many.
        count: usize,
    },
    /// One of the nodes has no proper id.
    #[error("a node of the group: {0}")]
    Node(#[from] NodeIdError),
    /// An owner isn't among the group's nodes.
    #[error("node {position} of the group does not exist: owners are positions in the group's list of nodes")]
    NoSuchNode {
        /// The position.
        position: u16,
    },
    /// A node of the group owns nothing.
    #[error("the group lists a node that owns nothing: list owners only")]
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
    use proptest::prelude::*;

    use super::*;

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

    fn sample() -> (Slot, Group) {
        let replicas = vec![replica("b", ReplicaState::InSync), replica("a", ReplicaState::CatchingUp)];
        let owners = Owners::new(id("c"), replicas).unwrap();
        let pinned = Owners::new(id("a"), Vec::new()).unwrap();
        let pins = BTreeMap::from([(key(slot(3), 9), pinned)]);
        (slot(3), Group { epoch: Epoch::new(0x0102), owners, pins })
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
            number in 0..homing_types::SLOTS as u16,
            epoch in 1..=u64::MAX,
            owners in owners(),
            pins in prop::collection::btree_map(0..1_u128 << 114, owners(), 0..6),
        ) -> (Slot, Group) {
            let slot = slot(number);
            let pins = pins.into_iter().map(|(low, owners)| (key(slot, low), owners)).collect();
            (slot, Group { epoch: Epoch::new(epoch), owners, pins })
        }
    }

    proptest! {
        #[test]
        fn a_group_survives_its_encoding(group in any_group()) {
            let (slot, group) = group;
            prop_assert_eq!(decode_group(&encode_group(slot, &group)), Ok((slot, group)));
        }

        #[test]
        fn a_diff_survives_its_encoding(groups in prop::collection::vec(any_group(), 0..6)) {
            let groups: BTreeMap<_, _> = groups.into_iter().collect();
            let diff = Diff::new(groups).unwrap();
            prop_assert_eq!(decode_diff(&encode_diff(&diff)), Ok(diff));
        }

        #[test]
        fn a_group_cut_short_is_refused(group in any_group(), cut in any::<prop::sample::Index>()) {
            let bytes = encode_group(group.0, &group.1);
            prop_assert_eq!(decode_group(&bytes[..cut.index(bytes.len())]), Err(DecodeError::Short));
        }

        /// Else two nodes could hold one group and differ in its bytes, or the other way round.
        #[test]
        fn what_is_decoded_at_all_is_the_one_encoding_of_it(
            group in any_group(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        ) {
            let mut bytes = encode_group(group.0, &group.1);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok((slot, group)) = decode_group(&bytes) {
                prop_assert_eq!(encode_group(slot, &group), bytes.clone());
            }
            if let Ok(diff) = decode_diff(&bytes) {
                prop_assert_eq!(encode_diff(&diff), bytes);
            }
        }

        #[test]
        fn noise_is_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode_group(&bytes).is_err());
            bytes.insert(0, FORMAT);
            prop_assert!(decode_group(&bytes).is_err());
        }
    }

    /// So that no change breaks a cluster whose nodes run two versions, or a stored table.
    #[test]
    fn the_format_is_fixed() {
        let (slot, group) = sample();
        let mut expected = vec![1, 0, 3, 0, 0, 0, 0, 0, 0, 1, 2];
        expected.extend([0, 3, 1, b'a', 1, b'b', 1, b'c']);
        expected.extend([2, 0b10, 0, 2, 0, 1, 0, 0]);
        expected.extend([0, 0, 0, 1]);
        expected.extend(key(slot, 9).as_u128().to_be_bytes());
        expected.extend([0, 0, 0, 0]);
        assert_eq!(encode_group(slot, &group), expected);
    }

    #[test]
    fn wrong_bytes_are_refused_with_their_reason() {
        let (slot, group) = sample();
        let good = encode_group(slot, &group);
        let decode = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            decode_group(&bytes)
        };
        let nodes = 11;
        let owners = nodes + 8;
        let pin = owners + 12;
        assert_eq!(decode(0, 2), Err(DecodeError::Format { format: 2 }));
        assert_eq!(decode(1, 0x40), Err(DecodeError::Slot { number: 0x4003 }));
        assert_eq!(decode(nodes, 0xff), Err(DecodeError::TooManyNodes { count: 0xff03 }));
        assert!(matches!(decode(nodes + 3, b'A'), Err(DecodeError::Node(_))));
        assert_eq!(decode(nodes + 3, b'b'), Err(DecodeError::Order { part: "nodes" }));
        assert_eq!(decode(owners, 8), Err(DecodeError::Owners(OwnersError::TooMany { replicas: 8 })));
        assert_eq!(decode(owners + 1, 0b110), Err(DecodeError::StrayBits { catching_up: 0b110 }));
        assert_eq!(decode(owners + 3, 3), Err(DecodeError::NoSuchNode { position: 3 }));
        assert_eq!(decode(owners + 3, 1), Err(DecodeError::Owners(OwnersError::Twice { node: id("b") })));
        assert_eq!(decode(owners + 8, 1), Err(DecodeError::Short));
        let foreign = SpaceKey::from_u128(key(slot, 9).as_u128() | 1 << 127);
        assert_eq!(decode(pin, 0x80), Err(DecodeError::Diff(DiffError::ForeignPin { slot, key: foreign })));
        let mut long = good.clone();
        long.push(0);
        assert_eq!(decode_group(&long), Err(DecodeError::Long { left: 1 }));
        let zero = encode_group(slot, &Group { epoch: Epoch::ZERO, ..group.clone() });
        assert_eq!(decode_group(&zero), Err(DecodeError::Diff(DiffError::NoEpoch { slot })));
        let twice = [good.clone(), good.clone()].concat();
        assert_eq!(decode_diff(&twice), Err(DecodeError::Order { part: "slots" }));
        assert_eq!(decode_diff(&[]), Ok(Diff::default()));
    }

    #[test]
    fn a_node_that_owns_nothing_is_refused() {
        let (slot, group) = sample();
        let mut bytes = encode_group(slot, &Group::new(group.epoch, group.pins[&key(slot, 9)].clone()));
        bytes[12] = 2;
        bytes.splice(15..15, [1, b'b']);
        assert_eq!(decode_group(&bytes), Err(DecodeError::UnusedNode));
    }

    /// A group that a diff takes can always travel, and one that it doesn't take never arrives.
    #[test]
    fn a_group_of_too_many_nodes_is_refused_on_both_ends() {
        let group = |nodes: u32| {
            let pinned = |n| Owners::new(id(&format!("n{n}")), Vec::new()).unwrap();
            let pins = (1..nodes).map(|n| (key(slot(0), u128::from(n)), pinned(n))).collect();
            Group { epoch: Epoch::new(1), owners: pinned(0), pins }
        };
        let most = group(4_096);
        assert!(Diff::one(slot(0), most.clone()).is_ok());
        assert_eq!(decode_group(&encode_group(slot(0), &most)), Ok((slot(0), most)));
        for nodes in [4_097, 70_000] {
            let over = group(nodes);
            assert!(decode_group(&encode_group(slot(0), &over)).is_err());
            assert_eq!(Diff::one(slot(0), over), Err(DiffError::TooManyNodes { slot: slot(0) }));
        }
    }
}
