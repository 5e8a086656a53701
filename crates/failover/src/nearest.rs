//! The default order: near before far.
//!
//! A request that stays in its rack is faster, cheaper, and lives through the loss of every other place. Inside
//! a tier the order is random, so that equal owners share the load without talking about it. A suspect is
//! tried last instead of never: a wrong suspicion then costs a detour and no failure.

use std::borrow::Cow;
use std::iter;

use homing_types::NodeId;
use rand_core::Rng;

use crate::{Candidate, PlanRequest, Planned, Policy, Tier};

/// Orders owners by [`Tier`], at random inside a tier, suspects last.
///
/// - What any in-sync replica may serve goes to the primary and to these replicas alike.
/// - What only the primary does goes to the primary, then to the in-sync replicas as relays. The entry node
///   is never its own relay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nearest;

impl Policy for Nearest {
    fn plan(&self, request: &PlanRequest<'_>, rng: &mut dyn Rng) -> Vec<Planned> {
        let mut ranked: Vec<_> = iter::once(request.primary)
            .chain(request.in_sync)
            .filter_map(|node| place(request, node))
            .map(|(suspect, planned)| {
                let Candidate { relay, tier, .. } = planned.candidate;
                ((suspect, relay, tier, rng.next_u64()), planned)
            })
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, planned)| planned).collect()
    }
}

/// The owner as a candidate and whether it is a suspect; `None` if it would be its own relay.
fn place(request: &PlanRequest<'_>, node: &NodeId) -> Option<(bool, Planned)> {
    let relay = node != request.primary && !request.access.any_replica();
    let tier = tier(request, node);
    if relay && tier == Tier::Local {
        return None;
    }
    let suspect = tier != Tier::Local && (request.suspect)(node);
    let candidate = Candidate { node: node.clone(), tier, relay };
    Some((suspect, Planned { why: why(node == request.primary, relay, suspect), candidate }))
}

fn tier(request: &PlanRequest<'_>, node: &NodeId) -> Tier {
    if request.me == Some(node) {
        return Tier::Local;
    }
    (request.locality_of)(node).map_or(Tier::Far, |other| Tier::between(request.locality, &other))
}

const fn why(primary: bool, relay: bool, suspect: bool) -> Cow<'static, str> {
    Cow::Borrowed(match (primary, relay, suspect) {
        (true, _, false) => "primary",
        (true, _, true) => "primary, suspected: tried last",
        (_, true, false) => "relay to the primary",
        (_, true, true) => "relay to the primary, suspected: tried last",
        (_, _, false) => "in-sync replica",
        (_, _, true) => "in-sync replica, suspected: tried last",
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use homing_types::{Access, Locality, Name};
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn id(id: &str) -> NodeId {
        NodeId::new(id).unwrap()
    }

    /// Seen from `me` in eu/a/1: `rack`, `zone`, `region` and `far` stand where their names say, others nowhere.
    fn locality_of(node: &NodeId) -> Option<Locality> {
        let (region, zone, rack) = match node.as_str().split('-').next()? {
            "me" | "rack" => ("eu", "a", "1"),
            "zone" => ("eu", "a", "2"),
            "region" => ("eu", "b", "1"),
            "far" => ("us", "a", "1"),
            _ => return None,
        };
        let name = |name| Name::new(name).ok();
        Some(Locality { region: name(region), zone: name(zone), rack: name(rack) })
    }

    /// The plan for owners of which the first is the primary, as `homing route` would show it.
    fn plan(access: Access, owners: &[&str], suspects: &[&str], seed: u64) -> Vec<(String, Tier, String)> {
        let me = id("me");
        let owners: Vec<_> = owners.iter().map(|owner| id(owner)).collect();
        let request = PlanRequest {
            me: Some(&me),
            locality: &locality_of(&me).unwrap(),
            access,
            primary: &owners[0],
            in_sync: &owners[1..],
            locality_of: &locality_of,
            suspect: &|node| suspects.contains(&node.as_str()),
        };
        Nearest
            .plan(&request, &mut StdRng::seed_from_u64(seed))
            .into_iter()
            .map(|planned| {
                (planned.candidate.node.to_string(), planned.candidate.tier, planned.why.into_owned())
            })
            .collect()
    }

    fn nodes(plan: &[(String, Tier, String)]) -> Vec<&str> {
        plan.iter().map(|(node, ..)| node.as_str()).collect()
    }

    #[test]
    fn a_read_goes_to_the_nearest_owner_first() {
        let plan = plan(Access::Read, &["far", "unknown", "region", "me", "zone", "rack"], &[], 1);
        assert_eq!(nodes(&plan)[..4], ["me", "rack", "zone", "region"]);
        assert_eq!(plan[4].1, Tier::Far);
        assert_eq!(plan[5].1, Tier::Far);
    }

    #[test]
    fn only_the_primary_gets_a_write_and_replicas_are_its_relays() {
        for access in [Access::Write, Access::ReadPrimary] {
            let plan = plan(access, &["far", "zone", "me", "rack"], &[], 1);
            assert_eq!(nodes(&plan), ["far", "rack", "zone"], "{access}: no relay to oneself");
            assert_eq!(plan[0].2, "primary");
            assert_eq!(plan[1].2, "relay to the primary");
        }
    }

    #[test]
    fn a_primary_executes_its_own_writes() {
        let plan = plan(Access::Write, &["me", "rack"], &[], 1);
        assert_eq!(plan[0], ("me".to_owned(), Tier::Local, "primary".to_owned()));
    }

    #[test]
    fn a_suspect_goes_to_the_back_and_never_out() {
        let owners = ["far", "me", "rack", "zone"];
        let read = plan(Access::Read, &owners, &["rack", "me"], 1);
        assert_eq!(nodes(&read), ["me", "zone", "far", "rack"], "nobody suspects oneself");
        let write = plan(Access::Write, &owners, &["far"], 1);
        assert_eq!(nodes(&write), ["rack", "zone", "far"]);
        assert_eq!(write[2].2, "primary, suspected: tried last");
        let dark = plan(Access::Write, &owners, &owners, 1);
        assert_eq!(nodes(&dark), ["far", "rack", "zone"]);
    }

    #[test]
    fn owners_of_one_tier_share_the_first_place_evenly() {
        let mut first = std::collections::BTreeMap::<String, u32>::new();
        for seed in 0..3_000 {
            let plan = plan(Access::Read, &["zone-1", "zone-2", "zone-3", "far"], &[], seed);
            *first.entry(plan[0].0.clone()).or_default() += 1;
        }
        assert_eq!(first.keys().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
        assert!(first.values().all(|count| (900..1_100).contains(count)), "{first:?}");
    }
}
