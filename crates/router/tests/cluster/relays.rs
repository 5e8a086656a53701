//! An owner that the entry node can't reach is reached by way of another node.

use homing_failover::Verdict;
use homing_transport::Kind;
use homing_types::{Access, Outcome};

use crate::support::{Cluster, Fault, Served, group};

#[tokio::test(start_paused = true)]
async fn writes_to_a_primary_that_only_the_entry_cannot_reach_go_by_a_replica() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 2, 5).after(2));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 2, 5), "b1 is a suspect now");
    assert_eq!(cluster.log().effects, 2);
    assert_eq!(Served::of(&cluster.read("a1").await), Served::by_replica("c1", 1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_relay_clears_the_flag_so_that_nobody_relays_twice() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    cluster.write("a1").await.unwrap();
    let flags: Vec<_> = cluster
        .faults
        .crossings()
        .into_iter()
        .filter_map(|crossing| match crossing.kind {
            Kind::Routed(routed) => Some((crossing.to.to_string(), routed.relay, routed.hops_left)),
            Kind::Direct(_) => None,
        })
        .collect();
    assert_eq!(flags, [("c1".to_owned(), true, 2), ("b1".to_owned(), false, 1)]);
}

/// A relay has one shot. Whom it suspects is still whom the request is for.
#[tokio::test(start_paused = true)]
async fn a_relay_passes_a_write_to_the_primary_even_if_it_suspects_it() {
    let cluster = Cluster::knowing(["a1", "b1", "c1", "c2"], group(5, &["b1", "c1", "c2"]));
    for relay in ["c1", "c2"] {
        cluster.faults.set(relay, "b1", Fault::Cut);
        cluster.write(relay).await.unwrap();
        cluster.faults.heal(relay, "b1");
    }
    let between = cluster.faults.crossed("c1", "c2") + cluster.faults.crossed("c2", "c1");
    cluster.faults.set("a1", "b1", Fault::Cut);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 2, 5).after(2));
    assert_eq!(cluster.faults.crossed("c1", "c2") + cluster.faults.crossed("c2", "c1"), between);
}

#[tokio::test(start_paused = true)]
async fn who_forwards_tries_once() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    cluster.faults.set("c1", "b1", Fault::LoseReplies);
    let error = cluster.write("a1").await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Ambiguous, "what the relay can't tell, nobody can");
    assert_eq!(error.verdict, Verdict::Ambiguous);
    assert_eq!(cluster.log().effects, 1);
    assert_eq!(cluster.faults.crossed("c1", "b1"), 1);
    let relayed: Vec<_> = error.trail.iter().filter(|tried| tried.node.as_str() == "c1").collect();
    let [relay] = relayed[..] else { panic!("{error}") };
    assert_eq!(relay.outcome, Outcome::MaybeSent);
    assert!(relay.reason.contains("by way of c1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_no_relay_could_send_was_not_executed() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    cluster.faults.set("c1", "b1", Fault::Cut);
    let error = cluster.write("a1").await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotSent) });
    let forwards = cluster.faults.crossed("a1", "c1");
    assert!(forwards > 1 && forwards < error.attempts as usize, "{forwards} forwards: {error}");
    assert_eq!(cluster.log().executed, []);
}

#[tokio::test(start_paused = true)]
async fn a_write_is_executed_by_a_replica_whose_newer_table_says_that_it_is_the_primary() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.learns("c1", group(6, &["c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6).after(2));
    assert_eq!(cluster.epoch("a1"), 6);
    let executed = &cluster.log().executed;
    assert!(executed.iter().all(|executed| executed.access == Access::Write && executed.epoch == 6));
}
