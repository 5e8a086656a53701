//! Owners as bytes, as they travel and as they lie in a table: 1 byte, how many replicas; 1 byte, bit i is set if replica i
//! is catching up; 2 bytes each, big-endian, for the primary and the replicas: positions in a dictionary of nodes.
//!
//! What a position means depends on the dictionary: a message brings its own, and a table has its own.

use homing_types::{MAX_REPLICAS, NodeId, Owners, OwnersError, Replica, ReplicaState};

use crate::wire::{Cursor, DecodeError};

/// A node's position in a dictionary.
pub(crate) type Position = u16;

/// The bytes of the most owners.
pub(crate) const MAX_LEN: usize = len(MAX_REPLICAS);

/// The bytes of owners with so many replicas.
pub(crate) const fn len(replicas: usize) -> usize {
    2 + 2 * (1 + replicas)
}

/// Owners that were checked. More bytes may follow them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a>(&'a [u8]);

impl<'a> Packed<'a> {
    /// Owners that were checked before they were written.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Reads and checks owners whose dictionary has `nodes` entries.
    pub(crate) fn read(cursor: &mut Cursor<'a>, nodes: usize) -> Result<Self, DecodeError> {
        let replicas = usize::from(*cursor.0.first().ok_or(DecodeError::Short)?);
        if replicas > MAX_REPLICAS {
            return Err(OwnersError::TooMany { replicas }.into());
        }
        let packed = Self(cursor.slice(len(replicas))?);
        let catching_up = packed.0[1];
        if u16::from(catching_up) >> replicas != 0 {
            return Err(DecodeError::StrayBits { catching_up });
        }
        for (i, position) in packed.positions().enumerate() {
            if usize::from(position) >= nodes {
                return Err(DecodeError::NoSuchNode { position });
            }
            if packed.positions().take(i).any(|other| other == position) {
                return Err(DecodeError::OwnerTwice { position });
            }
        }
        Ok(packed)
    }

    #[inline]
    pub(crate) fn bytes(self) -> &'a [u8] {
        &self.0[..len(self.replica_count())]
    }

    #[inline]
    pub(crate) fn replica_count(self) -> usize {
        usize::from(self.0[0])
    }

    #[inline]
    pub(crate) fn primary(self) -> Position {
        Position::from_be_bytes([self.0[2], self.0[3]])
    }

    #[inline]
    pub(crate) fn replicas(self) -> impl Iterator<Item = (Position, ReplicaState)> + use<'a> {
        let mut catching_up = self.0[1];
        self.nodes()[1..].iter().map(move |position| {
            let state = if catching_up & 1 == 1 { ReplicaState::CatchingUp } else { ReplicaState::InSync };
            catching_up >>= 1;
            (Position::from_be_bytes(*position), state)
        })
    }

    #[inline]
    pub(crate) fn positions(self) -> impl Iterator<Item = Position> + use<'a> {
        self.nodes().iter().map(|position| Position::from_be_bytes(*position))
    }

    #[inline]
    fn nodes(self) -> &'a [[u8; 2]] {
        self.bytes()[2..].as_chunks().0
    }

    /// Writes the owners to the start of `out`, with the positions that another dictionary gives their nodes.
    #[inline]
    pub(crate) fn translate(self, out: &mut [u8], position: impl Fn(Position) -> Position) {
        out[..2].copy_from_slice(&self.0[..2]);
        for (place, old) in out[2..].as_chunks_mut().0.iter_mut().zip(self.positions()) {
            *place = position(old).to_be_bytes();
        }
    }

    /// The owners with the positions of another dictionary, at the start of an array.
    pub(crate) fn translated(self, position: impl Fn(Position) -> Position) -> [u8; MAX_LEN] {
        let mut bytes = [0; MAX_LEN];
        self.translate(&mut bytes, position);
        bytes
    }

    pub(crate) fn owners<'n>(self, node: impl Fn(Position) -> &'n NodeId) -> Owners {
        let replica = |(position, state)| Replica { node: node(position).clone(), state };
        match Owners::new(node(self.primary()).clone(), self.replicas().map(replica).collect()) {
            Ok(owners) => owners,
            Err(_) => unreachable!("packed owners are different nodes, and no more than there may be"),
        }
    }
}

/// The bytes of owners, at the start of an array.
pub(crate) fn pack(owners: &Owners, position: impl Fn(&NodeId) -> Position) -> [u8; MAX_LEN] {
    let mut bytes = [0; MAX_LEN];
    // Owners have few replicas by their type.
    bytes[0] = owners.replicas().len() as u8;
    for (i, replica) in owners.replicas().iter().enumerate() {
        bytes[1] |= u8::from(replica.state == ReplicaState::CatchingUp) << i;
    }
    for (place, node) in bytes[2..].as_chunks_mut().0.iter_mut().zip(owners.nodes()) {
        *place = position(node).to_be_bytes();
    }
    bytes
}
