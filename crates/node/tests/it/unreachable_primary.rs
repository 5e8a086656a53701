//! A primary that one node alone can't reach: the others can, so its requests go by way of them. One that is only slow to
//! reach is not gone around.

use std::time::Duration;

use homing::Access;
use tokio::time::Instant;

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, every, new_key};

const CALLS: usize = 200;

/// n5, whose way to n2 is cut.
const ENTRY: usize = 4;
const PRIMARY: usize = 1;

on_each_wire!(a_primary_that_its_entry_cannot_reach_is_reached_by_way_of_a_replica);
async fn a_primary_that_its_entry_cannot_reach_is_reached_by_way_of_a_replica(wire: &'static str) {
    let mut cluster = Cluster::prepare(Layout::five(wire));
    let relay = cluster.relay(PRIMARY, &[ENTRY]).await;
    cluster.start_all().await;
    let spaces = OwnersOf::ask(&cluster.nodes[0]).await.spaces_of("n2", CALLS);
    let kv = cluster.kv(ENTRY);
    let direct = kv.put(&spaces[0], "key", b"value").await.unwrap();
    assert_eq!((direct.by.as_str(), direct.hops, direct.attempts), ("n2", 1, 1));
    assert!(relay.requests_passed() > 0, "the entry has another way");

    relay.cut();
    // Until the entry knows, a request may be under way for all it can tell, and only with a key goes again.
    let started = Instant::now();
    loop {
        let served = kv.put_with_key(&spaces[0], "key", b"value", new_key()).await.unwrap();
        assert_eq!((served.by.as_str(), served.hops), ("n2", 2));
        let route = cluster.nodes[ENTRY].admin_json(&format!("/route?space={}", spaces[0])).await;
        let last = route["plan"].as_array().unwrap().last().unwrap();
        if last["node"] == "n2" && last["why"].as_str().unwrap().contains("suspected") {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "n5 does not see that n2 is away: {route}");
    }

    every(spaces.clone(), |space| {
        let kv = kv.clone();
        async move {
            let served = kv.put(&space, "key", space.as_bytes()).await.unwrap();
            assert_eq!((served.by.as_str(), served.role.as_str()), ("n2", "primary"), "{space}");
            assert_eq!((served.hops, served.attempts), (2, 1), "{space}");
        }
    })
    .await;
    every(spaces.clone(), |space| {
        let kv = kv.clone();
        async move {
            let served = kv.get_with(&space, "key", Access::ReadPrimary).await.unwrap();
            assert_eq!(served.value.as_deref(), Some(space.as_bytes()), "{space}");
            assert_eq!((served.by.as_str(), served.role.as_str()), ("n2", "primary"), "{space}");
            assert_eq!((served.hops, served.attempts), (2, 1), "{space}");
        }
    })
    .await;
    assert!(relay.requests_swallowed() > 0, "nothing was cut off");

    relay.mend();
    let started = Instant::now();
    loop {
        let served = kv.put(&spaces[0], "key", b"value").await.unwrap();
        assert_eq!(served.by, "n2");
        if served.hops == 1 {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "n5 does not see that n2 is back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    every(spaces, |space| {
        let kv = kv.clone();
        async move {
            let served = kv.put(&space, "key", b"value").await.unwrap();
            assert_eq!((served.by.as_str(), served.hops, served.attempts), ("n2", 1, 1), "{space}");
        }
    })
    .await;
}

on_each_wire!(a_primary_that_is_slow_to_reach_is_not_gone_around);
async fn a_primary_that_is_slow_to_reach_is_not_gone_around(wire: &'static str) {
    const DELAY: Duration = Duration::from_millis(150);
    let mut cluster = Cluster::prepare(Layout::five(wire));
    let relay = cluster.relay(PRIMARY, &[ENTRY]).await;
    cluster.start_all().await;
    let spaces = OwnersOf::ask(&cluster.nodes[0]).await.spaces_of("n2", CALLS);
    let kv = cluster.kv(ENTRY);
    relay.delay(DELAY);
    every(spaces, |space| {
        let kv = kv.clone();
        async move {
            let started = Instant::now();
            let served = kv.put(&space, "key", b"value").await.unwrap();
            assert!(started.elapsed() >= 2 * DELAY, "{space}: {:?}", started.elapsed());
            assert_eq!((served.by.as_str(), served.hops, served.attempts), ("n2", 1, 1), "{space}");
        }
    })
    .await;
}
