//! The ordinary cost: no hop at an owner for that access, one elsewhere.

use std::collections::BTreeSet;

use homing_types::{Access, Epoch, Owners, Role};

use crate::support::{Cluster, Served, call, group, node_id, space};

#[tokio::test(start_paused = true)]
async fn a_write_takes_no_hop_at_the_primary_and_one_elsewhere() {
    let cluster = Cluster::knowing(["a1", "a2", "b1", "b2", "c1"], group(5, &["b1", "a1", "~c1"]));
    for access in [Access::Write, Access::ReadPrimary] {
        for entry in cluster.ids() {
            let answer = cluster.call(entry, call(access)).await;
            let hops = u8::from(entry != "b1");
            assert_eq!(Served::of(&answer), Served::by_primary("b1", hops, 5), "{access} at {entry}");
        }
    }
    let log = cluster.log();
    assert_eq!(log.executed.len(), 10);
    assert!(log.executed.iter().all(|executed| executed.role == Role::Primary && executed.epoch == 5));
    assert_eq!(log.effects, 5);
}

#[tokio::test(start_paused = true)]
async fn a_read_takes_no_hop_at_any_owner_in_sync_and_one_elsewhere() {
    let cluster = Cluster::knowing(["a1", "a2", "b1", "b2", "c1"], group(5, &["b1", "a1", "~c1"]));
    for (entry, by) in [("a1", "a1"), ("b1", "b1"), ("a2", "a1"), ("b2", "b1")] {
        let served = Served::of(&cluster.read(entry).await);
        let hops = u8::from(entry != by);
        let expected =
            if by == "b1" { Served::by_primary("b1", hops, 5) } else { Served::by_replica("a1", hops, 5) };
        assert_eq!(served, expected, "at {entry}: the nearest owner");
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_catches_up_never_serves_a_read() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "a1", "~c1"]));
    let mut by = BTreeSet::new();
    for _ in 0..50 {
        let served = Served::of(&cluster.read("c1").await);
        assert_eq!(served.hops, 1);
        by.insert(served.by);
    }
    assert_eq!(by, BTreeSet::from(["a1".to_owned(), "b1".to_owned()]), "equally far, so both in turn");

    let stale = Cluster::of(["a1", "b1", "c1", "c2"]);
    stale.learns("c2", group(4, &["b1", "c1"]));
    for id in ["a1", "b1", "c1"] {
        stale.learns(id, group(5, &["b1", "a1", "~c1"]));
    }
    let served = Served::of(&stale.read("c2").await);
    assert_eq!((served.hops, served.epoch), (2, 5), "c1 is the nearest, but sends it on: {served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pinned_space_lives_with_its_own_owners() {
    let mut pinned = group(5, &["a1"]);
    pinned.pins.insert(space().key(), Owners::new(node_id("c1"), Vec::new()).unwrap());
    let cluster = Cluster::knowing(["a1", "b1", "c1"], pinned);
    for (entry, hops) in [("a1", 1), ("b1", 1), ("c1", 0)] {
        assert_eq!(Served::of(&cluster.write(entry).await), Served::by_primary("c1", hops, 5), "{entry}");
        let route = cluster.node(entry).router.explain(&space(), Access::Write);
        assert!(route.pinned);
        assert_eq!((route.epoch, route.primary), (Epoch::new(5), Some(node_id("c1"))));
    }
}
