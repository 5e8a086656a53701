//! Bodies stream through, and are sent again where that is possible.

use std::time::Duration;

use bytes::Bytes;
use homing_failover::Verdict;
use homing_router::Call;
use homing_transport::{Body, BodyError};
use homing_types::{Access, Execution, Outcome};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Fault, Served, Setup, call, fed, group, keyed_write, within};

const NODES: [&str; 3] = ["a1", "b1", "c1"];

/// A streaming body of this many bytes in small pieces, with trailers.
fn stream(len: usize) -> Body {
    let bytes: Bytes = pattern(len).into();
    let pieces = (0..len).step_by(1_000).map(move |at| bytes.slice(at..len.min(at + 1_000)));
    let frames: Vec<_> =
        pieces.map(Frame::data).chain([Frame::trailers(trailers())]).map(Ok::<_, BodyError>).collect();
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([("x-end".parse().expect("a name"), HeaderValue::from_static("1"))])
}

async fn collect(
    answer: Result<homing_router::Answer, homing_router::CallError>,
) -> (Bytes, Option<HeaderMap>) {
    let body = answer.expect("an answer").response.into_body();
    let collected = within("the body", body.collect()).await.expect("the whole body");
    let trailers = collected.trailers().cloned();
    (collected.to_bytes(), trailers)
}

#[tokio::test(start_paused = true)]
async fn a_stream_and_its_trailers_survive_every_number_of_hops() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.node("b1").service.always(Behaviour::Stream);
    cluster.faults.set("a1", "b1", Fault::Cut);
    for (entry, hops) in [("b1", 0), ("c1", 1), ("a1", 2)] {
        for len in [0, 10_000, 3 << 20] {
            let answer = cluster.send(entry, call(Access::Write), stream(len)).await;
            assert_eq!(Served::of(&answer).hops, hops);
            let (bytes, end) = collect(answer).await;
            assert!(bytes == pattern(len), "{} of {len} bytes at {entry}", bytes.len());
            assert_eq!(end, Some(trailers()));
        }
    }
}

/// Neither the entry that serves a call itself nor a forwarder lets a body run past the deadline.
#[tokio::test(start_paused = true)]
async fn a_body_that_stops_ends_with_the_deadline_after_every_number_of_hops() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.node("b1").service.always(Behaviour::Stream);
    cluster.faults.set("a1", "b1", Fault::Cut);
    for (entry, hops) in [("b1", 0), ("c1", 1), ("a1", 2)] {
        let deadline = Instant::now() + Duration::from_secs(5);
        let (feed, body) = fed();
        let answer =
            cluster.send(entry, Call { deadline: Some(deadline), ..call(Access::Write) }, body).await;
        assert_eq!(Served::of(&answer).hops, hops);
        let cut = within("the body", answer.expect("an answer").response.into_body().collect()).await;
        assert!(matches!(cut, Err(BodyError::Deadline | BodyError::Aborted)), "{cut:?}");
        within("the request's body to be dropped", feed.closed()).await;
        assert!(Instant::now() <= deadline + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_is_told_the_trace_after_every_number_of_hops() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    for entry in ["b1", "c1", "a1"] {
        let traced = Call { traceparent: Some(TRACE.to_owned()), ..call(Access::Write) };
        cluster.call(entry, traced).await.expect("an answer");
        let executed = cluster.log().executed.pop().expect("it was executed");
        assert_eq!(executed.traceparent.as_deref(), Some(TRACE), "from {entry}");
    }
}

/// The answer begins before the request has ended: neither waits for the other.
#[tokio::test(start_paused = true)]
async fn both_directions_stream_at_once_through_two_hops() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.node("b1").service.always(Behaviour::Stream);
    cluster.faults.set("a1", "b1", Fault::Cut);
    let (sender, body) = fed();
    let answer = cluster.send("a1", call(Access::Write), body).await;
    let mut body = answer.unwrap().response.into_body();
    for piece in ["ping", "pong"] {
        sender.send(Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).await.unwrap();
        let frame = within("a piece", body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
    drop(sender);
    assert!(within("the end", body.frame()).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_small_body_is_sent_again_after_a_lost_attempt() {
    for body in [Body::from(pattern(10_000)), stream(10_000)] {
        let cluster = Cluster::with(NODES, Setup { dedupes: true, ..Setup::default() });
        cluster.all_learn(group(5, &["b1", "c1"]));
        cluster.faults.set("a1", "b1", Fault::LoseReplies);
        let answer = cluster.send("a1", keyed_write(), body).await;
        assert_eq!(Served::of(&answer), Served::by_primary("b1", 2, 5).after(2));
        assert!(collect(answer).await.0 == pattern(10_000));
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_stream_is_sent_again_once_the_attempt_before_has_let_go_of_it() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Linger);
    for _ in 0..2 {
        cluster.node("b1").service.first(Behaviour::decline(Execution::No, Duration::ZERO));
        cluster.node("b1").service.first(Behaviour::read_and_decline(Execution::No, Duration::ZERO));
    }
    let answer = cluster.send("a1", call(Access::Write), stream(10_000)).await;
    assert_eq!(Served::of(&answer).attempts, 5);
    assert!(collect(answer).await.0 == pattern(10_000));
}

#[tokio::test(start_paused = true)]
async fn a_large_stream_that_nobody_read_is_sent_to_the_next_candidate() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::Cut);
    let answer = cluster.send("a1", call(Access::Write), stream(1 << 20)).await;
    assert_eq!(Served::of(&answer), Served::by_primary("b1", 2, 5).after(2));
    assert!(collect(answer).await.0 == pattern(1 << 20));
}

#[tokio::test(start_paused = true)]
async fn a_large_stream_is_gone_with_the_attempt_that_read_it() {
    let cluster = Cluster::with(NODES, Setup { dedupes: true, ..Setup::default() });
    cluster.all_learn(group(5, &["b1", "c1"]));
    cluster.faults.set("a1", "b1", Fault::LoseReplies);
    let error = cluster.send("a1", keyed_write(), stream(1 << 20)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Ambiguous);
    assert!(error.to_string().contains("can't be sent again"), "{error}");
    assert_eq!(cluster.log().executed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_body_is_gone_but_that_nobody_executed_is_not_ambiguous() {
    let cluster = Cluster::knowing(NODES, group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::read_and_decline(Execution::No, Duration::ZERO));
    let error = cluster.send("a1", call(Access::Write), stream(1 << 20)).await.unwrap_err();
    assert_eq!(error.verdict, Verdict::Exhausted { last: Some(Outcome::NotReady) });
    assert!(error.to_string().contains("can't be sent again"), "{error}");
}
