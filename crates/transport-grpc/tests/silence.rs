//! Peers that are there and say nothing: before, in and after a handshake.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{Grpc, handler, head, node, ok, post, within, works};
use homing_transport::contract::Proof;
use homing_transport::{Body, BodyError, Limits, SendErrorKind, Sent};
use homing_transport_grpc::{GrpcListener, ListenError};
use http_body_util::BodyExt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

#[tokio::test]
async fn a_dial_ends_although_nobody_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = silent.local_addr().expect("an address").to_string();
    let limits = Limits { handshake_timeout: Duration::from_millis(200), ..Limits::default() };
    let error = Grpc::default().dial(&address, limits).await.map(drop).expect_err("nobody answers");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert_eq!(error.message, format!("n2 ({address}): no answer within 200ms (handshake_timeout)"));
}

#[tokio::test]
async fn a_refused_dial_names_who_where_and_why() {
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = unused.local_addr().expect("an address").to_string();
    drop(unused);
    let error =
        Grpc::default().dial(&address, Limits::default()).await.map(drop).expect_err("nobody listens");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable));
    assert_eq!(error.message, format!("n2 ({address}): connection refused"));
}

/// A stranger who connects and says nothing loses its place in time.
#[tokio::test]
async fn a_listener_does_not_wait_for_a_handshake_for_ever() {
    let limits =
        Limits { handshake_timeout: Duration::from_millis(200), max_connections: 1, ..Limits::default() };
    let grpc = Grpc::default();
    let listener = grpc.listen(limits, common::echo()).await;
    let mut stranger = TcpStream::connect(listener.address()).await.expect("a connection");
    let end = within("the listener to hang up", stranger.read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("its place is free");
    works(&*connection).await;
}

#[tokio::test]
async fn an_address_in_use_is_named_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = taken.local_addr().expect("an address");
    let credentials = Grpc::default().certificates.credentials(&node("n2"), Proof::Own);
    let error = GrpcListener::bind(address, credentials, Limits::default(), common::echo())
        .map(drop)
        .expect_err("the port is taken");
    assert!(matches!(error, ListenError::Address { .. }));
    let text = error.to_string();
    assert!(text.starts_with(&format!("can't listen on {address}: ")), "{text}");
    assert!(text.ends_with("stop what listens there or choose another port"), "{text}");
}

/// The network between two nodes dies without a word: both sides find out, and neither waits for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_peer_is_found_out_by_both_sides() {
    let (left, gone) = oneshot::channel::<()>();
    let left = parking_lot::Mutex::new(Some(left));
    let (entered, mut inside) = watch::channel(false);
    let stuck = handler(move |request| {
        let guard = (request.uri().path() == "/stuck").then(|| left.lock().take());
        entered.send_replace(guard.is_some());
        async move {
            match guard {
                Some(_guard) => std::future::pending().await,
                None => ok(Body::new(http_body_util::StreamBody::new(Never))),
            }
        }
    });
    let limits = Limits {
        keepalive_interval: Duration::from_millis(200),
        keepalive_timeout: Duration::from_millis(600),
        ..Limits::default()
    };
    let grpc = Grpc::default();
    let listener = grpc.listen(limits.clone(), stuck).await;
    let wire = FreezingWire::new(listener.address()).await;
    let connection = grpc.dial(&wire.address, limits).await.expect("a connection");

    let reply = within("a reply", connection.send(head(), post("body"))).await.expect("a reply");
    let mut request = post("head");
    *request.uri_mut() = http::Uri::from_static("/stuck");
    let calling = connection.send(head(), request);
    let freezing = async {
        inside.wait_for(|stuck| *stuck).await.expect("the handler is here");
        wire.freeze();
    };
    let (call, ()) = within("the call to fail", async { tokio::join!(calling, freezing) }).await;
    let error = call.expect_err("the peer is frozen");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost));
    assert!(error.message.contains("no sign of life within keepalive_timeout"), "{error}");
    let body = within("the body to fail", reply.response.into_body().collect()).await;
    assert_eq!(body.map(drop).expect_err("the peer is frozen"), BodyError::Lost);
    assert!(!connection.is_open());
    within("the handler to be dropped", gone).await.expect_err("dropped, not answered");
}

/// A connection on which nothing happens for longer than the timeout is not lost: its peer answers probes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_stays_open() {
    let limits = Limits {
        keepalive_interval: Duration::from_millis(20),
        keepalive_timeout: Duration::from_millis(400),
        ..Limits::default()
    };
    let grpc = Grpc::default();
    let listener = grpc.listen(limits.clone(), common::echo()).await;
    let connection = grpc.dial(&listener.address(), limits.clone()).await.expect("a connection");
    let closed = tokio::time::timeout(4 * limits.keepalive_timeout, connection.closed()).await;
    assert!(closed.is_err(), "an idle connection was closed");
    works(&*connection).await;
}

/// Bytes between two nodes, until they freeze: nothing moves any more, and nothing is closed.
struct FreezingWire {
    address: String,
    frozen: watch::Sender<bool>,
}

impl FreezingWire {
    async fn new(to: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let (frozen, mut freezing) = watch::channel(false);
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.expect("a connection");
            let mut far = TcpStream::connect(to).await.expect("the listener");
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = async { drop(freezing.wait_for(|frozen| *frozen).await) } => std::future::pending().await,
            }
        });
        Self { address, frozen }
    }

    fn freeze(&self) {
        self.frozen.send_replace(true);
    }
}

/// A body of which nothing ever comes.
struct Never;

impl futures_core::Stream for Never {
    type Item = Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Pending
    }
}
