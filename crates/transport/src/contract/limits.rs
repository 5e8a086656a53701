//! Over a limit there is a clear error, and the connection survives.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::join_all;
use homing_types::Outcome;
use http::{HeaderValue, Uri, header};

use super::body::{feed, read};
use super::handler::{Call, echo, handler, ok};
use super::stage::{Stage, dial, head, listen, node, post, post_to, send};
use super::wait::{Flag, Watched, within};
use super::{Fixture, Proof};
use crate::{Body, BodyError, Handler, Head, Limits, Peer, Reply, SendErrorKind, Sent};

/// A message in hand over the limit is refused before it is sent.
pub async fn a_message_over_the_limit_is_not_sent(fixture: &dyn Fixture) {
    let count = Watched::new(0);
    let stage = Stage::with_limits(fixture, small(), counting(count.clone())).await;
    let error = send(&*stage.connection, head(), grpc(message(2_000))).await.expect_err("over the limit");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Limit), "{error}");
    names(&error.message, &["2000", "1000", "max_message"]);
    assert_eq!(count.now(), 0, "calls that the handler saw");
    stage.still_works().await;
}

/// A message over the limit that only shows while the body streams ends the call.
pub async fn a_streamed_message_over_the_limit_ends_the_call(fixture: &dyn Fixture) {
    let stage = Stage::with_limits(fixture, small(), collecting()).await;
    let (feed, body) = feed();
    let sending = async {
        feed.data(message(1_000)).await;
        feed.data(message(2_000)).await;
        feed.dropped("the request's source to be dropped").await;
    };
    let (reply, ()) = tokio::join!(send(&*stage.connection, head(), grpc(body)), sending);
    let error = reply.expect_err("over the limit");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Limit), "{error}");
    names(&error.message, &["2000", "1000", "max_message"]);
    stage.still_works().await;
}

/// The receiver keeps its own limit, and says so. It may have begun already: then nobody can tell what it did.
pub async fn a_message_over_the_peers_limit_is_refused(fixture: &dyn Fixture) {
    let stage = uneven(fixture, small(), Limits::default(), collecting()).await;
    let (feed, stream) = feed();
    let sending = async {
        feed.data(message(1_000)).await;
        feed.data(message(2_000)).await;
        feed.dropped("the request's source to be dropped").await;
    };
    let in_hand = send(&*stage.connection, head(), grpc(message(2_000))).await;
    let (streamed, ()) = tokio::join!(send(&*stage.connection, head(), grpc(stream)), sending);
    let (in_hand, streamed) = (in_hand.expect("an outcome"), streamed.expect("an outcome"));
    assert!(matches!(in_hand.head.outcome, Some(Outcome::Refused | Outcome::MaybeSent)), "{in_hand:?}");
    assert_eq!(streamed.head.outcome, Some(Outcome::MaybeSent));
    for reply in [in_hand, streamed] {
        names(&reply.head.reason, &["2000", "1000", "max_message"]);
    }
    stage.still_works().await;
}

/// The sender holds a reply to its limit: before its head or in its body, the error says so.
pub async fn a_reply_over_the_limit_is_an_error(fixture: &dyn Fixture) {
    let generous = handler(|call| async {
        if !call.request.headers().contains_key(header::CONTENT_TYPE) {
            return ok(call.request.into_body());
        }
        let streamed = call.is_to("/streamed");
        let mut reply = if streamed { ok(two_messages()) } else { ok(message(2_000)) };
        *reply.response.headers_mut() = call.request.headers().clone();
        reply
    });
    let stage = uneven(fixture, Limits::default(), small(), generous).await;
    for path in ["/in-hand", "/streamed"] {
        let mut request = grpc(Body::empty());
        *request.uri_mut() = Uri::from_static(path);
        match send(&*stage.connection, head(), request).await {
            Ok(reply) => {
                let error = read(reply.response.into_body()).await.expect_err("over the limit");
                assert_eq!(error, BodyError::TooLarge(crate::TooLarge { size: 2_000, limit: 1_000 }));
                names(&error.to_string(), &["2000", "1000", "max_message"]);
            }
            Err(error) => {
                assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Limit), "{error}");
                names(&error.message, &["2000", "1000", "max_message"]);
            }
        }
        stage.still_works().await;
    }
}

/// The limit is one of messages, not of streams: many messages just at the limit pass, both ways.
pub async fn a_stream_may_be_longer_than_a_message(fixture: &dyn Fixture) {
    let echo = handler(|call| async {
        let mut reply = ok(Body::empty());
        *reply.response.headers_mut() = call.request.headers().clone();
        *reply.response.body_mut() = call.request.into_body();
        reply
    });
    let stage = Stage::with_limits(fixture, small(), echo).await;
    let (feed, body) = feed();
    let sending = async {
        for _ in 0..50 {
            feed.data(message(1_000)).await;
        }
        drop(feed);
    };
    let receiving = async {
        let reply = send(&*stage.connection, head(), grpc(body)).await.expect("a reply");
        read(reply.response.into_body()).await.expect("the body arrives").0
    };
    let (bytes, ()) = tokio::join!(receiving, sending);
    assert_eq!(bytes.len(), 50 * 1_005);
}

/// A header block over the limit is refused before it is sent.
pub async fn a_header_block_over_the_limit_is_not_sent(fixture: &dyn Fixture) {
    let count = Watched::new(0);
    let stage = Stage::with_limits(fixture, small(), counting(count.clone())).await;
    let mut request = post(Body::empty());
    request.headers_mut().insert("x-big", big());
    let error = send(&*stage.connection, head(), request).await.expect_err("over the limit");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Limit), "{error}");
    names(&error.message, &["request", "4096", "max_header_block"]);
    assert_eq!(count.now(), 0, "calls that the handler saw");
    stage.still_works().await;
}

/// A reply whose header block is over the limit becomes an outcome that says so. The request was executed, so it is
/// never said to be unsent.
pub async fn a_replys_header_block_over_the_limit_is_refused(fixture: &dyn Fixture) {
    let boastful = handler(|call| async move {
        let boast = call.is_to("/boast");
        let mut reply = ok(call.request.into_body());
        if boast {
            reply.response.headers_mut().insert("x-big", big());
        }
        reply
    });
    let stage = Stage::with_limits(fixture, small(), boastful).await;
    let reply = send(&*stage.connection, head(), post_to("/boast", Body::empty())).await.expect("a refusal");
    assert_eq!(reply.head.outcome, Some(Outcome::MaybeSent));
    names(&reply.head.reason, &["response", "4096", "max_header_block"]);
    stage.still_works().await;
}

/// Calls over `max_streams` wait, and each gets the place of one that has ended.
pub async fn a_call_over_max_streams_waits_for_a_place(fixture: &dyn Fixture) {
    let crowd = Watched::new(Crowd::default());
    let one_by_one = {
        let crowd = crowd.clone();
        handler(move |call| {
            let crowd = crowd.clone();
            async move {
                let ticket = crowd.enter();
                crowd.until("this call's turn to end", |crowd| crowd.may_leave > ticket).await;
                crowd.change(|crowd| crowd.now -= 1);
                ok(call.request.into_body())
            }
        })
    };
    let limits = Limits { max_streams: 4, ..Limits::default() };
    let stage = Stage::with_limits(fixture, limits, one_by_one).await;
    let calls = join_all((0..12).map(|_| stage.send("call")));
    let leaving = async {
        for left in 0..12 {
            let entered = (left + 4).min(12);
            crowd.until("the next call to get its place", |crowd| crowd.entered >= entered).await;
            crowd.change(|crowd| crowd.may_leave += 1);
        }
    };
    let (replies, ()) = tokio::join!(calls, leaving);
    for reply in replies {
        reply.expect("a reply");
    }
    assert_eq!(crowd.now().most, 4, "calls at one time");
}

/// A call that waits for a place until its deadline was not sent.
pub async fn a_call_that_gets_no_place_is_not_sent(fixture: &dyn Fixture) {
    let (entered, release) = (Watched::new(0), Flag::new());
    let slow = {
        let (entered, release) = (entered.clone(), release.clone());
        handler(move |call| {
            let release = release.clone();
            entered.change(|entered| *entered += 1);
            async move {
                release.raised("the call to be released").await;
                ok(call.request.into_body())
            }
        })
    };
    let limits = Limits { max_streams: 1, ..Limits::default() };
    let stage = Stage::with_limits(fixture, limits, slow).await;
    let waiting = async {
        entered.until("the first call to run", |entered| *entered == 1).await;
        let hurried = Head { remaining: Some(Duration::from_millis(300)), ..head() };
        let error = send(&*stage.connection, hurried, post("no place")).await.expect_err("there is no place");
        assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Deadline), "{error}");
        release.raise();
    };
    let (reply, ()) = tokio::join!(stage.send("first"), waiting);
    assert_eq!(
        read(reply.expect("a reply").response.into_body()).await.expect("the body arrives").0,
        "first"
    );
    stage.still_works().await;
    assert_eq!(entered.now(), 2, "calls that the handler saw");
}

/// What a call has waited for its place is taken off the times that the peer is told.
pub async fn a_call_that_waited_is_told_with_the_time_that_is_left(fixture: &dyn Fixture) {
    const WAITED: Duration = Duration::from_millis(50);
    let (release, heads) = (Flag::new(), Watched::new(Vec::new()));
    let slow = {
        let (release, heads) = (release.clone(), heads.clone());
        handler(move |call| {
            let release = release.clone();
            heads.change(|heads| heads.push(call.head.clone()));
            async move {
                release.raised("the call to be released").await;
                ok(call.request.into_body())
            }
        })
    };
    let limits = Limits { max_streams: 1, ..Limits::default() };
    let stage = Stage::with_limits(fixture, limits, slow).await;
    let times = (Duration::from_secs(30), Duration::from_secs(20));
    let waiting = async {
        heads.until("the first call to run", |heads| heads.len() == 1).await;
        let hurried = Head { remaining: Some(times.0), reply_within: Some(times.1), ..head() };
        let releasing = async {
            tokio::time::sleep(WAITED).await;
            release.raise();
        };
        let (reply, ()) = tokio::join!(send(&*stage.connection, hurried, post("waited")), releasing);
        reply.expect("a reply");
    };
    let (reply, ()) = tokio::join!(stage.send("first"), waiting);
    reply.expect("a reply");
    let told = heads.now().remove(1);
    assert!(told.remaining.is_some_and(|left| left <= times.0 - WAITED), "{told:?}");
    assert!(told.reply_within.is_some_and(|left| left <= times.1 - WAITED), "{told:?}");
}

/// A connection over `max_connections` is refused until another one ends.
pub async fn a_connection_over_max_connections_is_refused(fixture: &dyn Fixture) {
    let limits = Limits { max_connections: 2, ..Limits::default() };
    let mut stage = Stage::with_limits(fixture, limits, echo()).await;
    let second = dial(&*stage.transport, &stage.peer).await.expect("a second connection");
    let error = dial(&*stage.transport, &stage.peer).await.map(drop).expect_err("a third is too many");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
    stage.still_works().await;
    drop(second);
    let replaced = async {
        loop {
            match dial(&*stage.transport, &stage.peer).await {
                Ok(connection) => return connection,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    stage.connection = within("the place of a connection that was closed", replaced).await;
    stage.still_works().await;
}

/// Calls that are in the handler.
#[derive(Clone, Default)]
struct Crowd {
    entered: u32,
    now: u32,
    most: u32,
    may_leave: u32,
}

impl Watched<Crowd> {
    /// How many had entered before.
    fn enter(&self) -> u32 {
        let mut ticket = 0;
        self.change(|crowd| {
            ticket = crowd.entered;
            crowd.entered += 1;
            crowd.now += 1;
            crowd.most = crowd.most.max(crowd.now);
        });
        ticket
    }
}

fn small() -> Limits {
    Limits { max_message: 1_000, max_header_block: 4_096, ..Limits::default() }
}

/// A stage whose sides have different limits.
async fn uneven(
    fixture: &dyn Fixture,
    listening: Limits,
    dialling: Limits,
    handler: Arc<dyn Handler>,
) -> Stage {
    let listener = listen(fixture, listening, handler).await;
    let transport = fixture.transport(&node("n1"), Proof::Own, dialling);
    let peer = Peer { node: node("n2"), address: listener.address() };
    let connection = dial(&*transport, &peer).await.expect("n2 can be dialled");
    Stage { listener, transport, peer, connection }
}

/// Answers with the request's body once it is there as a whole.
fn collecting() -> Arc<dyn Handler> {
    handler(collect)
}

async fn collect(call: Call) -> Reply {
    match read(call.request.into_body()).await {
        Ok((bytes, _)) => ok(bytes),
        Err(_) => std::future::pending().await,
    }
}

/// An echo that counts the calls that aren't its own probes.
fn counting(count: Watched<u32>) -> Arc<dyn Handler> {
    handler(move |call| {
        count.change(|count| *count += 1);
        collect(call)
    })
}

/// A request whose body consists of gRPC messages.
fn grpc(body: impl Into<Body>) -> http::Request<Body> {
    let mut request = post(body);
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

/// A stream of one message at the limit and one over it.
fn two_messages() -> Body {
    let (feed, body) = feed();
    tokio::spawn(async move {
        feed.data(message(1_000)).await;
        feed.data(message(2_000)).await;
    });
    body
}

/// A gRPC message of `len` bytes, with its prefix.
fn message(len: u32) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(len);
    bytes.put_bytes(7, len as usize);
    bytes.freeze()
}

fn big() -> HeaderValue {
    HeaderValue::from_str(&"x".repeat(8_000)).expect("a header value")
}

fn names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} names {part}");
    }
}
