//! Who holds which slot, while it is being worked out: first taken over from the table, then filled, spread and balanced.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use homing_types::SLOTS;

use crate::load::Load;
use crate::quota;
use crate::topology::{Crowding, NodeIndex, Topology};

pub(crate) struct Layout<'a> {
    topology: &'a Topology,
    /// Owners of a group.
    size: usize,
    /// The owners by slot; the primary stands first.
    groups: Vec<Vec<NodeIndex>>,
    copies: Load,
    primaries: Load,
    /// Whether the first of the owners is the primary, by slot.
    led: Vec<bool>,
    /// The slots whose primary is gone, and how many of the first owners may replace it.
    heirs: Vec<(usize, usize)>,
}

/// A place in a group: its slot, and the position in it.
type Place = (usize, usize);

impl<'a> Layout<'a> {
    /// A layout without any owners, for groups of `size` nodes: at most as many as there are.
    pub(crate) fn new(topology: &'a Topology, size: usize) -> Self {
        let slots = |shares: Vec<f64>| shares.into_iter().map(|share| share * SLOTS as f64).collect();
        Self {
            topology,
            size,
            groups: vec![Vec::new(); SLOTS],
            copies: Load::new(slots(quota::copies(topology, size))),
            primaries: Load::new(slots(quota::primaries(topology))),
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
        for slot in 0..SLOTS {
            if !self.led[slot] {
                self.fill(slot, 1, |layout| &layout.primaries);
                self.lead(slot, |_, _| true);
            }
            self.fill(slot, self.size, |layout| &layout.copies);
        }
        let least = self.topology.least_crowding(self.size);
        for slot in 0..SLOTS {
            self.spread(slot, least);
        }
        self.balance_copies();
        self.balance_primaries();
        self.groups
    }

    /// Makes that owner the primary of a slot, of those that may, that is it too seldom.
    fn lead(&mut self, slot: usize, may: impl Fn(&Self, usize) -> bool) {
        let places = (0..self.groups[slot].len()).filter(|place| may(self, *place));
        if let Some(place) = self.emptiest(slot, places) {
            self.groups[slot].swap(0, place);
            self.primaries.add(self.groups[slot][0]);
            self.led[slot] = true;
        }
    }

    /// Adds up to `most` of the copies that a slot lacks, each where it is least crowded and emptiest.
    fn fill(&mut self, slot: usize, most: usize, load: impl Fn(&Self) -> &Load) {
        for _ in 0..most.min(self.size - self.groups[slot].len()) {
            let group = &self.groups[slot];
            let free = (0..self.topology.nodes.len()).filter(|node| !group.contains(node));
            if let Some(node) =
                self.best(slot, load(self), free, |node| self.topology.crowding_at(group, node))
            {
                self.copies.add(node);
                self.groups[slot].push(node);
            }
        }
    }

    /// Replaces replicas of a slot until its nodes are as far apart as they can be.
    fn spread(&mut self, slot: usize, least: Crowding) {
        while self.topology.crowding(&self.groups[slot]) > least {
            let now = self.topology.crowding(&self.groups[slot]);
            let exchanges = (1..self.size).filter_map(|place| {
                let group = &self.groups[slot];
                let crowding = |node| {
                    let mut group = group.clone();
                    group[place] = node;
                    self.topology.crowding(&group)
                };
                let free = (0..self.topology.nodes.len()).filter(|node| !group.contains(node));
                let node = self.best(slot, &self.copies, free, crowding)?;
                Some((crowding(node), place, node))
            });
            match exchanges.min_by_key(|(crowding, ..)| *crowding) {
                Some((crowding, place, node)) if crowding < now => self.replace((slot, place), node),
                _ => return,
            }
        }
    }

    /// Moves copies from nodes that hold too many to nodes that hold too few.
    fn balance_copies(&mut self) {
        // A primary that has to go anyway takes its copy along: one move for two. Else those go that are nobody's primary,
        // and if that isn't enough, any.
        self.relieve_all(0..1, true, |layout, from, to| layout.primaries.should_move(from, to, true));
        for (places, gently) in [(1..self.size, true), (1..self.size, false), (0..1, true), (0..1, false)] {
            self.relieve_all(places, gently, |_, _, _| true);
        }
    }

    fn relieve_all(
        &mut self,
        places: Range<usize>,
        gently: bool,
        may: impl Fn(&Self, NodeIndex, NodeIndex) -> bool,
    ) {
        for slot in 0..SLOTS {
            if self.copies.balanced() {
                return;
            }
            for place in places.clone() {
                self.relieve((slot, place), gently, &may);
            }
        }
    }

    /// Moves one copy to an emptier node, if it should and may, and if the group is then no more crowded.
    fn relieve(
        &mut self,
        (slot, place): Place,
        gently: bool,
        may: impl Fn(&Self, NodeIndex, NodeIndex) -> bool,
    ) {
        let group = &self.groups[slot];
        let from = group[place];
        let others: Vec<_> = group.iter().copied().filter(|node| *node != from).collect();
        let crowding = self.topology.crowding_at(&others, from);
        let targets = (0..self.topology.nodes.len()).filter(|to| {
            self.copies.should_move(from, *to, gently)
                && may(self, from, *to)
                && !group.contains(to)
                && self.topology.crowding_at(&others, *to) <= crowding
        });
        if let Some(to) = self.best(slot, &self.copies, targets, |_| Crowding::default()) {
            self.replace((slot, place), to);
        }
    }

    /// Exchanges the roles of a primary that is it too often and a replica that is it too seldom; where no group has
    /// both, by way of others.
    fn balance_primaries(&mut self) {
        for slot in 0..SLOTS {
            if self.primaries.balanced() {
                return;
            }
            let group = &self.groups[slot];
            let heirs =
                (1..self.size).filter(|place| self.primaries.should_move(group[0], group[*place], true));
            if let Some(place) = self.emptiest(slot, heirs) {
                self.exchange((slot, place));
            }
        }
        while let Some(chain) = self.chain() {
            for place in chain {
                self.exchange(place);
            }
        }
    }

    /// The shortest chain of exchanges that brings one primary from a node with too many to one with too few.
    fn chain(&self) -> Option<Vec<Place>> {
        let (sources, sinks) = self.primaries.imbalance()?;
        let mut exchanges: BTreeMap<NodeIndex, BTreeMap<NodeIndex, Place>> = BTreeMap::new();
        for (slot, group) in self.groups.iter().enumerate() {
            for place in 1..self.size {
                exchanges.entry(group[0]).or_default().entry(group[place]).or_insert((slot, place));
            }
        }
        let mut ways: BTreeMap<NodeIndex, Vec<Place>> =
            sources.iter().map(|node| (*node, Vec::new())).collect();
        let mut queue = VecDeque::from(sources);
        while let Some(node) = queue.pop_front() {
            if sinks.contains(&node) {
                return ways.remove(&node);
            }
            for (next, place) in exchanges.get(&node).into_iter().flatten() {
                if !ways.contains_key(next) {
                    let way = ways[&node].iter().copied().chain([*place]).collect();
                    ways.insert(*next, way);
                    queue.push_back(*next);
                }
            }
        }
        None
    }

    /// A replica and the primary of its group change their roles.
    fn exchange(&mut self, (slot, place): Place) {
        let group = &mut self.groups[slot];
        self.primaries.shift(group[0], group[place]);
        group.swap(0, place);
    }

    fn replace(&mut self, (slot, place): Place, node: NodeIndex) {
        let old = std::mem::replace(&mut self.groups[slot][place], node);
        self.copies.shift(old, node);
        if place == 0 {
            self.primaries.shift(old, node);
        }
    }

    /// The node where it is least crowded, and of those the emptiest.
    fn best(
        &self,
        slot: usize,
        load: &Load,
        nodes: impl Iterator<Item = NodeIndex>,
        crowding: impl Fn(NodeIndex) -> Crowding,
    ) -> Option<NodeIndex> {
        let rank = |node| (crowding(node), load.fullness(node, self.dither(slot, node)), node);
        let best = nodes.map(rank).min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)))?;
        Some(best.2)
    }

    /// The place whose node is the primary of the fewest slots, for its share.
    fn emptiest(&self, slot: usize, places: impl Iterator<Item = usize>) -> Option<usize> {
        let rank = |place| {
            let node = self.groups[slot][place];
            (self.primaries.fullness(node, self.dither(slot, node)), place)
        };
        let best = places.map(rank).min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(best.1)
    }

    fn dither(&self, slot: usize, node: NodeIndex) -> f64 {
        self.topology.dither(slot, node)
    }
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
        fn copies_follow_the_quotas(topology in topology(), size in 1..5_usize) {
            let size = size.min(topology.nodes.len());
            let groups = Layout::new(&topology, size).settle();
            let mut copies = Load::new(quota::copies(&topology, size).into_iter().map(|q| q * SLOTS as f64).collect());
            groups.iter().flatten().for_each(|node| copies.add(*node));
            prop_assert!(copies.balanced());
        }
    }
}
