//! What an HTTP/2 peer says of requests, and whether they were sent: against a server of our own making.

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::raw::{self, address, listen, secure};
use common::{Grpc, head, post, within};
use h2::Reason;
use h2::server::SendResponse;
use homing_transport::{BodyError, Head, Limits, SendErrorKind, Sent};
use http_body_util::BodyExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::server::TlsStream;

/// An HTTP/2 connection that this test serves by hand, as `n2`.
type Wire = h2::server::Connection<TlsStream<TcpStream>, Bytes>;

#[tokio::test]
async fn a_refused_stream_is_not_sent() {
    let (grpc, listener) = (Grpc::default(), listen().await);
    let serving = async {
        let mut wire = accept(&grpc, &listener).await;
        let (_request, mut respond) = next(&mut wire).await;
        respond.send_reset(Reason::REFUSED_STREAM);
        drive(wire).await;
    };
    let calling = async {
        let connection = grpc.dial(&address(&listener), Limits::default()).await.expect("a connection");
        let error = within("an error", connection.send(head(), post("x"))).await.expect_err("refused");
        assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
        assert!(connection.is_open(), "one refusal says nothing of the next request");
    };
    tokio::select! { () = serving => {}, () = calling => {} }
}

/// Any other reset may come from a handler.
#[tokio::test]
async fn a_stream_that_was_reset_is_maybe_sent() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let (grpc, listener) = (Grpc::default(), listen().await);
        let serving = async {
            let mut wire = accept(&grpc, &listener).await;
            let (_request, mut respond) = next(&mut wire).await;
            respond.send_reset(reason);
            drive(wire).await;
        };
        let calling = async {
            let connection = grpc.dial(&address(&listener), Limits::default()).await.expect("a connection");
            let error = within("an error", connection.send(head(), post("x"))).await.expect_err("reset");
            assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost), "{reason}: {error}");
        };
        tokio::select! { () = serving => {}, () = calling => {} }
    }
}

/// A body that is reset after some of it has come was cut short, whatever the reason.
#[tokio::test]
async fn a_body_that_was_reset_is_aborted() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::NO_ERROR] {
        let (grpc, listener, half_read) = (Grpc::default(), listen().await, Notify::new());
        let serving = async {
            let mut wire = accept(&grpc, &listener).await;
            let (_request, mut respond) = next(&mut wire).await;
            let response = http::Response::builder().header("homing-hops", "0").body(()).expect("a response");
            let mut stream = respond.send_response(response, false).expect("the stream is open");
            stream.send_data(Bytes::from_static(b"half of it"), false).expect("the stream is open");
            let resetting = async {
                half_read.notified().await;
                stream.send_reset(reason);
            };
            tokio::join!(drive(wire), resetting);
        };
        let calling = async {
            let connection = grpc.dial(&address(&listener), Limits::default()).await.expect("a connection");
            let reply = within("a reply", connection.send(head(), post("x"))).await.expect("a reply");
            let mut body = reply.response.into_body();
            let half = within("half of the body", body.frame()).await.expect("a frame").expect("no error");
            assert_eq!(half.into_data().expect("data"), "half of it");
            half_read.notify_one();
            let end = within("the end of the body", body.frame()).await.expect("a frame");
            assert_eq!(end.map(drop).expect_err("cut short"), BodyError::Aborted, "{reason}");
        };
        tokio::select! { () = serving => {}, () = calling => {} }
    }
}

/// GOAWAY names the last request that was processed: what came later was not sent, that one may have been.
#[tokio::test]
async fn requests_after_the_last_one_of_a_goaway_are_not_sent() {
    let (grpc, listener) = (Grpc::default(), listen().await);
    let serving = async {
        let mut tls = secure(&grpc, &listener).await;
        raw::serve_one_and_go_away(&mut tls).await;
    };
    let calling = async {
        let connection = grpc.dial(&address(&listener), Limits::default()).await.expect("a connection");
        let calls = tokio::join!(
            connection.send(head(), post("first")),
            connection.send(head(), post("second")),
            connection.send(head(), post("third")),
        );
        let sent = [calls.0, calls.1, calls.2].map(|call| call.expect_err("gone away").sent);
        assert_eq!(sent, [Sent::MaybeSent, Sent::NotSent, Sent::NotSent]);
        assert!(!connection.is_open());
        within("the connection to close", connection.closed()).await;
    };
    within("both sides", async { tokio::join!(serving, calling) }).await;
}

/// The peer allows fewer requests at a time than we would send: the rest wait here, and are not sent.
#[tokio::test]
async fn a_call_over_the_peers_max_streams_is_not_sent() {
    let inside = Arc::new(Notify::new());
    let stuck = {
        let inside = Arc::clone(&inside);
        common::handler(move |_| {
            inside.notify_one();
            std::future::pending()
        })
    };
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits { max_streams: 1, ..Limits::default() }, stuck).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    let waiting = async {
        within("the first call to run", inside.notified()).await;
        let hurried = Head { remaining: Some(Duration::from_millis(200)), ..head() };
        let error = within("an error", connection.send(hurried, post("x"))).await.expect_err("no place");
        assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Deadline), "{error}");
    };
    tokio::select! {
        reply = connection.send(head(), post("stuck")) => panic!("nobody answers, and yet: {reply:?}"),
        () = waiting => {}
    }
}

/// Whoever answers without a head of ours is no node.
#[tokio::test]
async fn a_response_without_a_head_is_a_protocol_error() {
    let (grpc, listener) = (Grpc::default(), listen().await);
    let serving = async {
        let mut wire = accept(&grpc, &listener).await;
        let (_request, mut respond) = next(&mut wire).await;
        respond.send_response(http::Response::new(()), true).expect("the stream is open");
        drive(wire).await;
    };
    let calling = async {
        let connection = grpc.dial(&address(&listener), Limits::default()).await.expect("a connection");
        let error = within("an error", connection.send(head(), post("x"))).await.expect_err("no head");
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Protocol), "{error}");
        assert!(error.message.contains("homing-hops is missing"), "{error}");
    };
    tokio::select! { () = serving => {}, () = calling => {} }
}

async fn accept(grpc: &Grpc, listener: &TcpListener) -> Wire {
    h2::server::handshake(secure(grpc, listener).await).await.expect("HTTP/2")
}

async fn next(wire: &mut Wire) -> (http::Request<h2::RecvStream>, SendResponse<Bytes>) {
    within("a request", wire.accept()).await.expect("a request").expect("a request")
}

async fn drive(mut wire: Wire) {
    while wire.accept().await.is_some() {}
}
