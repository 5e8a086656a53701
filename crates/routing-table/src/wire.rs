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

use homing_types::{Epoch, NodeId, NodeIdError, Owners, OwnersError, Replica, ReplicaState, Slot, SpaceKey};
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
    let ids: BTreeSet<&NodeId> =
        group.owners.nodes().chain(group.pins.values().flat_map(Owners::nodes)).collect();
    let ids: Vec<&NodeId> = ids.into_iter().collect();
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
    let catching_up = owners.replicas().iter().rev().fold(0_u8, |bits, replica| {
        (bits << 1) | u8::from(replica.state == ReplicaState::CatchingUp)
    });
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
    let primary = read_node(reader, ids, used)?;
    let mut replicas = Vec::new();
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
    #[error("the group has format {format}: this node reads format {FORMAT}; run the same version on all nodes")]
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
