//! The glue of every wire, without a wire: each side keeps deadline and limits by itself, even if the
//! other doesn't.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use homing_transport::{
    Body, BodyError, BoxFuture, Handler, Head, Kind, Limits, Reply, ReplyHead, SendError, SendErrorKind,
    Sent, prepare, serve,
};
use homing_types::{NodeId, Outcome};
use http::{HeaderValue, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Keeps each request's body for the test, and never answers.
struct Keep(mpsc::UnboundedSender<Body>);

impl Handler for Keep {
    fn handle(&self, _from: NodeId, _head: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        // A test that doesn't look at the body has dropped its end.
        let _ = self.0.send(request.into_body());
        Box::pin(std::future::pending())
    }
}

/// Answers with a body that never ends.
struct Stream;

impl Handler for Stream {
    fn handle(&self, _from: NodeId, _head: Head, _request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin(async { reply(stuck()) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_receiver_drops_a_stuck_handler_at_the_deadline() {
    let started = Instant::now();
    let reply = receive(Keep(mpsc::unbounded_channel().0), Body::empty()).await;
    assert_eq!(reply.head.outcome, Some(Outcome::MaybeSent));
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_receiver_ends_the_requests_body_at_the_deadline() {
    let started = Instant::now();
    let (bodies, mut given) = mpsc::unbounded_channel::<Body>();
    let reading = async { given.recv().await.unwrap().collect().await.unwrap_err() };
    let (error, _) = tokio::join!(reading, receive(Keep(bodies), stuck()));
    assert_eq!(error, BodyError::Deadline);
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_receiver_ends_the_replys_body_at_the_deadline() {
    let started = Instant::now();
    let reply = receive(Stream, Body::empty()).await;
    assert_eq!(error_of(reply).await, BodyError::Deadline);
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_sender_ends_the_replys_body_at_the_deadline() {
    let started = Instant::now();
    let (_request, outgoing) =
        prepare(&head(Some(SECOND)), request(Body::empty()), 0, &Limits::default()).unwrap();
    let reply = outgoing.guard(Ok(reply(stuck()))).unwrap();
    assert_eq!(error_of(reply).await, BodyError::Deadline);
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_sender_ends_the_requests_body_at_the_deadline() {
    let started = Instant::now();
    let (request, outgoing) = prepare(&head(Some(SECOND)), request(stuck()), 0, &Limits::default()).unwrap();
    // So a wire tells it: the body has failed.
    let sending = async {
        let error = request.into_body().collect().await.unwrap_err();
        Err(SendError::maybe_sent(SendErrorKind::Body, error.to_string()))
    };
    let error = outgoing.guard(outgoing.run(pin!(sending)).await).unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Deadline), "{error}");
    assert_eq!(started.elapsed(), SECOND);
}

#[tokio::test(start_paused = true)]
async fn who_gets_no_place_until_the_deadline_has_sent_nothing() {
    let started = Instant::now();
    let (_request, outgoing) =
        prepare(&head(Some(SECOND)), request(Body::empty()), 0, &Limits::default()).unwrap();
    let error = outgoing.place(std::future::pending::<Infallible>()).await.unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Deadline), "{error}");
    assert_eq!(started.elapsed(), SECOND);
    assert_eq!(outgoing.place(async { 7 }).await, Ok(7));
}

#[test]
fn a_header_block_is_counted_as_http2_counts_it() {
    let limits = Limits { max_header_block: 100, ..Limits::default() };
    let with = |value: usize, extra| {
        let mut request = request(Body::empty());
        request.headers_mut().insert("x-a", HeaderValue::from_str(&"v".repeat(value)).unwrap());
        prepare(&head(None), request, extra, &limits).map(drop).map_err(|error| (error.sent, error.kind))
    };
    // The path "/", and 3 + value + 32 bytes of the header.
    assert_eq!(with(100 - 1 - 35, 0), Ok(()));
    assert_eq!(with(100 - 1 - 35 + 1, 0), Err((Sent::NotSent, SendErrorKind::Limit)));
    assert_eq!(with(100 - 1 - 35, 1), Err((Sent::NotSent, SendErrorKind::Limit)));
}

#[tokio::test(start_paused = true)]
async fn what_was_spent_waiting_is_taken_off_both_times() {
    let mut head = Head { reply_within: Some(SECOND / 2), ..head(Some(SECOND)) };
    let (_request, outgoing) = prepare(&head, request(Body::empty()), 0, &Limits::default()).unwrap();
    tokio::time::advance(SECOND / 4).await;
    outgoing.count_down(&mut head);
    assert_eq!((head.remaining, head.reply_within), (Some(SECOND * 3 / 4), Some(SECOND / 4)));
    tokio::time::advance(SECOND).await;
    outgoing.count_down(&mut head);
    assert_eq!((head.remaining, head.reply_within), (Some(Duration::ZERO), Some(Duration::ZERO)));
}

#[tokio::test]
async fn each_side_holds_the_others_header_block_to_its_own_limit() {
    let limits = Limits { max_header_block: 100, ..Limits::default() };
    let big = HeaderValue::from_str(&"v".repeat(100)).unwrap();

    let mut request_over = request(Body::empty());
    request_over.headers_mut().insert("x-a", big.clone());
    let refusal = serve(&Stream, NodeId::new("n1").unwrap(), head(None), request_over, &limits).await;
    assert_eq!(refusal.head.outcome, Some(Outcome::Refused));
    assert!(refusal.head.reason.contains("the request's header block"), "{}", refusal.head.reason);

    let mut reply_over = reply(Body::empty());
    reply_over.response.headers_mut().insert("x-a", big);
    let (_request, outgoing) = prepare(&head(None), request(Body::empty()), 0, &limits).unwrap();
    let error = outgoing.guard(Ok(reply_over)).unwrap_err();
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Limit), "{error}");
    assert!(error.message.contains("the response's header block"), "{error}");
}

#[tokio::test]
async fn only_grpc_bodies_have_messages() {
    let limits = Limits { max_message: 3, ..Limits::default() };
    let long = || Body::from("\0\0\0\0\u{4}long");
    let plain = request(long());
    assert!(prepare(&head(None), plain, 0, &limits).is_ok());
    for kind in ["application/grpc", "application/grpc+proto"] {
        let mut grpc = request(long());
        grpc.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        let error = prepare(&head(None), grpc, 0, &limits).unwrap_err();
        assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Limit), "{error}");
    }
}

async fn receive(handler: impl Handler, body: Body) -> Reply {
    let from = NodeId::new("n1").unwrap();
    serve(&handler, from, head(Some(SECOND)), request(body), &Limits::default()).await
}

async fn error_of(reply: Reply) -> BodyError {
    reply.response.into_body().collect().await.unwrap_err()
}

fn head(remaining: Option<Duration>) -> Head {
    Head { remaining, ..Head::of(Kind::Direct(NodeId::new("n2").unwrap())) }
}

fn request(body: Body) -> http::Request<Body> {
    http::Request::new(body)
}

fn reply(body: Body) -> Reply {
    Reply { head: ReplyHead::default(), response: http::Response::new(body) }
}

/// A body that never ends.
fn stuck() -> Body {
    Body::new(StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>()))
}
