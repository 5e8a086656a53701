//! Whatever the tables say, a path ends: at most three hops, no loop. (Every call of these tests checks its path.)

use std::sync::Arc;

use homing_failover::Verdict;
use homing_router::StaticAuthority;
use homing_routing_table::{Diff, Group};
use homing_transport::{Head, Kind, Routed};
use homing_types::{Access, Outcome, Slot};

use crate::support::{Cluster, Fault, Served, Setup, group, routed, slot};

const NODES: [&str; 5] = ["a1", "b1", "b2", "c1", "c2"];

/// Each node but the last knows something newer than the one before, and is sent on by it.
fn chain() -> [(&'static str, u64, &'static str); 4] {
    [("a1", 1, "b1"), ("b1", 2, "b2"), ("b2", 3, "c1"), ("c1", 4, "c2")]
}

fn encoded(slot: Slot, group: Group) -> Vec<u8> {
    Diff::one(slot, group).expect("a group of the slot").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_hints_is_followed_for_three_hops_then_the_entry_starts_anew() {
    let cluster = Cluster::of(NODES);
    for (id, epoch, owner) in chain() {
        cluster.learns(id, group(epoch, &[owner]));
    }
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c2", 1, 4).after(2));
    let crossings = cluster.faults.crossings();
    let way: Vec<_> = crossings.iter().filter(|c| c.request.is_some()).map(|c| c.to.as_str()).collect();
    assert_eq!(way, ["b1", "b2", "c1", "c2"]);
    assert_eq!(cluster.log().effects, 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_hop_is_kept_for_what_the_authority_says() {
    let authority = StaticAuthority::new(&Diff::one(slot(), group(4, &["c2"])).unwrap());
    let cluster = Cluster::with(NODES, Setup { authority: Arc::new(authority), ..Setup::default() });
    for (id, epoch, owner) in chain() {
        cluster.learns(id, group(epoch, &[owner]));
    }
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c2", 3, 4));
    assert_eq!(cluster.faults.crossed("b2", "c1"), 0, "b2 asked before it used the last hop");
}

#[tokio::test(start_paused = true)]
async fn nodes_that_send_to_each_other_at_one_epoch_end_in_an_error() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1", "c1"]));
    cluster.learns("b1", group(6, &["c1", "b1"]));
    cluster.learns("c1", group(6, &["b1", "c1"]));
    let error = cluster.write("a1").await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotOwner) }, "{error}");
    assert_eq!(cluster.log().executed, []);
    assert!(error.attempts < 100, "{error}");
}

#[tokio::test(start_paused = true)]
async fn circles_of_rising_epochs_end_at_the_newest_owner() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1"]));
    cluster.learns("b1", group(6, &["c1"]));
    cluster.learns("c1", group(7, &["b1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 3, 7));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_no_node_costs_a_detour_by_a_replica() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["ghost", "b1"]));
    for id in ["b1", "c1"] {
        cluster.learns(id, group(6, &["c1", "b1"]));
    }
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 2, 6).after(2));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_no_node_for_anybody_is_named_in_the_error() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["ghost", "b1"]));
    let error = cluster.write("a1").await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotSent) });
    let error = error.to_string();
    assert!(error.contains("ghost") && error.contains("no node that a1 knows"), "{error}");
    assert!(error.contains("by way of b1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_reaches_none_of_its_owners_asks_the_authority() {
    let authority = StaticAuthority::new(&Diff::one(slot(), group(6, &["c1"])).unwrap());
    let cluster =
        Cluster::with(["a1", "b1", "c1"], Setup { authority: Arc::new(authority), ..Setup::default() });
    cluster.learns("a1", group(5, &["ghost"]));
    cluster.learns("c1", group(6, &["c1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6).after(2));
}

#[tokio::test(start_paused = true)]
async fn an_epoch_that_its_sender_cannot_show_is_refused_and_changes_nothing() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1"]));
    let version = |id: &str| cluster.node(id).router.table().load().version();
    let before = version("b1");
    for shown in [None, Some(group(5, &["b1"])), Some(group(6, &["c1"]))] {
        let mut lie = routed(Access::Write, u64::MAX);
        let shows = shown.is_some();
        lie.group = shown.map(|group| encoded(slot(), group).into()).unwrap_or_default();
        let phantoms = cluster.counted("homing_phantoms_total");
        let reply = cluster.says("a1", "b1", Head::of(Kind::Routed(lie))).await;
        assert_eq!(reply.head.outcome, Some(Outcome::Refused), "shows a group: {shows}");
        assert!(reply.head.reason.contains(&u64::MAX.to_string()), "{}", reply.head.reason);
        assert_eq!(cluster.counted("homing_phantoms_total"), phantoms + 1);
    }
    assert_eq!(cluster.log().executed, []);
    assert_eq!(version("b1"), before + 1, "the honest group was learned, the claimed epoch was not");
    assert_eq!(cluster.epoch("b1"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_told_it_is_behind_executes_nothing_until_it_has_learned() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1"]));
    cluster.faults.set("b1", "a1", Fault::Cut);
    let reply = cluster.says("a1", "b1", Head::of(Kind::Routed(routed(Access::Write, 6)))).await;
    assert_eq!(reply.head.outcome, Some(Outcome::NotReady));
    assert!(reply.head.retry_after.is_some());
    assert_eq!(reply.head.epoch.number(), 5);
    assert_eq!(cluster.log().executed, []);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_cannot_be_right_is_refused_and_changes_nothing() {
    let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
    let other = Slot::new((slot().number() + 1) % 16_384).unwrap();
    let encoded = encoded(other, group(9, &["a1"]));
    for group in [encoded.clone(), encoded[..encoded.len() - 1].to_vec(), vec![0xff; 100]] {
        let lie = Routed { group: group.into(), ..routed(Access::Write, 9) };
        let reply = cluster.says("a1", "b1", Head::of(Kind::Routed(lie))).await;
        assert_eq!(reply.head.outcome, Some(Outcome::Refused));
    }
    let table = cluster.node("b1").router.table();
    assert_eq!((cluster.epoch("b1"), table.load().epoch(other).number()), (5, 0));
    assert_eq!(cluster.log().executed, []);
}
