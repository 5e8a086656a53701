use std::collections::{BTreeMap, BTreeSet};

use homing_types::{Access, Locality, Name};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::{Circuit, Standing};

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
fn plan_with(
    access: Access,
    owners: &[&str],
    standing: &dyn Fn(&str) -> Standing,
    seed: u64,
) -> Vec<(String, Tier, String)> {
    let me = id("me");
    let owners: Vec<_> = owners.iter().map(|owner| id(owner)).collect();
    let request = PlanRequest {
        me: Some(&me),
        locality: &locality_of(&me).unwrap(),
        access,
        primary: &owners[0],
        in_sync: &owners[1..],
        locality_of: &locality_of,
        standing: &|node| standing(node.as_str()),
    };
    let planned = Nearest.plan(&request, &mut StdRng::seed_from_u64(seed)).into_iter();
    planned
        .map(|Planned { candidate, why, .. }| (candidate.node.to_string(), candidate.tier, why.into_owned()))
        .collect()
}

fn plan(access: Access, owners: &[&str], suspects: &[&str], seed: u64) -> Vec<(String, Tier, String)> {
    plan_with(access, owners, &|node| suspect(suspects.contains(&node)), seed)
}

fn suspect(suspect: bool) -> Standing {
    Standing { suspect, ..Standing::default() }
}

/// A peer that answers in so many milliseconds.
fn answers_in(ms: u64) -> Standing {
    Standing { latency: Some(Duration::from_millis(ms)), cost: ms as f64, ..Standing::default() }
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
    assert_eq!(nodes(&read), ["zone", "far", "me", "rack"]);
    let only_me = plan(Access::Write, &["me", "rack"], &["me"], 1);
    assert_eq!(nodes(&only_me), ["me", "rack"], "nobody else can do it");
    let write = plan(Access::Write, &owners, &["far"], 1);
    assert_eq!(nodes(&write), ["rack", "zone", "far"]);
    assert_eq!(write[2].2, "primary, suspected: tried last");
    let dark = plan(Access::Write, &owners, &owners, 1);
    assert_eq!(nodes(&dark), ["far", "rack", "zone"]);
}

#[test]
fn owners_of_one_tier_share_the_first_place_evenly() {
    let mut first = BTreeMap::<String, u32>::new();
    for seed in 0..3_000 {
        let plan = plan(Access::Read, &["zone-1", "zone-2", "zone-3", "far"], &[], seed);
        *first.entry(plan[0].0.clone()).or_default() += 1;
    }
    assert_eq!(first.keys().collect::<BTreeSet<_>>().len(), 3, "{first:?}");
    assert!(first.values().all(|count| (900..1_100).contains(count)), "{first:?}");
}

#[test]
fn an_open_breaker_puts_a_node_to_the_back_and_says_so() {
    let until = homing_types::Time::ZERO + Duration::from_secs(1);
    for (circuit, order, why) in [
        (Circuit::Closed, ["rack", "zone"], "in-sync replica"),
        (Circuit::Open { until }, ["zone", "rack"], "in-sync replica, breaker open: tried last"),
        (Circuit::HalfOpen { busy: false }, ["rack", "zone"], "in-sync replica"),
        (
            Circuit::HalfOpen { busy: true },
            ["zone", "rack"],
            "in-sync replica, breaker half-open: tried last",
        ),
    ] {
        let standing = |node: &str| match node {
            "rack" => Standing { circuit, ..Standing::default() },
            _ => Standing::default(),
        };
        let plan = plan_with(Access::Read, &["zone", "rack"], &standing, 1);
        assert_eq!(nodes(&plan), order, "{circuit:?}");
        assert!(plan.iter().any(|(node, _, said)| node == "rack" && said == why), "{plan:?}");
    }
}

/// The order of the tiers of a read whose owners answer in these times; `None` where nothing is known.
fn order_of(latencies: &[(&str, Option<u64>)]) -> Vec<String> {
    let owners: Vec<_> = latencies.iter().map(|(node, _)| *node).collect();
    let standing = |node: &str| {
        let known = latencies.iter().find(|(other, _)| *other == node).and_then(|(_, ms)| *ms);
        known.map_or_else(Standing::default, answers_in)
    };
    plan_with(Access::Read, &owners, &standing, 1).into_iter().map(|(node, ..)| node).collect()
}

#[test]
fn a_tier_gives_way_to_a_farther_one_that_is_over_three_times_faster() {
    assert_eq!(order_of(&[("zone", Some(30)), ("region", Some(10))]), ["zone", "region"]);
    assert_eq!(order_of(&[("zone", Some(31)), ("region", Some(10))]), ["region", "zone"]);
    assert_eq!(order_of(&[("zone", Some(31)), ("region", None)]), ["zone", "region"], "nothing is known");
    assert_eq!(order_of(&[("me", Some(31)), ("zone", None), ("far", Some(1))]), ["far", "zone", "me"]);
    assert_eq!(
        order_of(&[("rack", Some(100)), ("zone", Some(20)), ("region", Some(1))]),
        ["region", "zone", "rack"]
    );
    assert_eq!(
        order_of(&[("zone-1", Some(90)), ("zone-2", Some(2)), ("region", Some(1))]),
        ["zone-2", "zone-1", "region"],
        "its best node speaks for a tier"
    );
}

#[test]
fn what_moved_says_why() {
    let standing = |node: &str| answers_in(if node == "zone" { 40 } else { 10 });
    let plan = plan_with(Access::Read, &["region", "zone"], &standing, 1);
    assert_eq!(plan[0].2, "primary, over 3 times faster than a nearer one");
    assert_eq!(plan[1].2, "in-sync replica, over 3 times slower than a farther one");
}

#[test]
fn writes_are_not_moved_by_latency() {
    let standing = |node: &str| answers_in(if node == "far" { 1_000 } else { 1 });
    assert_eq!(
        nodes(&plan_with(Access::Write, &["far", "rack", "zone"], &standing, 1)),
        ["far", "rack", "zone"]
    );
}

#[test]
fn of_equals_the_costly_goes_first_only_if_nobody_else_was_drawn() {
    let standing = |node: &str| answers_in(if node == "zone-3" { 200 } else { 2 });
    let mut first = BTreeMap::<String, u32>::new();
    for seed in 0..3_000 {
        let plan = plan_with(Access::Read, &["zone-1", "zone-2", "zone-3"], &standing, seed);
        *first.entry(plan[0].0.clone()).or_default() += 1;
    }
    assert_eq!(first.get("zone-3"), None, "{first:?}");
    assert!(first.values().all(|count| (1_350..1_650).contains(count)), "{first:?}");
}
