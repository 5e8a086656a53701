//! What the in-memory transport promises beyond the contract: a run can be repeated exactly.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_transport::memory::{MemoryListener, MemoryNetwork};
use homing_transport::{
    Body, BoxFuture, Connection, Handler, Head, Kind, Lane, Limits, Listener, Peer, Reply, ReplyHead,
    Transport,
};
use homing_types::NodeId;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::time::Instant;

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// Answers with the request's body, after as many milliseconds as it has bytes.
struct Slow;

impl Handler for Slow {
    fn handle(&self, _from: NodeId, _head: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async {
            let Ok(body) = request.into_body().collect().await else { return std::future::pending().await };
            let bytes = body.to_bytes();
            tokio::time::sleep(Duration::from_millis(bytes.len() as u64)).await;
            Reply { head: ReplyHead::default(), response: http::Response::new(bytes.into()) }
        })
    }
}

#[test]
fn a_run_is_repeated_exactly() {
    let first = in_virtual_time(story());
    assert_eq!(first.len(), 60);
    assert!(first.iter().any(|line| line.contains("Deadline")), "no call met its deadline: {first:?}");
    assert!(first.iter().any(|line| line.contains("Lost")), "no call was lost: {first:?}");
    assert!(first.iter().any(|line| line.contains("bytes")), "no call succeeded: {first:?}");
    for _ in 0..20 {
        assert_eq!(in_virtual_time(story()), first);
    }
}

#[test]
fn deadlines_and_drains_follow_virtual_time() {
    in_virtual_time(async {
        let (listener, connection) = connect().await;
        let started = Instant::now();
        let forever = call(&*connection, 7_200_000, Some(AN_HOUR)).await;
        assert!(forever.contains("Deadline"), "{forever}");
        assert_eq!(started.elapsed(), AN_HOUR);

        let stuck = tokio::spawn({
            let connection = Arc::clone(&connection);
            async move { call(&*connection, 7_200_000, None).await }
        });
        tokio::task::yield_now().await;
        let started = Instant::now();
        listener.shutdown(AN_HOUR).await;
        assert_eq!(started.elapsed(), AN_HOUR);
        assert!(stuck.await.unwrap().contains("Lost"));
    });
}

#[test]
fn an_address_has_one_listener_at_a_time() {
    in_virtual_time(async {
        let network = MemoryNetwork::new();
        let listen = || network.listen(node("n1"), "a", Limits::default(), Arc::new(Slow));
        let first = listen().unwrap();
        assert_eq!(listen().err().unwrap().to_string(), "a: the address is in use");
        first.shutdown(Duration::ZERO).await;
        let second = listen().unwrap();
        drop(first);
        assert!(listen().is_err(), "the end of an earlier listener freed the address of a later one");
        drop(second);
        assert!(listen().is_ok());
    });
}

#[test]
fn a_dead_listener_lets_go_of_its_handler() {
    in_virtual_time(async {
        let network = MemoryNetwork::new();
        let handler = Arc::new(Slow);
        let listener = network.listen(node("n2"), "a", Limits::default(), Arc::clone(&handler) as _).unwrap();
        let connection = dial(&network).await;
        assert!(call(&*connection, 1, None).await.contains("bytes"));
        drop(listener);
        connection.closed().await;
        assert_eq!(Arc::strong_count(&handler), 1, "owners of the handler while a connection is kept");
    });
}

/// Sixty calls of all lengths, deadlines and fates; the node dies in the middle. What happened, and when.
async fn story() -> Vec<String> {
    let (listener, connection) = connect().await;
    let (log, started) = (Arc::new(Mutex::new(Vec::new())), Instant::now());
    let calls: Vec<_> = (0..60_u64)
        .map(|number| {
            let (connection, log) = (Arc::clone(&connection), Arc::clone(&log));
            tokio::spawn(async move {
                let deadline = (number % 3 == 0).then(|| Duration::from_millis(20 + number));
                let fate = call(&*connection, (number * 37 % 60) as usize, deadline).await;
                log.lock().push(format!("{:?} {number}: {fate}", started.elapsed()));
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(45)).await;
    drop(listener);
    for call in calls {
        call.await.unwrap();
    }
    std::mem::take(&mut *log.lock())
}

/// What became of a call with a streamed body of this length.
async fn call(connection: &dyn Connection, len: usize, remaining: Option<Duration>) -> String {
    let head = Head { remaining, ..Head::of(Kind::Direct(node("n2"))) };
    let body = Body::new(http_body_util::Full::new(Bytes::from(vec![7; len])));
    match connection.send(head, http::Request::new(body)).await {
        Err(error) => format!("{:?}", error.kind),
        Ok(reply) => match reply.response.into_body().collect().await {
            Ok(body) => format!("{} bytes", body.to_bytes().len()),
            Err(error) => error.to_string(),
        },
    }
}

async fn connect() -> (MemoryListener, Arc<dyn Connection>) {
    let network = MemoryNetwork::new();
    let limits = Limits { max_streams: 16, ..Limits::default() };
    let listener = network.listen(node("n2"), "a", limits, Arc::new(Slow)).unwrap();
    (listener, dial(&network).await)
}

async fn dial(network: &MemoryNetwork) -> Arc<dyn Connection> {
    let peer = Peer { node: node("n2"), address: "a".to_owned() };
    let transport = network.transport(node("n1"), Limits::default());
    transport.dial(&peer, Lane::Payload).await.unwrap_or_else(|error| panic!("{error}"))
}

fn node(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

fn in_virtual_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}
