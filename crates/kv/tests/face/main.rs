//! Three nodes of the service in one process, called as the router and a gRPC client call it.

#![allow(clippy::unwrap_used, reason = "the helpers of tests panic as the tests do")]

mod cluster;
#[path = "../support/mod.rs"]
mod support;

use std::collections::HashSet;
use std::time::Duration;

use homing_kv::proto::{ListRequest, Version};
use homing_kv::{Batch, Key, Op, Position, Proposal, Value};
use homing_types::{Access, Epoch, Execution, Grant, IdempotencyKey, Role};
use tonic::Code;

use cluster::{Caller, Cluster, NODES, Net, logged, owners, until};
use support::{Disk, space};

#[tokio::test]
async fn what_is_acknowledged_is_shown_by_every_copy() {
    let cluster = Cluster::new();
    let primary = cluster.primary();
    let version = primary.put("k", "v").await.unwrap();
    assert_eq!(version, Version { epoch: 1, seq: 1 });
    for node in NODES {
        let reader = cluster.at(node, Access::Read);
        assert_eq!(reader.get("k").await.unwrap(), Some(("v".to_owned(), version)), "{node}");
        assert_eq!(reader.keys().await, ["k"], "{node}");
        assert_eq!(reader.clone().space("other").get("k").await.unwrap(), None, "{node}");
    }
    assert!(primary.delete("k").await.unwrap());
    assert!(!primary.delete("k").await.unwrap());
    for node in NODES {
        assert_eq!(cluster.at(node, Access::Read).get("k").await.unwrap(), None, "{node}");
    }
}

#[tokio::test]
async fn wrong_input_is_an_answer_that_names_field_problem_and_remedy() {
    let cluster = Cluster::new();
    let primary = cluster.primary();
    let long = "x".repeat(1 << 20);
    let wrong = [
        (primary.put("", "v").await.map(drop), "the key is empty: a key is 1 to 1,024 bytes"),
        (primary.get(&long[..1025]).await.map(drop), "the key has 1025 bytes: a key is 1 to 1,024 bytes"),
        (primary.put("k", &(long.clone() + "x")).await.map(drop), "the value has 1048577 bytes"),
        (cluster.at("n1", Access::Read).put("k", "v").await.map(drop), "the access is read"),
        (cluster.at("n1", Access::ReadPrimary).delete("k").await.map(drop), "use homing-access: write"),
    ];
    for (result, message) in wrong {
        let (code, text) = result.unwrap_err().status();
        assert_eq!(code, Code::InvalidArgument);
        assert!(text.contains(message), "{text}");
    }
    let list = ListRequest { limit: 1_001, ..ListRequest::default() };
    assert_eq!(primary.client().list(list).await.unwrap_err().code(), Code::InvalidArgument);
    primary.put(&long[..1024], &long).await.unwrap();
    assert_eq!(primary.keys().await.len(), 1);
}

#[tokio::test]
async fn a_retry_with_its_key_is_the_same_write_and_another_write_is_an_error() {
    let cluster = Cluster::new();
    let caller = cluster.primary().key(7);
    let version = caller.put("k", "v").await.unwrap();
    assert_eq!(caller.put("k", "v").await.unwrap(), version);
    let (code, text) = caller.put("k", "other").await.unwrap_err().status();
    assert_eq!(code, Code::AlreadyExists);
    assert!(text.contains("use a new key for a new write"), "{text}");
    // Another primary knows it, too.
    for node in NODES {
        cluster.learn(node, 2, owners("n3", &["n1", "n2"]));
    }
    assert_eq!(cluster.at("n3", Access::Write).key(7).put("k", "v").await.unwrap(), version);
}

#[tokio::test]
async fn a_write_that_misses_a_replica_says_so_and_later_ones_are_not_executed() {
    let cluster = Cluster::new();
    let primary = cluster.primary();
    primary.put("before", "v").await.unwrap();
    cluster.down_after("n3", 1);
    let maybe = primary.clone().patience(300).put("maybe", "v").await.unwrap_err().declined();
    assert_eq!(maybe.execution, Execution::Maybe);
    for part in ["\"acme\"", "n1", "n3", "the dial failed", "times"] {
        assert!(maybe.reason.contains(part), "{part}: {}", maybe.reason);
    }
    let later = primary.clone().patience(300).put("never", "v").await.unwrap_err().declined();
    assert_eq!(later.execution, Execution::No, "{}", later.reason);
    assert!(later.reason.contains("n3") && later.reason.contains("acme"), "{}", later.reason);
    for node in NODES {
        let reader = cluster.at(node, Access::Read);
        assert!(reader.get("before").await.unwrap().is_some(), "{node} reads on");
        assert_eq!(reader.get("maybe").await.unwrap(), None, "{node} shows only what is committed");
    }
    cluster.up("n3");
    primary.put("after", "v").await.unwrap();
    for node in NODES {
        assert_eq!(cluster.at(node, Access::Read).keys().await, ["after", "before", "maybe"], "{node}");
    }
}

#[tokio::test]
async fn a_write_that_finds_a_replica_missing_is_not_executed() {
    let cluster = Cluster::new();
    cluster.down("n3");
    let declined = cluster.primary().patience(300).put("never", "v").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No, "{}", declined.reason);
    cluster.up("n3");
    cluster.primary().put("after", "v").await.unwrap();
    for node in NODES {
        assert_eq!(cluster.at(node, Access::Read).keys().await, ["after"], "{node}");
    }
}

#[tokio::test]
async fn a_primary_that_was_replaced_executes_nothing_as_soon_as_one_replica_knows() {
    let cluster = Cluster::new();
    cluster.learn("n2", 2, owners("n2", &["n1", "n3"]));
    let declined = cluster.primary().put("never", "v").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No, "{}", declined.reason);
    assert!(declined.reason.contains("epoch 2"), "{}", declined.reason);
    assert_eq!(cluster.at("n2", Access::Write).put("k", "v").await.unwrap(), Version { epoch: 2, seq: 1 });
}

#[tokio::test]
async fn a_write_outlasts_an_absence_that_is_shorter_than_its_deadline() {
    let cluster = Cluster::new();
    cluster.down_after("n2", 1);
    let caller = cluster.primary();
    let put = tokio::spawn(async move { caller.put("k", "v").await });
    until("n3 to have it in its log", async || logged(&cluster, "n3").await.is_some()).await;
    assert!(!put.is_finished());
    cluster.up("n2");
    assert_eq!(put.await.unwrap().unwrap(), Version { epoch: 1, seq: 1 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn declined_as_not_executed_means_never_executed_and_a_full_queue_declines() {
    let cluster = Cluster::new();
    cluster.down_after("n3", 1);
    let mut writes = tokio::task::JoinSet::new();
    for i in 0..1_000 {
        // Each caller has a slot of its own for what is declined.
        let caller = cluster.primary().patience(400);
        writes.spawn(async move { (format!("k{i:04}"), caller.put(&format!("k{i:04}"), "v").await) });
    }
    let (mut maybe, mut full) = (HashSet::new(), 0);
    while let Some(written) = writes.join_next().await {
        let (key, result) = written.unwrap();
        let declined = result.unwrap_err().declined();
        full += u32::from(declined.reason.contains("wait already"));
        if declined.execution == Execution::Maybe {
            maybe.insert(key);
        }
    }
    assert!(full > 0 && !maybe.is_empty(), "{full} {}", maybe.len());
    cluster.up("n3");
    // Until the task looks, calls that nobody waits for any more keep their places in the queue.
    until("a place in the queue", async || match cluster.primary().put("k0000", "v").await {
        Ok(_) => true,
        Err(failed) => {
            assert_eq!(failed.declined().execution, Execution::No);
            false
        }
    })
    .await;
    maybe.insert("k0000".to_owned());
    for node in NODES {
        let keys = cluster.at(node, Access::Read).keys().await;
        assert_eq!(keys.into_iter().collect::<HashSet<_>>(), maybe, "{node}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_share_a_sync() {
    let cluster = Cluster::new();
    // So that the machine has time to bring the others meanwhile, however busy it is elsewhere.
    cluster.nodes["n2"].disk.sync_takes(Duration::from_millis(20));
    for spaces in [1, 50] {
        let before = cluster.nodes["n2"].disk.syncs();
        let mut writes = tokio::task::JoinSet::new();
        for i in 0..200 {
            let caller = cluster.primary().space(&format!("s{}", i % spaces));
            writes.spawn(async move { caller.put(&format!("k{i}"), "v").await });
        }
        while let Some(written) = writes.join_next().await {
            written.unwrap().unwrap();
        }
        let syncs = cluster.nodes["n2"].disk.syncs() - before;
        assert!(syncs < 100, "{syncs} syncs for 200 writes to {spaces} spaces");
    }
}

#[tokio::test]
async fn an_idle_node_syncs_its_commits() {
    let mut cluster = Cluster::new();
    cluster.primary().put("k", "v").await.unwrap();
    let synced = cluster.nodes["n2"].disk.syncs();
    until("n2 to sync", async || cluster.nodes["n2"].disk.syncs() > synced).await;
    cluster.restart("n2");
    cluster.down("n1");
    assert!(cluster.at("n2", Access::Read).get("k").await.unwrap().is_some(), "it need not ask anybody");
}

/// A cluster where the primary and a replica have lost, in a crash, that a write was committed.
async fn crashed(lost: &[&'static str]) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.primary().put("k", "v").await.unwrap();
    lost.iter().for_each(|node| cluster.restart(node));
    cluster
}

#[tokio::test]
async fn copies_that_lost_what_is_committed_find_out_before_they_show_anything() {
    for lost in [&["n1"][..], &["n2"], &["n1", "n2"], &NODES] {
        for first in NODES {
            let cluster = crashed(lost).await;
            let shown = cluster.at(first, Access::Read).get("k").await.unwrap();
            assert_eq!(shown.map(|(value, _)| value).as_deref(), Some("v"), "{first} of {lost:?}");
        }
    }
}

#[tokio::test]
async fn a_copy_that_can_not_find_out_declines_and_names_whom_it_asked() {
    let cluster = crashed(&["n2"]).await;
    cluster.down("n1");
    let declined = cluster.at("n2", Access::Read).get("k").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No);
    for part in ["n2", "acme", "n1", "the dial failed"] {
        assert!(declined.reason.contains(part), "{}", declined.reason);
    }
    cluster.up("n1");
    assert!(cluster.at("n2", Access::Read).get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_replaced_primary_acknowledges_nothing() {
    let cluster = Cluster::new();
    cluster.primary().put("k", "old").await.unwrap();
    for node in ["n2", "n3"] {
        cluster.learn(node, 2, owners("n2", &["n3"]));
    }
    let version = cluster.at("n2", Access::Write).put("k", "new").await.unwrap();
    assert_eq!(version, Version { epoch: 2, seq: 2 });

    let declined = cluster.primary().put("k", "lost").await.unwrap_err().declined();
    assert!(declined.reason.contains("epoch 2"), "{}", declined.reason);
    // Its own store hasn't seen epoch 2; once its table has, it is no primary any more.
    cluster.learn("n1", 2, owners("n2", &["n3"]));
    let grant = Grant { role: Role::Primary, ..cluster.primary().grant };
    let stale = Caller { grant, ..cluster.primary() };
    let declined = stale.put("k", "lost").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No);
    assert!(declined.reason.contains("its primary in epoch 2 is n2"), "{}", declined.reason);

    // It comes back as a replica, and its own write is gone.
    for node in NODES {
        cluster.learn(node, 3, owners("n2", &["n1", "n3"]));
    }
    let latest = cluster.at("n2", Access::Write).put("k2", "v").await.unwrap();
    assert_eq!(latest.seq, 3);
    for node in NODES {
        let shown = cluster.at(node, Access::Read).get("k").await.unwrap();
        assert_eq!(shown, Some(("new".to_owned(), version)), "{node}");
    }

    // Its table is restored from a backup, say: its own store knows better.
    cluster.learn("n1", 1, owners("n1", &["n2", "n3"]));
    let declined = cluster.primary().put("k", "lost").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No);
    assert!(declined.reason.contains("epoch 3"), "{}", declined.reason);
}

#[tokio::test]
async fn a_primary_that_is_replaced_while_it_writes_does_not_acknowledge() {
    let cluster = Cluster::new();
    let replaced = |net: &Net| net.learn("n1", 2, owners("n2", &["n1", "n3"]));
    *cluster.net.then.lock().unwrap() = Some(Box::new(replaced));
    let declined = cluster.primary().put("k", "v").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::Maybe);
    assert!(declined.reason.contains("its primary in epoch 2 is n2"), "{}", declined.reason);
}

#[tokio::test]
async fn a_change_of_owners_frees_the_writes_that_wait_for_the_old_ones() {
    let cluster = Cluster::new();
    cluster.down_after("n3", 1);
    let caller = cluster.primary();
    let put = tokio::spawn(async move { caller.put("k", "v").await });
    until("n2 to have it in its log", async || logged(&cluster, "n2").await.is_some()).await;
    cluster.learn("n1", 2, owners("n1", &["n2"]));
    let version = put.await.unwrap().unwrap();
    assert_eq!(version, Version { epoch: 1, seq: 1 });
    let reader =
        Caller { grant: Grant { epoch: Epoch::new(2), ..cluster.primary().grant }, ..cluster.primary() };
    assert!(reader.get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_replica_that_lost_its_disk_gets_a_full_copy() {
    let mut cluster = Cluster::new();
    for i in 0..4 {
        cluster.primary().put(&format!("k{i}"), &"x".repeat(600_000)).await.unwrap();
    }
    cluster.start("n3", Disk::new());
    cluster.primary().put("last", "v").await.unwrap();
    assert_eq!(cluster.at("n3", Access::Read).keys().await, ["k0", "k1", "k2", "k3", "last"]);
}

#[tokio::test]
async fn a_primary_that_lost_its_disk_executes_nothing() {
    for writes in 1..4 {
        let mut cluster = Cluster::new();
        for i in 0..writes {
            cluster.primary().put("k", &format!("v{i}")).await.unwrap();
        }
        cluster.start("n1", Disk::new());
        for _ in 0..4 {
            let declined = cluster.primary().put("k", "other").await.unwrap_err().declined();
            assert!(declined.reason.contains("don't share a history"), "{}", declined.reason);
        }
        let shown = cluster.at("n2", Access::Read).get("k").await.unwrap().unwrap().0;
        assert_eq!(shown, format!("v{}", writes - 1));
    }
}

/// The word of one other owner is enough, so a dead one keeps nobody from reading.
#[tokio::test]
async fn a_node_that_lost_its_disk_shows_nothing_less_and_a_replica_is_brought_along() {
    for lost in NODES {
        let mut cluster = Cluster::new();
        let version = cluster.primary().put("k", "v").await.unwrap();
        cluster.start(lost, Disk::new());
        let reader = cluster.at(lost, Access::Read);
        let declined = reader.get("k").await.unwrap_err().declined();
        assert_eq!(declined.execution, Execution::No);
        for part in [lost, "acme", "its data was lost"] {
            assert!(declined.reason.contains(part), "{part}: {}", declined.reason);
        }
        for other in NODES.into_iter().filter(|node| *node != lost) {
            let shown = cluster.at(other, Access::Read).get("k").await.unwrap();
            assert_eq!(shown, Some(("v".to_owned(), version)), "{other}");
        }
        if lost != "n1" {
            until("the replica to be brought along", async || reader.get("k").await.is_ok()).await;
            assert_eq!(reader.get("k").await.unwrap(), Some(("v".to_owned(), version)));
        }
    }
}

#[tokio::test]
async fn that_a_space_is_empty_is_known_while_one_other_owner_answers() {
    let cluster = Cluster::new();
    cluster.down("n1");
    assert_eq!(cluster.at("n2", Access::Read).get("k").await.unwrap(), None);
    cluster.down("n3");
    let declined = cluster.at("n2", Access::Read).get("k").await.unwrap_err().declined();
    assert!(declined.reason.contains("no other owner can say"), "{}", declined.reason);
}

/// Found by the simulation: what another owner only has in its log nobody was told of, so it is no reason to decline reads for ever.
#[tokio::test]
async fn a_space_with_nothing_but_a_write_that_nobody_was_told_of_is_empty() {
    let mut cluster = Cluster::new();
    propose(&cluster, "n2");
    assert_eq!(cluster.primary().get("k").await.unwrap(), None);

    // Found by the simulation, too: after a restart it must find out what is committed when it is asked, and not wait for a write.
    cluster.restart("n2");
    cluster.down("n3");
    until("n2 to find out", async || cluster.primary().get("k").await.is_ok()).await;
    assert_eq!(cluster.primary().get("k").await.unwrap(), None);
}

/// A write that has come no further than to the log of one node.
fn propose(cluster: &Cluster, node: &str) -> Position {
    let op = Op::Put { key: Key::new("k").unwrap(), value: Value::new("v").unwrap() };
    let propose = |batch: &mut Batch<'_>| Ok(batch.propose(&space(), Epoch::new(1), &op, Some(year_9999())));
    match cluster.nodes[node].kv.store().write(propose).unwrap().unwrap() {
        Proposal::Appended(position) => position,
        other => panic!("the log was empty: {other:?}"),
    }
}

#[tokio::test]
async fn a_key_from_the_future_is_refused_before_it_shuts_out_the_others() {
    let cluster = Cluster::new();
    let caller = Caller { key: Some(year_9999()), ..cluster.primary() };
    let (code, text) = caller.put("k", "v").await.unwrap_err().status();
    assert_eq!(code, Code::InvalidArgument);
    assert!(text.contains("set the clock"), "{text}");
    assert_eq!(cluster.primary().get("k").await.unwrap(), None);
}

fn year_9999() -> IdempotencyKey {
    IdempotencyKey::from_bytes([0xe6, 0x77, 0xd2, 0x1f, 0xd8, 0x00, 0x70, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])
        .unwrap()
}

/// Its first try was left open at a primary with another clock: a refusal would say that it was not executed.
#[tokio::test]
async fn a_key_from_the_future_whose_write_is_here_is_answered() {
    let cluster = Cluster::new();
    let position = propose(&cluster, "n1");
    let caller = Caller { key: Some(year_9999()), ..cluster.primary() };
    let version = caller.put("k", "v").await.unwrap();
    assert_eq!((version.epoch, version.seq), (position.epoch.number(), position.seq));
    assert_eq!(cluster.primary().get("k").await.unwrap(), Some(("v".to_owned(), version)));
}

#[tokio::test]
async fn a_replica_says_how_old_its_answer_may_be_and_asks_its_primary_when_that_is_too_old() {
    let cluster = Cluster::new();
    cluster.primary().put("k", "v").await.unwrap();
    assert_eq!(cluster.primary().age("k").await.unwrap(), None, "what the primary shows is never old");
    let replica = cluster.at("n2", Access::Read);
    let age = replica.age("k").await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(replica.age("k").await.unwrap().unwrap() >= age + Duration::from_millis(20));
    let bound = Duration::from_millis(10);
    assert!(
        replica.clone().max_age(bound).age("k").await.unwrap().unwrap() <= bound + Duration::from_secs(1)
    );

    cluster.down("n1");
    let minute = replica.clone().max_age(Duration::from_secs(60));
    assert_eq!(minute.get("k").await.unwrap().unwrap().0, "v", "new enough");
    tokio::time::sleep(bound).await;
    let declined = replica.clone().max_age(bound).get("k").await.unwrap_err().declined();
    assert_eq!(declined.execution, Execution::No);
    assert!(declined.reason.contains("new enough"), "{}", declined.reason);
    assert_eq!(replica.get("k").await.unwrap().unwrap().0, "v", "without a bound any answer will do");
}

#[tokio::test]
async fn a_replica_that_knows_of_other_owners_has_heard_nothing_of_their_primary_yet() {
    let cluster = Cluster::new();
    cluster.primary().put("k", "v").await.unwrap();
    assert!(cluster.at("n2", Access::Read).age("k").await.unwrap().is_some());
    for node in NODES {
        cluster.learn(node, 2, owners("n3", &["n1", "n2"]));
    }
    let replica = cluster.at("n2", Access::Read);
    assert_eq!(replica.age("k").await.unwrap(), None);
    assert!(replica.clone().max_age(Duration::from_secs(1)).age("k").await.unwrap().is_some(), "it asks");
}
