//! Plans for any owners, seen from anywhere: every usable owner is in them, once, in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use homing_failover::{Nearest, PlanRequest, Planned, Policy, Standing, Tier};
use homing_types::{Access, Locality, Name, NodeId};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn localities() -> impl Strategy<Value = Locality> {
    let name =
        || prop::option::of(prop::sample::select(vec!["a", "b"]).prop_map(|n| Name::new(n).expect("a name")));
    (name(), name(), name()).prop_map(|(region, zone, rack)| Locality { region, zone, rack })
}

fn standings() -> impl Strategy<Value = Standing> {
    (any::<bool>(), prop::option::of(1_u64..500), 0_u32..10).prop_map(|(suspect, ms, in_flight)| Standing {
        suspect,
        latency: ms.map(Duration::from_millis),
        in_flight,
        cost: ms.unwrap_or_default() as f64 * f64::from(in_flight + 1),
        ..Standing::default()
    })
}

/// The nodes with their places and how they stand; the first is the primary.
fn owners() -> impl Strategy<Value = Vec<(NodeId, Option<Locality>, Standing)>> {
    prop::collection::vec((prop::option::of(localities()), standings()), 1..=8).prop_map(|places| {
        let id = |i| NodeId::new(&format!("n{i}")).expect("a node id");
        places.into_iter().enumerate().map(|(i, (place, standing))| (id(i), place, standing)).collect()
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
            owners.iter().filter(|(.., standing)| standing.suspect).map(|(node, ..)| node.clone()).collect();
        let standings: BTreeMap<_, _> =
            owners.iter().map(|(node, _, standing)| (node.clone(), *standing)).collect();
        let request = PlanRequest {
            me: me.as_ref(),
            locality: &locality,
            access,
            primary: &nodes[0],
            in_sync: &nodes[1..],
            locality_of: &|node| places.get(node).cloned().flatten(),
            standing: &|node| standings[node],
        };
        let plan = Nearest.plan(&request, &mut StdRng::seed_from_u64(seed));

        let mine = |node: &NodeId| me.as_ref() == Some(node);
        let needs_relay = |node: &NodeId| !access.any_replica() && *node != nodes[0];
        let mut named: Vec<_> = plan.iter().map(|planned| planned.candidate.node.clone()).collect();
        named.sort();
        let usable: Vec<_> = nodes.iter().filter(|node| !(mine(node) && needs_relay(node))).cloned().collect();
        prop_assert_eq!(named, usable);

        for Planned { candidate, why, .. } in &plan {
            prop_assert_eq!(candidate.relay, needs_relay(&candidate.node));
            prop_assert_eq!(candidate.tier == Tier::Local, mine(&candidate.node));
            prop_assert_eq!(why.contains("relay"), candidate.relay);
        }
        let in_doubt = |planned: &Planned| {
            let own_work = mine(&planned.candidate.node) && !access.any_replica();
            suspects.contains(&planned.candidate.node) && !own_work
        };
        prop_assert!(plan.is_sorted_by_key(|planned| (in_doubt(planned), planned.candidate.relay)), "{:?}", plan);
        // A farther tier stands before a nearer one only if it was measured to be three times faster.
        let front: Vec<_> = plan.iter().filter(|planned| !in_doubt(planned) && !planned.candidate.relay).collect();
        let best = |tier: Tier| {
            let of_tier = front.iter().filter(|planned| planned.candidate.tier == tier);
            of_tier.filter_map(|planned| planned.standing.latency).min()
        };
        for (i, before) in front.iter().enumerate() {
            for after in &front[i + 1..] {
                let (far, near) = (before.candidate.tier, after.candidate.tier);
                // One of which nothing is known keeps its place, also where others change theirs around it.
                if far > near && best(near).is_some() {
                    prop_assert!(front.iter().any(|p| p.candidate.tier > near
                        && best(near) > best(p.candidate.tier).map(|best| best * 3)), "{:?}", plan);
                }
            }
        }
    }
}
