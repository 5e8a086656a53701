//! The nodes that may own something, and who stands beside whom.

use std::collections::BTreeMap;

use homing_types::{Locality, NodeId};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::{Member, PlacementError};

/// A node's place in the order of ids.
pub(crate) type NodeIndex = usize;

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) weight: f64,
    pub(crate) zone: usize,
    /// A node whose rack isn't said stands in one of its own.
    pub(crate) rack: usize,
    seed: u64,
}

/// The nodes with a weight, by id.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) nodes: Vec<Node>,
}

/// How many share a zone, and a rack of it: less is better, and the zone counts first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Crowding {
    zone: usize,
    rack: usize,
}

impl Topology {
    pub(crate) fn new(members: &[Member]) -> Result<Self, PlacementError> {
        let mut members: Vec<&Member> = members.iter().collect();
        members.sort_by(|a, b| a.node.cmp(&b.node));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].node == pair[1].node) {
            return Err(PlacementError::Twice { node: pair[0].node.clone() });
        }
        members.retain(|member| member.weight > 0);
        let mut zones = BTreeMap::new();
        let mut racks = BTreeMap::new();
        let nodes = members.into_iter().enumerate().map(|(index, member)| Node {
            id: member.node.clone(),
            weight: f64::from(member.weight),
            zone: number(&mut zones, Locality { rack: None, ..member.locality.clone() }),
            rack: number(
                &mut racks,
                (member.locality.clone(), member.locality.rack.is_none().then_some(index)),
            ),
            seed: xxh3_64(member.node.as_str().as_bytes()),
        });
        Ok(Self { nodes: nodes.collect() })
    }

    pub(crate) fn index(&self, id: &NodeId) -> Option<NodeIndex> {
        self.nodes.binary_search_by(|node| node.id.cmp(id)).ok()
    }

    /// How crowded it is where `node` stands, by those of `group`.
    pub(crate) fn crowding_at(&self, group: &[NodeIndex], node: NodeIndex) -> Crowding {
        let node = &self.nodes[node];
        group.iter().map(|other| &self.nodes[*other]).fold(Crowding::default(), |sum, other| Crowding {
            zone: sum.zone + usize::from(other.zone == node.zone),
            rack: sum.rack + usize::from(other.rack == node.rack),
        })
    }

    /// The pairs of a group that share a zone, and those that share a rack.
    pub(crate) fn crowding(&self, group: &[NodeIndex]) -> Crowding {
        (1..group.len()).fold(Crowding::default(), |sum, i| {
            let more = self.crowding_at(&group[..i], group[i]);
            Crowding { zone: sum.zone + more.zone, rack: sum.rack + more.rack }
        })
    }

    /// The least crowding of any group of `copies` nodes. The cost of one more is never less than that of the one
    /// before, so taking the best each time leads there.
    pub(crate) fn least_crowding(&self, copies: usize) -> Crowding {
        let mut group = Vec::new();
        for _ in 0..copies {
            let free = (0..self.nodes.len()).filter(|node| !group.contains(node));
            group.extend(free.min_by_key(|node| self.crowding_at(&group, *node)));
        }
        self.crowding(&group)
    }

    /// A fraction in 0 to 1 for a slot and a node, the same everywhere and without a pattern.
    pub(crate) fn dither(&self, slot: usize, node: NodeIndex) -> f64 {
        let hash = xxh3_64_with_seed(&slot.to_le_bytes(), self.nodes[node].seed);
        (hash >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn number<K: Ord>(numbers: &mut BTreeMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}
