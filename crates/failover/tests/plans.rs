//! Plans for any owners, seen from anywhere: every usable owner is in them, once, in its place.

use std::collections::{BTreeMap, BTreeSet};

use homing_failover::{Nearest, PlanRequest, Planned, Policy, Tier};
use homing_types::{Access, Locality, Name, NodeId};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn localities() -> impl Strategy<Value = Locality> {
    let name =
        || prop::option::of(prop::sample::select(vec!["a", "b"]).prop_map(|n| Name::new(n).expect("a name")));
    (name(), name(), name()).prop_map(|(region, zone, rack)| Locality { region, zone, rack })
}

/// The nodes with their places and whether they are suspects; the first is the primary.
fn owners() -> impl Strategy<Value = Vec<(NodeId, Option<Locality>, bool)>> {
    prop::collection::vec((prop::option::of(localities()), any::<bool>()), 1..=8).prop_map(|places| {
        let id = |i| NodeId::new(&format!("n{i}")).expect("a node id");
        places.into_iter().enumerate().map(|(i, (place, suspect))| (id(i), place, suspect)).collect()
    })
}

proptest! {
    #[test]
    fn a_plan_names_each_usable_owner_exactly_once_and_in_order(
        owners in owners(),
        access in prop::sample::select(&Access::ALL[..]),
        locality in localities(),
        me in prop::option::of(0_usize..10),
        seed: u64,
    ) {
        let me = me.map(|i| NodeId::new(&format!("n{i}")).expect("a node id"));
        let nodes: Vec<_> = owners.iter().map(|(node, ..)| node.clone()).collect();
        let places: BTreeMap<_, _> = owners.iter().map(|(node, place, _)| (node, place.clone())).collect();
        let suspects: BTreeSet<_> =
            owners.iter().filter(|(.., suspect)| *suspect).map(|(node, ..)| node.clone()).collect();
        let request = PlanRequest {
            me: me.as_ref(),
            locality: &locality,
            access,
            primary: &nodes[0],
            in_sync: &nodes[1..],
            locality_of: &|node| places.get(node).cloned().flatten(),
            suspect: &|node| suspects.contains(node),
        };
        let plan = Nearest.plan(&request, &mut StdRng::seed_from_u64(seed));

        let mine = |node: &NodeId| me.as_ref() == Some(node);
        let needs_relay = |node: &NodeId| !access.any_replica() && *node != nodes[0];
        let mut named: Vec<_> = plan.iter().map(|planned| planned.candidate.node.clone()).collect();
        named.sort();
        let usable: Vec<_> = nodes.iter().filter(|node| !(mine(node) && needs_relay(node))).cloned().collect();
        prop_assert_eq!(named, usable);

        for Planned { candidate, why } in &plan {
            prop_assert_eq!(candidate.relay, needs_relay(&candidate.node));
            prop_assert_eq!(candidate.tier == Tier::Local, mine(&candidate.node));
            prop_assert_eq!(why.contains("relay"), candidate.relay);
        }
        let place = |planned: &Planned| {
            let candidate = &planned.candidate;
            let suspect = suspects.contains(&candidate.node) && !mine(&candidate.node);
            (suspect, candidate.relay, candidate.tier)
        };
        prop_assert!(plan.is_sorted_by_key(place), "{:?}", plan);
    }
}
