//! The cluster that tables are filled for: 12 nodes, all 16,384 groups with owners drawn at random. A pin's owners are drawn
//! for it alone, so that no table gains by seeing the same ones again and again.

use std::collections::BTreeMap;
use std::ops::Range;

use homing_routing_table::{Diff, Group, RoutingTable};
use homing_types::{Epoch, MAX_REPLICAS, NodeId, Owners, Replica, ReplicaState, Slot, SpaceKey};

use crate::{Rng, name};

/// How many nodes the cluster has.
pub const NODES: u16 = 12;

/// Owners as the numbers of nodes, from 1: the primary and up to seven replicas, all different.
pub type Seats = [u16; 1 + MAX_REPLICAS];

/// Who owns a slot's spaces under an epoch.
#[must_use]
pub fn group_seats(slot: Slot, epoch: u64) -> Seats {
    draw(u64::from(slot.number()) << 40 ^ epoch)
}

/// Who owns a pinned space under an epoch.
#[must_use]
pub fn pin_seats(key: SpaceKey, epoch: u64) -> Seats {
    draw(key.as_u128() as u64 ^ epoch)
}

fn draw(seed: u64) -> Seats {
    let mut rng = Rng::new(seed);
    let mut nodes: [u16; NODES as usize] = std::array::from_fn(|i| i as u16 + 1);
    std::array::from_fn(|i| {
        let other = i + rng.below((nodes.len() - i) as u32) as usize;
        nodes.swap(i, other);
        nodes[i]
    })
}

/// The spaces that have owners of their own, by slot, and what groups are made of.
pub struct Spaces {
    nodes: Vec<NodeId>,
    replicas: usize,
    pinned: Vec<Vec<SpaceKey>>,
}

impl Spaces {
    /// A cluster in which these spaces are pinned, and every space has this many replicas.
    #[must_use]
    pub fn new(pinned: Range<u32>, replicas: usize) -> Self {
        let nodes = (1..=NODES).map(|node| NodeId::new(&format!("node-{node}")).expect("a DNS label"));
        let mut keys = vec![Vec::new(); Slot::all().len()];
        for key in pinned.map(|space| SpaceKey::of(&name(space))) {
            keys[key.slot().index()].push(key);
        }
        // A map is built from sorted keys in one go.
        keys.iter_mut().for_each(|keys| keys.sort_unstable());
        Self { nodes: nodes.collect(), replicas, pinned: keys }
    }

    /// The pinned spaces of a slot.
    #[must_use]
    pub fn pinned(&self, slot: Slot) -> &[SpaceKey] {
        &self.pinned[slot.index()]
    }

    /// A slot's group under an epoch, with all its pins. Another epoch gives other owners.
    #[must_use]
    pub fn group(&self, slot: Slot, epoch: u64) -> Group {
        let pin = |key: &SpaceKey| (*key, self.owners(pin_seats(*key, epoch)));
        let pins: BTreeMap<_, _> = self.pinned(slot).iter().map(pin).collect();
        Group { epoch: Epoch::new(epoch), owners: self.owners(group_seats(slot, epoch)), pins }
    }

    fn owners(&self, seats: Seats) -> Owners {
        let node = |seat: u16| self.nodes[usize::from(seat) - 1].clone();
        let replica = |seat: &u16| Replica { node: node(*seat), state: ReplicaState::InSync };
        let replicas = seats[1..=self.replicas].iter().map(replica).collect();
        Owners::new(node(seats[0]), replicas).expect("the seats are different")
    }
}

/// A table with all groups of these spaces, under epoch 1.
#[must_use]
pub fn table(spaces: &Spaces) -> RoutingTable {
    let table = RoutingTable::new();
    let diff = Diff::new(Slot::all().map(|slot| (slot, spaces.group(slot, 1)))).expect("each slot once");
    table.apply(&diff).expect("within the bounds");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_different_nodes() {
        for seed in 0..1_000 {
            let mut seats = draw(seed);
            seats.sort_unstable();
            assert!(seats.windows(2).all(|pair| pair[0] < pair[1]), "{seats:?}");
            assert!(seats[0] >= 1 && seats[7] <= NODES, "{seats:?}");
        }
    }

    #[test]
    fn a_table_holds_every_group_and_the_pins() {
        let table = table(&Spaces::new(0..1_000, 2));
        let snapshot = table.snapshot();
        assert_eq!((snapshot.groups().count(), snapshot.pins()), (Slot::all().len(), 1_000));
        let key = SpaceKey::of(&name(7));
        let lookup = snapshot.lookup(key).unwrap();
        assert!(lookup.is_pinned());
        assert_eq!(lookup.primary().as_str(), format!("node-{}", pin_seats(key, 1)[0]));
    }
}
