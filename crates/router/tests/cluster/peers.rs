//! The pool: few dials, no dead connections, and suspects that come back by themselves.

use std::sync::Arc;
use std::time::Duration;

use homing_router::PoolOptions;
use homing_transport::Lane;
use homing_types::Access;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Cluster, ECHO_PATH, Fault, Served, Setup, group, node_id, settle, space, within};

const SUSPICION: Duration = Duration::from_secs(1);

fn pool(connections: usize) -> Setup {
    Setup {
        pool: PoolOptions { connections, suspicion: SUSPICION, ..PoolOptions::default() },
        ..Setup::default()
    }
}

async fn burst_dials_once_a_connection() {
    for connections in [1, 3] {
        let cluster = Arc::new(Cluster::with(["a1", "b1"], pool(connections)));
        cluster.all_learn(group(5, &["b1"]));
        let mut calls = JoinSet::new();
        for _ in 0..1_000 {
            let cluster = Arc::clone(&cluster);
            calls.spawn(async move { Served::of(&cluster.write("a1").await) });
        }
        assert!(calls.join_all().await.iter().all(|served| *served == Served::by_primary("b1", 1, 5)));
        let dials = || cluster.faults.dials("a1", "b1", Lane::Payload);
        let all = async {
            while dials() < connections {
                cluster.write("a1").await.expect("an answer");
                settle().await;
            }
        };
        within("all connections", all).await;
        cluster.write("a1").await.expect("an answer");
        assert_eq!((dials(), cluster.faults.dials("a1", "b1", Lane::Control)), (connections, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_to_a_fresh_peer_dials_once_a_connection() {
    burst_dials_once_a_connection().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_on_several_threads_dials_once_a_connection() {
    burst_dials_once_a_connection().await;
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_direct_messages_dials_once_on_the_control_lane() {
    let cluster = Cluster::of(["a1", "b1"]);
    let peers = cluster.node("a1").router.peers();
    let to = node_id("b1");
    let messages = (0..1_000).map(|_| peers.direct(&to, ECHO_PATH, "hi".into(), SUSPICION));
    assert!(futures_util::future::join_all(messages).await.iter().all(Result::is_ok));
    assert_eq!(cluster.faults.dials("a1", "b1", Lane::Control), 1);
    assert_eq!(cluster.faults.dials("a1", "b1", Lane::Payload), 0);
    // What was lost on one must not hold up all that members tell each other.
    let more = async {
        while cluster.faults.dials("a1", "b1", Lane::Control) < 2 {
            peers.direct(&to, ECHO_PATH, "hi".into(), SUSPICION).await.expect("an answer");
            settle().await;
        }
    };
    within("a second connection", more).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_replaced() {
    let cluster = Cluster::with(["a1", "b1"], pool(1));
    cluster.all_learn(group(5, &["b1"]));
    for dials in 1..=3 {
        assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 1, 5));
        assert_eq!(cluster.faults.dials("a1", "b1", Lane::Payload), dials);
        cluster.faults.disconnect("a1", "b1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_restarted_is_reached_again() {
    let mut cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
    cluster.write("a1").await.unwrap();
    cluster.kill("b1");
    cluster.write("a1").await.unwrap_err();
    cluster.start("b1");
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_stands_at_the_back_and_comes_back_without_any_requests_risk() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    let first = || {
        let route = cluster.node("a2").router.explain(&space(), Access::Read);
        (route.plan[0].candidate.node.to_string(), route.plan.last().unwrap().why.clone().into_owned())
    };
    assert_eq!(first().0, "a1");
    cluster.faults.set("a2", "a1", Fault::Cut);
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5).after(2));
    assert_eq!(first(), ("b1".to_owned(), "primary, suspected: tried last".to_owned()));

    let failed = Instant::now();
    cluster.faults.heal("a2", "a1");
    let dials = cluster.faults.dials("a2", "a1", Lane::Payload);
    while first().0 != "a1" {
        assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5), "no risk");
        settle().await;
        assert!(failed.elapsed() < 2 * SUSPICION, "it never comes back");
    }
    let away = failed.elapsed();
    assert!((SUSPICION..SUSPICION + Duration::from_millis(50)).contains(&away), "{away:?}");
    assert_eq!(cluster.faults.dials("a2", "a1", Lane::Payload), dials + 1);
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_primary("a1", 1, 5));
}

#[tokio::test(start_paused = true)]
async fn a_suspect_that_stays_away_is_probed_once_in_a_while() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    cluster.faults.set("a2", "a1", Fault::Cut);
    cluster.read("a2").await.unwrap();
    let dials = cluster.faults.dials("a2", "a1", Lane::Payload);
    let began = Instant::now();
    while began.elapsed() < SUSPICION * 5 {
        assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5));
        settle().await;
    }
    let probes = cluster.faults.dials("a2", "a1", Lane::Payload) - dials;
    assert!((4..=5).contains(&probes), "{probes}");
}
