//! What is over a bound is refused, cheaply and clearly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_failover::Verdict;
use homing_router::{Call, Router, RouterOptions};
use homing_transport::{Body, BodyError, Head, Kind};
use homing_types::{Access, Outcome};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Served, Setup, call, eventually, fed, group, routed, within};

fn small(max_in_flight: usize) -> Setup {
    let mut options = RouterOptions::default();
    options.admission.max_in_flight = max_in_flight;
    Setup { options, ..Setup::default() }
}

#[tokio::test(start_paused = true)]
async fn a_node_at_its_limit_refuses_and_is_asked_again_later() {
    let cluster = Cluster::with(["a1", "b1", "c1"], small(1));
    cluster.all_learn(group(5, &["b1"]));
    let permits = Arc::new(Semaphore::new(0));
    cluster.node("b1").service.first(Behaviour::Hold(Arc::clone(&permits)));
    let second = async {
        cluster.until("b1 executes", |log| log.executed.len() == 1).await;
        let reply = cluster.says("a1", "b1", Head::of(Kind::Routed(routed(Access::Write, 5)))).await;
        assert_eq!(reply.head.outcome, Some(Outcome::Overloaded));
        assert!(reply.head.retry_after.is_some());
        assert!(reply.head.reason.contains("max_in_flight"), "{}", reply.head.reason);
        let freed = async {
            eventually("c1 has asked in vain", || cluster.faults.crossed("c1", "b1") >= 3).await;
            permits.add_permits(1);
        };
        tokio::join!(cluster.write("c1"), freed).0
    };
    let (first, second) = tokio::join!(cluster.write("a1"), second);
    assert_eq!(Served::of(&first), Served::by_primary("b1", 1, 5));
    let second = Served::of(&second);
    assert!(second.attempts > 3, "{second:?}");
    assert_eq!(cluster.log().effects, 2);
}

#[tokio::test(start_paused = true)]
async fn an_entry_at_its_limit_refuses_at_once() {
    let cluster = Cluster::with(["a1", "b1"], small(2));
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::hang());
    let third = async {
        cluster.until("b1 executes both", |log| log.executed.len() == 2).await;
        cluster.call("a1", call(Access::Read)).await.unwrap_err()
    };
    tokio::select! {
        _ = cluster.write("a1") => panic!("the service hangs"),
        _ = cluster.write("a1") => panic!("the service hangs"),
        error = third => {
            assert_eq!(error.verdict, Verdict::Exhausted { last: Some(Outcome::Overloaded) });
            assert_eq!(error.attempts, 0);
            assert!(error.to_string().contains("a1") && error.to_string().contains("max_in_flight"), "{error}");
        }
    }
    assert_eq!(cluster.counted("homing_overloaded_total"), 1);
}

/// A runtime that is busy with other things lets what is ready wait. The node takes fewer requests then, and as many as before when it is over.
#[tokio::test]
async fn a_node_that_is_late_takes_fewer_requests_until_it_is_not() {
    let cluster = Cluster::with(["a1", "b1"], Setup::default());
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::hang());
    let router = Arc::clone(&cluster.node("a1").router);
    let watching = tokio::spawn(Router::watch_delay(Arc::downgrade(&router)));
    let many = futures_util::future::join_all((0..100).map(|_| cluster.write("a1")));
    let seen = async {
        cluster.until("all are under way", |log| log.executed.len() == 100).await;
        // One that is taken hangs, too; one that is refused says why.
        let refused =
            async || tokio::time::timeout(Duration::from_millis(200), cluster.write("a1")).await.ok();
        assert!(refused().await.is_none());
        let error = loop {
            // Late for some windows.
            for _ in 0..8 {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(100) {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
            if let Some(refused) = refused().await {
                break refused.unwrap_err().to_string();
            }
        };
        assert!(error.contains("a1") && error.contains("max_delay_permille"), "{error}");
        while refused().await.is_some() {}
    };
    tokio::select! {
        _ = many => panic!("the service hangs"),
        () = seen => {}
    }
    watching.abort();
}

/// Who asks and then reads nothing has its place until the deadline, and not longer.
#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_reads_is_under_way_until_the_deadline() {
    let cluster = Cluster::with(["a1", "b1"], small(1));
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::Stream);
    for entry in ["a1", "b1"] {
        let deadline = Instant::now() + Duration::from_secs(5);
        let endless =
            futures_util::stream::repeat_with(|| Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x"))));
        let body = Body::new(StreamBody::new(endless));
        let unread =
            cluster.send(entry, Call { deadline: Some(deadline), ..call(Access::Write) }, body).await;
        assert_eq!(cluster.node(entry).router.in_flight(), 1);
        eventually("the places are free", || {
            ["a1", "b1"].iter().all(|id| cluster.node(id).router.in_flight() == 0)
        })
        .await;
        assert!(Instant::now() >= deadline && Instant::now() < deadline + Duration::from_secs(1));
        drop(unread);
    }
}

/// A reply that streams takes its places, at the entry and at the owner, until it was read.
#[tokio::test(start_paused = true)]
async fn a_stream_is_under_way_until_it_was_read() {
    let cluster = Cluster::with(["a1", "b1"], small(1));
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::Stream);
    let (sender, body) = fed();
    let streaming = cluster.send("a1", call(Access::Write), body).await.unwrap();
    let error = cluster.call("a1", call(Access::Read)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Exhausted { last: Some(Outcome::Overloaded) });
    assert_eq!(cluster.node("b1").router.in_flight(), 1);
    drop(sender);
    within("the stream", streaming.response.into_body().collect()).await.unwrap();
    assert_eq!(cluster.node("a1").router.in_flight(), 0);
    eventually("b1 is free again", || cluster.node("b1").router.in_flight() == 0).await;
}
