//! What travels beside a body: header blocks over the other side's limit, and HTTP/1.1's leftovers.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Grpc, handler, head, ok, post, within};
use homing_transport::{Body, Head, Limits, SendErrorKind, Sent};
use homing_types::Outcome;
use http::HeaderValue;
use tokio::sync::mpsc;

/// The sender's limit is larger than the receiver's: up to far above it, the refusal names both numbers.
#[tokio::test]
async fn a_request_over_the_receivers_limit_is_refused() {
    let grpc = Grpc::default();
    let small = Limits { max_header_block: 4_096, ..Limits::default() };
    let generous = Limits { max_header_block: 1 << 20, ..Limits::default() };
    let listener = grpc.listen(small, common::echo()).await;
    let connection = grpc.dial(&listener.address(), generous).await.expect("a connection");

    let reply = within("a reply", connection.send(head(), with_header(8_000))).await.expect("a reply");
    assert_eq!(reply.head.outcome, Some(Outcome::Refused));
    assert!(reply.head.reason.contains("is over the limit of 4096 bytes (max_header_block)"));
    common::works(&*connection).await;

    let error = within("an error", connection.send(head(), with_header(200_000))).await.expect_err("refused");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Limit), "{error}");
    assert!(error.message.contains("max_header_block"), "{error}");
    common::works(&*connection).await;
}

/// The other way round, the call fails, and the request may have been executed.
#[tokio::test]
async fn a_reply_over_the_senders_limit_is_an_error() {
    let boastful = handler(|request| async move {
        let big = request.uri().path() == "/big";
        let mut reply = ok(request.into_body());
        if big {
            reply.response.headers_mut().insert("x-big", value(8_000));
        }
        reply
    });
    let grpc = Grpc::default();
    let small = Limits { max_header_block: 4_096, ..Limits::default() };
    let listener = grpc.listen(Limits::default(), boastful).await;
    let connection = grpc.dial(&listener.address(), small).await.expect("a connection");
    let mut request = post(Body::empty());
    *request.uri_mut() = http::Uri::from_static("/big");
    let error = within("an error", connection.send(head(), request)).await.expect_err("over the limit");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Limit), "{error}");
    assert!(error.message.contains("response") && error.message.contains("4096"), "{error}");
    common::works(&*connection).await;
}

/// A deadline beyond all clocks is no deadline, and no panic.
#[tokio::test]
async fn a_deadline_may_be_as_far_as_it_likes() {
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), common::echo()).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    for remaining in [Duration::MAX, Duration::from_micros(u64::MAX)] {
        let far = Head { remaining: Some(remaining), ..head() };
        let reply = within("a reply", connection.send(far, post("far"))).await.expect("a reply");
        assert_eq!(common::read(reply).await, "far");
    }
}

/// Requests come in over HTTP/1.1 too; HTTP/2 knows no such headers, and the handler sees a path alone.
#[tokio::test]
async fn a_request_of_http_1_passes() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let seen = Arc::new(seen);
    let noting = handler(move |request| {
        seen.send((request.uri().clone(), request.headers().clone())).expect("the test waits");
        async {
            let mut reply = ok("hello");
            reply.response.headers_mut().insert("connection", HeaderValue::from_static("close"));
            reply
        }
    });
    let grpc = Grpc::default();
    let listener = grpc.listen(Limits::default(), noting).await;
    let connection = grpc.dial(&listener.address(), Limits::default()).await.expect("a connection");
    let mut request = post("body");
    *request.uri_mut() = http::Uri::from_static("http://elsewhere.example/path?query");
    for (name, value) in
        [("connection", "x-mine"), ("x-mine", "1"), ("upgrade", "h2c"), ("host", "a.example")]
    {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let reply = within("a reply", connection.send(head(), request)).await.expect("a reply");
    assert_eq!(common::read(reply).await, "hello");
    let (uri, headers) = requests.recv().await.expect("the handler ran");
    assert_eq!(uri, "/path?query");
    assert_eq!(headers.len(), 1, "{headers:?}");
    assert_eq!(headers["host"], "a.example");
}

fn with_header(len: usize) -> http::Request<Body> {
    let mut request = post(Body::empty());
    request.headers_mut().insert("x-big", value(len));
    request
}

fn value(len: usize) -> HeaderValue {
    HeaderValue::from_str(&"x".repeat(len)).expect("a header value")
}
