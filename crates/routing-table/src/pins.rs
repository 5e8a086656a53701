//! The pins of one group, found by hash: no search over them, no allocation on lookup.
//!
//! Keys and owners stand in dense arrays; a small open-addressed index of positions finds them. A space key is a hash
//! already, so its low bits are the hash of the index.

use homing_types::{Owners, Replica, ReplicaState, SpaceKey};

use crate::nodes::{NodeIndex, Nodes};

/// Owners as node indices: the primary first. A bit a replica says whether it is catching up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed {
    nodes: [NodeIndex; 1 + homing_types::MAX_REPLICAS],
    replicas: u8,
    catching_up: u8,
}

impl Packed {
    /// `None` if the dictionary is full.
    pub(crate) fn new(owners: &Owners, nodes: &mut Nodes) -> Option<Self> {
        let mut packed = Self { nodes: [0; 8], replicas: 0, catching_up: 0 };
        packed.nodes[0] = nodes.intern(owners.primary())?;
        for (i, replica) in owners.replicas().iter().enumerate() {
            packed.nodes[i + 1] = nodes.intern(&replica.node)?;
            packed.replicas += 1;
            if replica.state == ReplicaState::CatchingUp {
                packed.catching_up |= 1 << i;
            }
        }
        Some(packed)
    }

    pub(crate) const fn primary(&self) -> NodeIndex {
        self.nodes[0]
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = (NodeIndex, ReplicaState)> + '_ {
        (0..usize::from(self.replicas)).map(|i| {
            let catching_up = self.catching_up & (1 << i) != 0;
            let state = if catching_up { ReplicaState::CatchingUp } else { ReplicaState::InSync };
            (self.nodes[i + 1], state)
        })
    }

    pub(crate) fn owners(&self, nodes: &Nodes) -> Owners {
        let replica = |(index, state)| Replica { node: nodes.id(index).clone(), state };
        let replicas = self.replicas().map(replica).collect();
        match Owners::new(nodes.id(self.primary()).clone(), replicas) {
            Ok(owners) => owners,
            Err(_) => unreachable!("packed from owners, which were checked"),
        }
    }
}

/// The pins of one group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pins {
    keys: Box<[u128]>,
    owners: Box<[Packed]>,
    /// Positions + 1 in the arrays above; 0 is free. Its length is a power of two, at most 3/4 full.
    index: Box<[u32]>,
}

impl Pins {
    /// From pins in the order of their keys; `None` if the dictionary of nodes is full.
    pub(crate) fn new<'a>(
        pins: impl ExactSizeIterator<Item = (&'a SpaceKey, &'a Owners)>,
        nodes: &mut Nodes,
    ) -> Option<Self> {
        let mut keys = Vec::with_capacity(pins.len());
        let mut owners = Vec::with_capacity(pins.len());
        for (key, pinned) in pins {
            keys.push(key.as_u128());
            owners.push(Packed::new(pinned, nodes)?);
        }
        let index = index(&keys);
        Some(Self { keys: keys.into(), owners: owners.into(), index })
    }

    pub(crate) const fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn find(&self, key: SpaceKey) -> Option<&Packed> {
        if self.is_empty() {
            return None;
        }
        let mut at = home(key.as_u128(), self.index.len());
        loop {
            let position = self.index[at].checked_sub(1)? as usize;
            if self.keys[position] == key.as_u128() {
                return Some(&self.owners[position]);
            }
            at = (at + 1) & (self.index.len() - 1);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SpaceKey, &Packed)> {
        self.keys.iter().map(|key| SpaceKey::from_u128(*key)).zip(&self.owners)
    }
}

fn index(keys: &[u128]) -> Box<[u32]> {
    if keys.is_empty() {
        return Box::default();
    }
    let len = (keys.len() * 4 / 3 + 1).next_power_of_two();
    let mut index = vec![0_u32; len];
    for (position, key) in (1..).zip(keys) {
        let mut at = home(*key, len);
        while index[at] != 0 {
            at = (at + 1) & (len - 1);
        }
        index[at] = position;
    }
    index.into()
}

const fn home(key: u128, len: usize) -> usize {
    (key as usize) & (len - 1)
}
