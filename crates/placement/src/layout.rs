//! Who holds which slot, while it is being worked out: first taken over from the table, then filled, spread and balanced.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

use homing_types::SLOTS;

use crate::load::Load;
use crate::topology::{NodeIndex, Topology};

pub(crate) struct Layout<'a> {
    topology: &'a Topology,
    /// Owners of a group.
    size: usize,
    /// How much fuller a node may be than another, as a part of its share, and still be taken for a better reason.
    margin: f64,
    /// The least nearness of the replicas of a group, by its primary.
    least: Vec<usize>,
    /// The owners by slot; the primary stands first.
    groups: Vec<Vec<NodeIndex>>,
    copies: Load,
    primaries: Load,
    /// Whether the first of the owners is the primary, by slot.
    led: Vec<bool>,
    /// The slots whose primary is gone, and how many of the first owners may replace it.
    heirs: Vec<(usize, usize)>,
}

/// Well inside the bounds.
const MARGIN: f64 = 0.01;

/// A place in a group: its slot, and the position in it.
type Place = (usize, usize);

impl<'a> Layout<'a> {
    /// A layout without any owners, for groups of `size` nodes: at most as many as there are.
    pub(crate) fn new(topology: &'a Topology, size: usize) -> Self {
        Self::with_shares(topology, size, copies(topology, size), MARGIN)
    }

    fn with_shares(topology: &'a Topology, size: usize, copies: Vec<f64>, margin: f64) -> Self {
        let nodes = 0..topology.nodes.len();
        Self {
            topology,
            size,
            margin,
            least: nodes.map(|node| topology.least_nearness(node, size - 1)).collect(),
            groups: vec![Vec::new(); SLOTS],
            copies: Load::new(copies),
            primaries: Load::new(shares(topology, 1)),
            led: vec![false; SLOTS],
            heirs: Vec::new(),
        }
    }

    /// Takes over the owners that a slot has, the best first, but no more than there should be. If its primary is gone,
    /// the first `heirs` of them may replace it.
    pub(crate) fn adopt(&mut self, slot: usize, mut owners: Vec<NodeIndex>, primary: bool, heirs: usize) {
        owners.truncate(self.size);
        for owner in &owners {
            self.copies.add(*owner);
        }
        match owners.first() {
            Some(first) if primary => {
                self.primaries.add(*first);
                self.led[slot] = true;
            }
            _ => self.heirs.push((slot, heirs.min(owners.len()))),
        }
        self.groups[slot] = owners;
    }

    /// Works out the owners of every slot.
    pub(crate) fn settle(mut self) -> Vec<Vec<NodeIndex>> {
        for (slot, heirs) in std::mem::take(&mut self.heirs) {
            self.lead(slot, |layout, place| {
                place < heirs && layout.primaries.wants(layout.groups[slot][place])
            });
        }
        self.fill_all();
        self.spread_all();
        self.balance_primaries();
        self.spread_all();
        self.balance_copies();
        self.groups
    }

    fn fill_all(&mut self) {
        for slot in 0..SLOTS {
            if !self.led[slot] {
                self.find_primary(slot);
            }
            while self.lacks(slot) {
                let Some(node) = self.best_replica(slot, self.groups[slot].len()) else { break };
                self.copies.add(node);
                self.groups[slot].push(node);
            }
        }
    }

    fn lacks(&self, slot: usize) -> bool {
        self.groups[slot].len() < self.size
    }

    /// Makes that owner the primary of a slot, of those that may, to whom the others are the least near, and of those the
    /// one that is it too seldom.
    fn lead(&mut self, slot: usize, may: impl Fn(&Self, usize) -> bool) {
        let group = &self.groups[slot];
        let places = (0..group.len()).filter(|place| may(self, *place));
        let rank = |place: &usize| {
            (
                self.topology.nearness_of(group[*place], &without(group, *place)),
                self.primaries.fullness(group[*place], self.topology.dither(slot, group[*place])),
            )
        };
        if let Some(place) = places.min_by(|a, b| compare(rank(a), rank(b))) {
            self.groups[slot].swap(0, place);
            self.primaries.add(self.groups[slot][0]);
            self.led[slot] = true;
        }
    }

    /// Adds the node that is a primary the most seldom and makes it this one's. If there is no place left, an owner is it.
    fn find_primary(&mut self, slot: usize) {
        let owners = self.groups[slot].len();
        let free = self.nodes().filter(|node| self.lacks(slot) && !self.owns(slot, *node));
        let new = self.emptiest(slot, &self.primaries, free);
        if let Some(node) = new {
            self.copies.add(node);
            self.groups[slot].push(node);
        }
        self.lead(slot, |_, place| new.is_none() || place == owners);
    }

    /// Replaces replicas until they are as far from their primary as they can be.
    fn spread_all(&mut self) {
        for slot in 0..SLOTS {
            let primary = self.groups[slot][0];
            while self.topology.nearness_of(primary, &self.groups[slot][1..]) > self.least[primary] {
                let near = |place: &usize| self.topology.nearness(primary, self.groups[slot][*place]);
                let Some(place) = (1..self.size).max_by_key(near) else { break };
                let Some(node) = self.best_replica(slot, place) else { break };
                self.shift((slot, place), node);
            }
        }
    }

    /// Moves the primaries from nodes with too many to nodes with too few: with a copy that has to go anyway, one move for
    /// two; then by exchanges of roles, which move no copy; then by what else leaves the replicas where they may stand; and
    /// if that isn't enough, by any.
    fn balance_primaries(&mut self) {
        let load: fn(&Self) -> &Load = |layout| &layout.primaries;
        let needed = |layout: &Self, (slot, _): Place, to| {
            layout.may_lead(slot, to) && layout.primaries.should_move(layout.groups[slot][0], to, true)
        };
        self.relieve(load, 0..1, |layout, (slot, place), to| {
            !layout.owns(slot, to)
                && needed(layout, (slot, place), to)
                && layout.copies.should_move(layout.groups[slot][layout.leaver(slot, to)], to, true)
        });
        self.relieve(load, 0..1, |layout, (slot, place), to| {
            layout.owns(slot, to) && needed(layout, (slot, place), to)
        });
        self.relieve_by_way(load, 0..1, |layout, (slot, _), to| {
            layout.owns(slot, to) && layout.may_lead(slot, to)
        });
        self.relieve_by_way(load, 0..1, |layout, (slot, _), to| layout.may_lead(slot, to));
        self.relieve_by_way(load, 0..1, |layout, (slot, _), to| layout.groups[slot][0] != to);
    }

    /// Moves replicas from nodes that hold too many copies to nodes that hold too few: first from those with more than
    /// their share, and if that isn't enough, from any.
    fn balance_copies(&mut self) {
        let load: fn(&Self) -> &Load = |layout| &layout.copies;
        let replicas = 1..self.size;
        for gently in [true, false] {
            self.relieve(load, replicas.clone(), |layout, (slot, place), to| {
                layout.may_replace((slot, place), to)
                    && layout.copies.should_move(layout.groups[slot][place], to, gently)
            });
        }
        self.relieve_by_way(load, replicas, Self::may_replace);
    }

    /// Moves what stands in such places to emptier nodes, where it may go.
    fn relieve(
        &mut self,
        load: fn(&Self) -> &Load,
        places: Range<usize>,
        may: impl Fn(&Self, Place, NodeIndex) -> bool,
    ) {
        for slot in 0..SLOTS {
            if load(self).balanced() {
                return;
            }
            for place in places.clone().map(|place| (slot, place)) {
                let targets = self.nodes().filter(|to| may(self, place, *to));
                if let Some(to) = self.emptiest(slot, load(self), targets) {
                    self.shift(place, to);
                }
            }
        }
    }

    /// Where nothing can go straight to where it should, it takes the place of another, which goes on.
    fn relieve_by_way(
        &mut self,
        load: fn(&Self) -> &Load,
        places: Range<usize>,
        may: impl Fn(&Self, Place, NodeIndex) -> bool,
    ) {
        while let Some((sources, sinks)) = load(self).imbalance() {
            let mut held = vec![Vec::new(); self.topology.nodes.len()];
            for (slot, group) in self.groups.iter().enumerate() {
                places.clone().for_each(|place| held[group[place]].push((slot, place)));
            }
            let next = |from: NodeIndex, to| held[from].iter().any(|place| may(self, *place, to));
            let Some(way) = shortest_way(self.nodes(), sources, &sinks, next) else { return };
            // The same way again, as long as it helps.
            let (source, sink) = (way[0], way[way.len() - 1]);
            let mut links: Vec<_> = way
                .windows(2)
                .map(|link| (link[1], std::mem::take(&mut held[link[0]]).into_iter()))
                .collect();
            while load(self)
                .imbalance()
                .is_some_and(|(sources, sinks)| sources.contains(&source) && sinks.contains(&sink))
            {
                let moves = links
                    .iter_mut()
                    .map(|(to, places)| Some((places.find(|place| may(self, *place, *to))?, *to)));
                let Some(moves) = moves.collect::<Option<Vec<_>>>() else { break };
                moves.into_iter().for_each(|(place, to)| self.shift(place, to));
            }
        }
    }

    /// Whether a node may take the place of a replica: it has none there, and is no nearer to the primary.
    fn may_replace(&self, (slot, place): Place, to: NodeIndex) -> bool {
        let group = &self.groups[slot];
        let allowed = self.topology.nearness(group[0], group[place]);
        !group.contains(&to) && self.topology.nearness(group[0], to) <= allowed
    }

    /// Whether a node may become the primary of a slot: the others then stand as far from it as they can.
    fn may_lead(&self, slot: usize, to: NodeIndex) -> bool {
        let group = &self.groups[slot];
        group[0] != to
            && self.topology.nearness_of(to, &without(group, self.leaver(slot, to))) == self.least[to]
    }

    /// The place that becomes free for a new primary: its own if it is an owner, else the one nearest to it, and of those
    /// the fullest node's.
    fn leaver(&self, slot: usize, to: NodeIndex) -> usize {
        let group = &self.groups[slot];
        let rank = |place: usize| {
            (self.topology.nearness(to, group[place]), self.copies.fullness(group[place], 0.0))
        };
        let last = || (0..group.len()).max_by(|a, b| compare(rank(*a), rank(*b)));
        group.iter().position(|owner| *owner == to).or_else(last).unwrap_or(0)
    }

    /// A node takes a place in a group. A new primary takes the place that becomes free for it.
    fn shift(&mut self, (slot, place): Place, to: NodeIndex) {
        let free = if place == 0 { self.leaver(slot, to) } else { place };
        let group = &mut self.groups[slot];
        if place == 0 {
            self.primaries.shift(group[0], to);
        }
        let from = std::mem::replace(&mut group[free], to);
        if from != to {
            self.copies.shift(from, to);
        }
        group.swap(place, free);
    }

    fn nodes(&self) -> Range<NodeIndex> {
        0..self.topology.nodes.len()
    }

    fn owns(&self, slot: usize, node: NodeIndex) -> bool {
        self.groups[slot].contains(&node)
    }

    /// The best node for a replica: as far from the primary as can be. Of those an emptiest, and among the nearly as empty
    /// the one that stands farthest from the other replicas.
    fn best_replica(&self, slot: usize, place: usize) -> Option<NodeIndex> {
        let group = &self.groups[slot];
        let others = without(&group[1..], place - 1);
        let free = || self.nodes().filter(|node| !group.contains(node));
        let near = |node: &NodeIndex| self.topology.nearness(group[0], *node);
        let least = free().map(|node| near(&node)).min()?;
        let fullness = |node| self.copies.fullness(node, self.topology.dither(slot, node));
        let empty: Vec<_> =
            free().filter(|node| near(node) == least).map(|node| (node, fullness(node))).collect();
        let limit = empty.iter().map(|(_, fullness)| *fullness).min_by(f64::total_cmp)? + self.margin;
        let empty = empty.into_iter().filter(|(_, fullness)| *fullness <= limit);
        let ranked =
            empty.map(|(node, fullness)| (node, (self.topology.nearness_of(node, &others), fullness)));
        ranked.min_by(|a, b| compare(a.1, b.1)).map(|(node, _)| node)
    }

    fn emptiest(
        &self,
        slot: usize,
        load: &Load,
        nodes: impl Iterator<Item = NodeIndex>,
    ) -> Option<NodeIndex> {
        let fullness = |node| load.fullness(node, self.topology.dither(slot, node));
        nodes.map(|node| (node, fullness(node))).min_by(|a, b| a.1.total_cmp(&b.1)).map(|(node, _)| node)
    }
}

/// What each node should hold of the copies, in slots: its weighted share. Where the spread doesn't leave it that, what a
/// fill from nothing gives it.
fn copies(topology: &Topology, size: usize) -> Vec<f64> {
    let shares = shares(topology, size);
    let mut fill = Layout::with_shares(topology, size, shares.clone(), 0.0);
    fill.fill_all();
    let held = fill.copies.held().to_vec();
    fill.balance_copies();
    if fill.copies.balanced() { shares } else { held }
}

/// The weighted shares of `count` in each slot, by node.
fn shares(topology: &Topology, count: usize) -> Vec<f64> {
    let all: f64 = topology.nodes.iter().map(|node| node.weight).sum();
    topology.nodes.iter().map(|node| (SLOTS * count) as f64 * node.weight / all).collect()
}

/// The shortest way from one of `sources` to one of `sinks`, over nodes that can be next to each other on it.
fn shortest_way(
    nodes: Range<NodeIndex>,
    sources: Vec<NodeIndex>,
    sinks: &[NodeIndex],
    next: impl Fn(NodeIndex, NodeIndex) -> bool,
) -> Option<Vec<NodeIndex>> {
    let mut unseen: Vec<_> = nodes.filter(|node| !sources.contains(node)).collect();
    let mut ways: VecDeque<_> = sources.into_iter().map(|source| vec![source]).collect();
    while let Some(way) = ways.pop_front() {
        let last = way[way.len() - 1];
        for node in unseen.extract_if(.., |node| next(last, *node)) {
            let way = [way.as_slice(), &[node]].concat();
            if sinks.contains(&node) {
                return Some(way);
            }
            ways.push_back(way);
        }
    }
    None
}

fn without(group: &[NodeIndex], place: usize) -> Vec<NodeIndex> {
    group.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, node)| *node).collect()
}

fn compare(a: (usize, f64), b: (usize, f64)) -> Ordering {
    a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use homing_types::{Locality, Name, NodeId};
    use proptest::prelude::*;

    use super::*;
    use crate::Member;

    prop_compose! {
        fn topology()(
            nodes in prop::collection::vec((0..4_u8, prop::option::of(0..3_u8), 1..12_u32), 1..12),
        ) -> Topology {
            let name = |prefix: char, number: u8| Some(Name::new(&format!("{prefix}{number}")).unwrap());
            let member = |(i, (zone, rack, weight)): (usize, (u8, Option<u8>, u32))| Member {
                node: NodeId::new(&format!("n{i}")).unwrap(),
                locality: Locality { region: None, zone: name('z', zone), rack: rack.and_then(|rack| name('r', rack)) },
                weight,
            };
            Topology::new(&nodes.into_iter().enumerate().map(member).collect::<Vec<_>>()).unwrap()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn copies_follow_their_shares(topology in topology(), size in 1..5_usize) {
            let size = size.min(topology.nodes.len());
            let groups = Layout::new(&topology, size).settle();
            let mut held = Load::new(copies(&topology, size));
            groups.iter().flatten().for_each(|node| held.add(*node));
            prop_assert!(held.balanced());
        }
    }
}
