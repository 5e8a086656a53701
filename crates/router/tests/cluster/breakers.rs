//! A peer that fails its calls is tried last, until it was probed and has stood a trial.

use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use homing_router::PING_PATH;
use homing_transport::{Body, BodyError, Lane};
use homing_types::{Access, Execution};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Fault, Served, call, call_within, group, space};

/// Between two reads.
const STEP: Duration = Duration::from_millis(50);

fn why(cluster: &Cluster, access: Access) -> Vec<(String, String, String)> {
    let route = cluster.node("a2").router.explain(&space(), access);
    let placed = route.plan.into_iter();
    placed
        .map(|p| (p.candidate.node.to_string(), p.standing.circuit.as_str().to_owned(), p.why.into_owned()))
        .collect()
}

/// Reads through a2 until its breaker for a1, the nearest owner, is open.
async fn opened(cluster: &Cluster) {
    for _ in 0..50 {
        cluster.read("a2").await.expect("an answer");
        if why(cluster, Access::Read).iter().any(|(node, circuit, _)| node == "a1" && circuit == "open") {
            return;
        }
    }
    panic!("the breaker stays closed: {:?}", why(cluster, Access::Read));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_is_tried_last_for_this_access_alone_and_comes_back() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    cluster.node("a1").service.always(Behaviour::decline(Execution::Maybe, Duration::ZERO));
    opened(&cluster).await;
    let failed = Instant::now();
    let reads = why(&cluster, Access::Read);
    assert_eq!(reads[0].0, "b1");
    assert_eq!(
        reads[1],
        ("a1".to_owned(), "open".to_owned(), "primary, breaker open: tried last".to_owned())
    );
    assert_eq!(why(&cluster, Access::Write)[0].1, "closed", "writes have a breaker of their own");
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5), "nobody pays for it");

    cluster.node("a1").service.always(Behaviour::Answer);
    while Served::of(&cluster.read("a2").await).by != "a1" {
        assert!(
            failed.elapsed() < Duration::from_secs(5),
            "it never closes: {:?}",
            why(&cluster, Access::Read)
        );
        tokio::time::sleep(STEP).await;
    }
    assert!(failed.elapsed() >= Duration::from_millis(500), "{:?}", failed.elapsed());
    assert_eq!(why(&cluster, Access::Read)[0].1, "closed");
    assert_eq!(cluster.faults.directs(PING_PATH), 1, "one probe");
    // Opened, half-opened, closed.
    assert_eq!(cluster.counted("homing_breaker_changes_total"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stays_ill_is_probed_and_tried_ever_less_often() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    cluster.node("a1").service.always(Behaviour::decline(Execution::Maybe, Duration::ZERO));
    opened(&cluster).await;
    let tried = cluster.faults.crossed("a2", "a1");
    let began = Instant::now();
    let mut reads = 0;
    while began.elapsed() < Duration::from_secs(60) {
        cluster.read("a2").await.unwrap();
        reads += 1;
        tokio::time::sleep(STEP).await;
    }
    let trials = cluster.faults.crossed("a2", "a1") - tried;
    assert!((3..=8).contains(&trials), "{trials} trials among {reads} reads");
    assert!(cluster.faults.directs(PING_PATH) >= trials);
}

#[tokio::test(start_paused = true)]
async fn the_last_owner_standing_is_tried_whatever_its_breaker_says() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    cluster.node("a1").service.always(Behaviour::decline(Execution::Maybe, Duration::ZERO));
    opened(&cluster).await;
    cluster.node("a1").service.always(Behaviour::Answer);
    cluster.faults.set("a2", "b1", Fault::Cut);
    assert_eq!(Served::of(&cluster.read("a2").await).by, "a1");
}

/// What a caller can't wait for, or breaks off itself, is no fault of the peer.
#[tokio::test(start_paused = true)]
async fn callers_in_a_hurry_and_broken_bodies_do_not_count_against_a_peer() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    for access in Access::ALL {
        cluster.call("a2", call(access)).await.unwrap();
    }
    let dials = cluster.faults.dials("a2", "a1", Lane::Payload);
    cluster.node("a1").service.always(Behaviour::Slow(Duration::from_millis(60)));
    for access in Access::ALL {
        for _ in 0..30 {
            let hurried = cluster.call("a2", call_within(access, Duration::from_millis(20))).await;
            assert!(hurried.is_err() || access == Access::Read);
        }
    }
    for _ in 0..30 {
        let broken = futures_util::stream::iter([Err(BodyError::Deadline)]);
        let broken = Body::new(StreamBody::new(broken.map_ok(Frame::<Bytes>::data)));
        let _ = cluster.send("a2", call(Access::Write), broken).await;
    }
    assert_eq!(cluster.counted("homing_breaker_changes_total"), 0);
    assert_eq!(cluster.faults.dials("a2", "a1", Lane::Payload), dials.max(2), "no connection was replaced");
}

/// One space of a thousand fails; its peer is as good for the others as before.
#[tokio::test(start_paused = true)]
async fn one_space_that_always_fails_does_not_take_its_neighbours_along() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["a1", "b1"]));
    for i in 0..1_000 {
        if i % 10 == 0 {
            cluster.node("a1").service.first(Behaviour::decline(Execution::No, Duration::ZERO));
        }
        cluster.read("a2").await.unwrap();
        assert_eq!(
            why(&cluster, Access::Read)[0],
            ("a1".into(), "closed".into(), "primary".into()),
            "read {i}"
        );
    }
    assert_eq!(cluster.counted("homing_breaker_changes_total"), 0);
}
