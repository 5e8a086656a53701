//! How many copies a node should hold: its weighted share of what the spread leaves to it.
//!
//! Zones, racks and nodes are boxes in boxes. Each further copy of a group costs a box more crowding than the one before,
//! and goes where it costs the least. So for each box there is a least that it holds and a most; between them, weight
//! decides.

use std::collections::BTreeMap;

use crate::topology::{NodeIndex, Topology};

/// How many copies a node holds of an average group, in 0 to 1, by node.
pub(crate) fn copies(topology: &Topology, copies: usize) -> Vec<f64> {
    let mut zones: BTreeMap<usize, BTreeMap<usize, Vec<Part>>> = BTreeMap::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        zones
            .entry(node.zone)
            .or_default()
            .entry(node.rack)
            .or_default()
            .push(Part::node(index, node.weight));
    }
    let zone = |racks: BTreeMap<usize, Vec<Part>>| Part::of(racks.into_values().map(Part::of).collect());
    let cluster = Part::of(zones.into_values().map(zone).collect());
    let mut shares = vec![0.0; topology.nodes.len()];
    cluster.fill(copies as f64, &mut shares);
    shares
}

/// A node's share of the primaries, in 0 to 1, by node: any owner can be one, so weight alone decides.
pub(crate) fn primaries(topology: &Topology) -> Vec<f64> {
    let all: f64 = topology.nodes.iter().map(|node| node.weight).sum();
    topology.nodes.iter().map(|node| node.weight / all).collect()
}

struct Part {
    weight: f64,
    /// What each further copy of one group costs in it, rising: how many stand in its zone before it, then in its rack.
    costs: Vec<Vec<usize>>,
    inside: Inside,
}

enum Inside {
    Node(NodeIndex),
    Parts(Vec<Part>),
}

impl Part {
    fn node(index: NodeIndex, weight: f64) -> Self {
        Self { weight, costs: vec![Vec::new()], inside: Inside::Node(index) }
    }

    fn of(parts: Vec<Self>) -> Self {
        let costs = sorted_costs(&parts).into_iter().enumerate();
        Self {
            weight: parts.iter().map(|part| part.weight).sum(),
            costs: costs.map(|(before, inside)| [&[before], inside.as_slice()].concat()).collect(),
            inside: Inside::Parts(parts),
        }
    }

    /// Divides `amount` copies of an average group among the nodes inside.
    fn fill(&self, amount: f64, shares: &mut [f64]) {
        match &self.inside {
            Inside::Node(node) => shares[*node] = amount,
            Inside::Parts(parts) => {
                for (part, amount) in parts.iter().zip(divide(parts, amount)) {
                    part.fill(amount, shares);
                }
            }
        }
    }
}

/// By weight, between the least and the most that the spread leaves to each part.
fn divide(parts: &[Part], amount: f64) -> Vec<f64> {
    // An average of 1.3 copies is 1 copy for 0.7 of the groups and 2 for 0.3 of them.
    let (whole, part) = (amount.floor(), amount.fract());
    let mix = |(less, more): ((f64, f64), (f64, f64))| {
        (less.0 * (1.0 - part) + more.0 * part, less.1 * (1.0 - part) + more.1 * part)
    };
    let count = whole as usize;
    let bounds: Vec<_> = bounds(parts, count).into_iter().zip(bounds(parts, count + 1)).map(mix).collect();
    let at = |level: f64| {
        parts.iter().zip(&bounds).map(move |(part, (least, most))| (level * part.weight).clamp(*least, *most))
    };
    let (mut low, mut high) =
        (0.0, parts.iter().map(|part| part.costs.len() as f64 / part.weight).fold(0.0, f64::max));
    for _ in 0..BISECTIONS {
        let level = f64::midpoint(low, high);
        if at(level).sum::<f64>() < amount { low = level } else { high = level }
    }
    at(high).collect()
}

/// Halves an interval as far as an `f64` goes, for weights of 1 to 2³².
const BISECTIONS: usize = 100;

/// The least and the most that each part holds of one group with `count` copies in all: the cheapest are taken, and those
/// that cost as much as the dearest of them may be.
fn bounds(parts: &[Part], count: usize) -> Vec<(f64, f64)> {
    let costs = sorted_costs(parts);
    let Some(dearest) = costs.iter().take(count).next_back() else {
        return vec![(0.0, 0.0); parts.len()];
    };
    let holds = |part: &Part| {
        let cheaper = part.costs.partition_point(|cost| cost < dearest);
        let affordable = part.costs.partition_point(|cost| cost <= dearest);
        (cheaper as f64, affordable as f64)
    };
    parts.iter().map(holds).collect()
}

fn sorted_costs(parts: &[Part]) -> Vec<Vec<usize>> {
    let mut costs: Vec<_> = parts.iter().flat_map(|part| part.costs.clone()).collect();
    costs.sort_unstable();
    costs
}

#[cfg(test)]
mod tests {
    use homing_types::{Locality, Name, NodeId};

    use super::*;
    use crate::Member;

    /// Nodes as zone, rack and weight.
    fn shares(nodes: &[(&str, &str, u32)], count: usize) -> Vec<f64> {
        let name = |name: &str| Some(Name::new(name).unwrap());
        let members: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(i, (zone, rack, weight))| Member {
                node: NodeId::new(&format!("n{i:02}")).unwrap(),
                locality: Locality { region: None, zone: name(zone), rack: name(rack) },
                weight: *weight,
            })
            .collect();
        let exact = copies(&Topology::new(&members).unwrap(), count);
        assert!((exact.iter().sum::<f64>() - count as f64).abs() < 1e-9);
        exact.iter().map(|share| (share * 1e6).round() / 1e6).collect()
    }

    #[test]
    fn weight_decides_where_the_spread_leaves_a_choice() {
        let nodes = [("a", "1", 1), ("b", "1", 2), ("c", "1", 1), ("d", "1", 4)];
        assert_eq!(shares(&nodes, 1), [0.125, 0.25, 0.125, 0.5]);
        assert_eq!(shares(&nodes, 2), [0.25, 0.5, 0.25, 1.0]);
    }

    #[test]
    fn no_zone_holds_more_than_the_spread_allows() {
        let nodes = [("a", "1", 1), ("b", "1", 1), ("c", "1", 1), ("c", "2", 1)];
        assert_eq!(shares(&nodes, 3), [1.0, 1.0, 0.5, 0.5]);
        let nodes = [("a", "1", 1), ("b", "1", 1), ("b", "1", 1), ("b", "2", 1), ("b", "2", 3)];
        assert_eq!(shares(&nodes, 2), [1.0, 0.166667, 0.166667, 0.166667, 0.5]);
    }

    #[test]
    fn zones_that_must_hold_several_copies_hold_them_in_several_racks() {
        let nodes = [("a", "1", 1), ("b", "1", 1), ("b", "1", 1), ("b", "2", 1)];
        assert_eq!(shares(&nodes, 3), [1.0, 0.5, 0.5, 1.0]);
    }

    #[test]
    fn a_copy_too_many_goes_to_the_zone_with_a_rack_to_spare() {
        let nodes = [("a", "1", 9), ("a", "1", 9), ("b", "1", 1), ("b", "2", 1)];
        assert_eq!(shares(&nodes, 3), [0.5, 0.5, 1.0, 1.0]);
    }
}
