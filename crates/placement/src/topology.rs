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

    /// How near two nodes are: 0 in different zones, 1 in different racks of a zone, 2 in a rack.
    pub(crate) fn nearness(&self, a: NodeIndex, b: NodeIndex) -> usize {
        let (a, b) = (&self.nodes[a], &self.nodes[b]);
        usize::from(a.zone == b.zone) + usize::from(a.rack == b.rack)
    }

    /// How near `others` are to a node, added up: their order by nearness decides which group is the best.
    pub(crate) fn nearness_of(&self, node: NodeIndex, others: &[NodeIndex]) -> usize {
        others.iter().map(|other| self.nearness(node, *other)).sum()
    }

    /// The least [`nearness_of`](Self::nearness_of) any `count` replicas to a primary.
    pub(crate) fn least_nearness(&self, primary: NodeIndex, count: usize) -> usize {
        let others = (0..self.nodes.len()).filter(|node| *node != primary);
        let mut nearness: Vec<_> = others.map(|other| self.nearness(primary, other)).collect();
        nearness.sort_unstable();
        nearness.iter().take(count).sum()
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
