//! A node that believes something old, wrong or nothing serves every request, and learns from the first reply.

use std::sync::Arc;

use homing_router::GROUP_PATH;
use homing_types::Access;
use tokio::sync::Semaphore;

use crate::support::{Cluster, Fault, Served, call, eventually, group, large_group, settle, slot};

const NODES: [&str; 5] = ["a1", "a2", "b1", "b2", "c1"];

#[tokio::test(start_paused = true)]
async fn a_node_one_epoch_behind_serves_and_learns_from_the_first_reply() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "a1"]));
    for id in ["a1", "b1", "b2", "c1"] {
        cluster.learns(id, group(6, &["c1", "b2"]));
    }
    assert_eq!(Served::of(&cluster.write("a2").await), Served::by_primary("c1", 2, 6), "by way of b1");
    assert_eq!(cluster.epoch("a2"), 6);
    assert_eq!(Served::of(&cluster.write("a2").await), Served::by_primary("c1", 1, 6));
    assert_eq!(cluster.faults.directs(GROUP_PATH), 0, "corrections travel with replies");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_wrongly_believes_in_an_owner_serves_and_learns() {
    let cluster = Cluster::knowing(NODES, group(1, &["b2", "a1"]));
    for id in ["a1", "b1", "b2", "c1"] {
        cluster.learns(id, group(6, &["c1"]));
    }
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_primary("c1", 2, 6));
    assert_eq!(cluster.epoch("a2"), 6);
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_primary("c1", 1, 6));
    assert_eq!(Served::of(&cluster.write("a2").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_believes_in_nobody_who_exists_serves_and_learns() {
    let cluster = Cluster::of(NODES);
    for (id, owners) in [("a1", &["gone"][..]), ("a2", &["gone", "lost"])] {
        cluster.learns(id, group(2, owners));
    }
    for id in ["b1", "b2", "c1"] {
        cluster.learns(id, group(6, &["c1"]));
    }
    for access in Access::ALL {
        let served = Served::of(&cluster.call("a1", call(access)).await);
        assert_eq!((served.by.as_str(), served.epoch), ("c1", 6), "{access}");
        assert!(served.hops <= 2, "{served:?}");
    }
    assert_eq!(cluster.epoch("a1"), 6);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_knows_nothing_serves_and_learns() {
    let cluster = Cluster::of(NODES);
    for id in ["b1", "b2", "c1"] {
        cluster.learns(id, group(6, &["c1"]));
    }
    let served = Served::of(&cluster.write("a1").await);
    assert_eq!((served.by.as_str(), served.epoch), ("c1", 6));
    assert!(
        served.attempts <= 2 && served.hops <= 2,
        "a2 knows nothing, any other node forwards: {served:?}"
    );
    assert_eq!(cluster.epoch("a1"), 6);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_behind_pulls_the_group_from_its_sender_and_executes() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(6, &["b1"]));
    cluster.learns("b1", group(5, &["c1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 1, 6));
    assert_eq!(cluster.epoch("b1"), 6);
    assert_eq!(cluster.faults.directs(GROUP_PATH), 1);
    assert_eq!(cluster.counted("homing_pulls_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_is_behind_pulls_the_group_from_its_sender_and_forwards() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(6, &["c1", "b1"]));
    cluster.learns("c1", group(6, &["c1", "b1"]));
    cluster.faults.set("a1", "c1", Fault::Cut);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 2, 6).after(2));
    assert_eq!(cluster.epoch("b1"), 6);
}

#[tokio::test(start_paused = true)]
async fn a_forward_brings_the_group_that_it_rests_on() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1"]));
    cluster.learns("b1", group(6, &["c1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 2, 6));
    assert_eq!(cluster.epoch("c1"), 6);
    assert_eq!(cluster.faults.directs(GROUP_PATH), 0);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_on_a_stale_entry_cause_one_pull() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1"]));
    for id in ["b1", "c1"] {
        cluster.learns(id, large_group(6, &["c1"]));
    }
    let answers = futures_util::future::join_all((0..1_000).map(|_| cluster.write("a1"))).await;
    for answer in &answers {
        assert_eq!(Served::of(answer), Served::by_primary("c1", 2, 6));
    }
    eventually("a1 has pulled the group", || cluster.epoch("a1") == 6).await;
    assert_eq!(cluster.faults.directs(GROUP_PATH), 1);
    assert_eq!(cluster.counted("homing_pulls_total"), 1);
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_calls_at_an_owner_that_is_behind_cause_one_pull() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", large_group(6, &["b1"]));
    cluster.learns("b1", group(5, &["c1"]));
    let answers = futures_util::future::join_all((0..1_000).map(|_| cluster.write("a1"))).await;
    for answer in &answers {
        assert_eq!(Served::of(answer), Served::by_primary("b1", 1, 6));
    }
    assert_eq!(cluster.faults.directs(GROUP_PATH), 1);
    assert_eq!(cluster.counted("homing_pulls_total"), 1);
    assert_eq!(cluster.log().effects, 1_000);
}

/// A pull answers with what its peer knew when it was asked. Who joins it later may have heard of something newer.
#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_request_does_not_make_it_a_phantom() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1"]));
    let arrive = Arc::new(Semaphore::new(0));
    cluster.faults.set("b1", "a1", Fault::HoldDirect(Arc::clone(&arrive)));
    let mut early = Box::pin(cluster.write("a1"));
    let mut late = Box::pin(async {
        eventually("the pull was answered", || cluster.faults.directs(GROUP_PATH) == 1).await;
        cluster.learns("a1", group(6, &["b1"]));
        cluster.write("a1").await
    });
    let joined = eventually("both wait for the pull", || cluster.faults.crossed("a1", "b1") == 2);
    tokio::select! {
        _ = &mut early => panic!("the pull is held"),
        _ = &mut late => panic!("the pull is held"),
        () = joined => {}
    }
    settle().await;
    arrive.add_permits(1);
    let (early, late) = tokio::join!(early, late);
    assert_eq!(Served::of(&early).by, "b1");
    assert_eq!(Served::of(&late), Served::by_primary("b1", 1, 6));
    assert_eq!(cluster.counted("homing_phantoms_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_disagree_at_one_epoch_notice_when_they_talk() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.learns("a1", group(5, &["b1"]));
    cluster.learns("b1", group(5, &["c1"]));
    cluster.write("a1").await.unwrap_err();
    assert!(cluster.node("a1").router.table().load().conflict(slot()));
    cluster.learns("a1", group(6, &["c1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("c1", 1, 6));
}

#[tokio::test(start_paused = true)]
async fn a_group_in_conflict_stops_writes_and_not_reads_until_a_higher_epoch_comes() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    for id in ["b1", "c1"] {
        cluster.learns(id, group(5, &["c1"]));
    }
    let error = cluster.write("a1").await.unwrap_err();
    assert!(error.to_string().contains("two groups came with one epoch"), "{error}");
    assert_eq!(cluster.log().executed, []);
    let read = Served::of(&cluster.read("a1").await);
    assert_eq!((read.hops, read.epoch), (1, 5));
    cluster.learns("b1", group(6, &["b1", "c1"]));
    assert_eq!(Served::of(&cluster.write("a1").await), Served::by_primary("b1", 1, 6));
}
