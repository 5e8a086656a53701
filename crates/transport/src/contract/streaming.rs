//! Requests and replies of every shape arrive as they were sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use homing_types::{Access, Epoch, IdempotencyKey, Outcome, Role, Space};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;

use super::Fixture;
use super::body::{Feed, Pattern, Reader, feed, read};
use super::handler::{Call, echo, handler, ok};
use super::stage::{Fields, Stage, head, node, own, post, post_to, send};
use super::wait::{Watched, within};
use crate::{Body, BodyError, Handler, Head, Kind, Limits, Reply, ReplyHead, Routed};

/// A request in hand, a reply in hand.
pub async fn unary(fixture: &dyn Fixture) {
    let upper = handler(|call| async {
        let (bytes, _) = read(call.request.into_body()).await.expect("the body arrives");
        ok(bytes.to_ascii_uppercase())
    });
    let stage = Stage::new(fixture, upper).await;
    let reply = stage.send("hello").await.expect("a reply");
    assert_eq!(reply.head, ReplyHead::default());
    assert_eq!(reply.response.status(), StatusCode::OK);
    let (bytes, trailers) = read(reply.response.into_body()).await.expect("the body arrives");
    assert_eq!((&bytes[..], trailers), (&b"HELLO"[..], None));
}

/// The handler sends its next message only once the one before has arrived.
pub async fn server_streaming(fixture: &dyn Fixture) {
    let (feeds, mut started) = mpsc::unbounded_channel::<Feed>();
    let streaming = handler(move |_| {
        let (feed, body) = feed();
        feeds.send(feed).expect("the case waits for it");
        async { ok(body) }
    });
    let stage = Stage::new(fixture, streaming).await;
    let reply = stage.send(Body::empty()).await.expect("a reply");
    let feed = within("the handler", started.recv()).await.expect("the handler ran");
    let mut reader = Reader::new(reply.response.into_body());
    for message in 0..100_u64 {
        feed.data(message.to_be_bytes().to_vec()).await;
        let read = reader.next(8).await.expect("no error").expect("another message");
        assert_eq!(read, message.to_be_bytes()[..]);
    }
    drop(feed);
    assert_eq!(reader.next(8).await, Ok(None));
}

/// The sender sends its next message only once the handler has seen the one before.
pub async fn client_streaming(fixture: &dyn Fixture) {
    let seen = Watched::new(0_u64);
    let summing = {
        let seen = seen.clone();
        handler(move |call| {
            let seen = seen.clone();
            async move {
                let mut reader = Reader::new(call.request.into_body());
                let mut sum = 0;
                while let Some(message) = reader.next(8).await.expect("no error") {
                    sum += number(&message);
                    seen.change(|seen| *seen += 1);
                }
                ok(sum.to_be_bytes().to_vec())
            }
        })
    };
    let stage = Stage::new(fixture, summing).await;
    let (feed, body) = feed();
    let sending = async {
        for message in 1..=100_u64 {
            feed.data(message.to_be_bytes().to_vec()).await;
            seen.until("the handler to see a message", |seen| *seen == message).await;
        }
        drop(feed);
    };
    let (reply, ()) = tokio::join!(stage.send(body), sending);
    let (bytes, _) = read(reply.expect("a reply").response.into_body()).await.expect("the body arrives");
    assert_eq!(number(&bytes), 5_050);
}

/// The reply starts before the request has ended, and they go on together.
pub async fn each_message_of_a_bidirectional_stream_may_depend_on_the_last(fixture: &dyn Fixture) {
    let stage = Stage::new(fixture, doubling()).await;
    let (feed, body) = feed();
    let reply = stage.send(body).await.expect("a reply before the end of the request");
    let mut reader = Reader::new(reply.response.into_body());
    let mut message = 1_u64;
    for _ in 0..60 {
        feed.data(message.to_be_bytes().to_vec()).await;
        let doubled = reader.next(8).await.expect("no error").expect("another message");
        assert_eq!(number(&doubled), message * 2);
        message = number(&doubled);
    }
    drop(feed);
    assert_eq!(reader.next(8).await, Ok(None));
}

/// Trailers follow the body, of the request and of the reply.
pub async fn trailers_survive_both_ways(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let stage = Stage::new(fixture, trailing(seen.clone())).await;
    let (feed, body) = feed();
    let sending = async {
        feed.data("data").await;
        feed.trailers(fields(&[("x-checksum", "up")])).await;
    };
    let (reply, ()) = tokio::join!(stage.send(body), sending);
    let (bytes, trailers) =
        read(reply.expect("a reply").response.into_body()).await.expect("the body arrives");
    assert_eq!(bytes, "data");
    assert_eq!(own(&trailers.expect("trailers of the reply")), own(&fields(&[("x-checksum", "down")])));
    assert_eq!(seen.now().expect("trailers of the request"), own(&fields(&[("x-checksum", "up")])));
}

/// Trailers need no bytes before them: so gRPC says that a call failed.
pub async fn trailers_survive_without_a_body(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let stage = Stage::new(fixture, trailing(seen.clone())).await;
    let (feed, body) = feed();
    let (reply, ()) = tokio::join!(stage.send(body), feed.trailers(fields(&[("x-only", "up")])));
    let (bytes, trailers) =
        read(reply.expect("a reply").response.into_body()).await.expect("the body arrives");
    assert!(bytes.is_empty());
    assert_eq!(own(&trailers.expect("trailers of the reply")), own(&fields(&[("x-checksum", "down")])));
    assert_eq!(seen.now().expect("trailers of the request"), own(&fields(&[("x-only", "up")])));
}

/// A body without bytes, in hand or as a stream, is one at the other side too.
pub async fn empty_bodies_are_empty(fixture: &dyn Fixture) {
    let counting = handler(|call| async {
        let (bytes, trailers) = read(call.request.into_body()).await.expect("the body arrives");
        assert_eq!((bytes.len(), trailers), (0, None));
        let mut reply = ok(Body::empty());
        *reply.response.status_mut() = StatusCode::ACCEPTED;
        reply
    });
    let stage = Stage::new(fixture, counting).await;
    let (feed, stream) = feed();
    drop(feed);
    for body in [Body::empty(), stream] {
        let reply = stage.send(body).await.expect("a reply");
        assert_eq!(reply.response.status(), StatusCode::ACCEPTED);
        let (bytes, trailers) = read(reply.response.into_body()).await.expect("the body arrives");
        assert_eq!((bytes.len(), trailers), (0, None));
    }
}

/// Every field of a head and of a reply's head arrives as it was sent.
pub async fn heads_survive(fixture: &dyn Fixture) {
    let (calls, mut seen) = mpsc::unbounded_channel::<Head>();
    let replies = Watched::new(ReplyHead::default());
    let telling = {
        let replies = replies.clone();
        handler(move |call: Call| {
            calls.send(call.head).expect("the case waits for it");
            let reply = Reply::without_answer(replies.now());
            async { reply }
        })
    };
    let stage = Stage::new(fixture, telling).await;
    for (head, reply_head) in heads().into_iter().zip(reply_heads().into_iter().cycle()) {
        replies.change(|head| *head = reply_head.clone());
        let reply = send(&*stage.connection, head.clone(), post(Body::empty())).await.expect("a reply");
        assert_eq!(reply.head, reply_head);
        let arrived = within("the handler", seen.recv()).await.expect("the handler ran");
        let Head { remaining, reply_within, .. } = head;
        assert_eq!(Head { remaining, reply_within, ..arrived.clone() }, head);
        for times in [(remaining, arrived.remaining), (reply_within, arrived.reply_within)] {
            match times {
                (Some(sent), Some(left)) => {
                    assert!(left <= sent && sent - left < super::PATIENCE, "{left:?}");
                }
                (sent, left) => assert_eq!(sent, left),
            }
        }
    }
}

/// Method, path, query, status and headers of plain HTTP arrive as they were sent; extensions don't.
pub async fn http_survives(fixture: &dyn Fixture) {
    let (calls, mut seen) = mpsc::unbounded_channel();
    let teapot = handler(move |call| {
        let (parts, _) = call.request.into_parts();
        calls.send(parts).expect("the case waits for it");
        async {
            let mut reply = ok("short and stout");
            *reply.response.status_mut() = StatusCode::IM_A_TEAPOT;
            *reply.response.headers_mut() = many_fields();
            reply.response.extensions_mut().insert("not for the wire");
            reply
        }
    });
    let stage = Stage::new(fixture, teapot).await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let mut request = post(Body::empty());
        *request.method_mut() = method.clone();
        *request.uri_mut() = "/a/b%20c?d=e&f=%2F".parse().expect("a path and a query");
        *request.headers_mut() = many_fields();
        request.extensions_mut().insert("not for the wire");
        let reply = send(&*stage.connection, head(), request).await.expect("a reply");
        assert_eq!(reply.response.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(own(reply.response.headers()), own(&many_fields()));
        assert_eq!(reply.response.extensions().get::<&str>(), None);
        let (bytes, _) = read(reply.response.into_body()).await.expect("the body arrives");
        assert_eq!(bytes, "short and stout");
        let parts = within("the handler", seen.recv()).await.expect("the handler ran");
        assert_eq!(parts.extensions.get::<&str>(), None);
        assert_eq!(parts.method, method);
        assert_eq!(parts.uri.path_and_query().expect("a path").as_str(), "/a/b%20c?d=e&f=%2F");
        assert_eq!(own(&parts.headers), own(&many_fields()));
    }
}

/// What HTTP/1.1 says of one connection stays behind, both ways, and takes nothing along that Homing says.
pub async fn what_names_the_connection_does_not_travel(fixture: &dyn Fixture) {
    const LISTED: &str = "close, X-Private, homing-space, homing-hops, homing-idempotency-key";
    let private = || {
        let names =
            ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "x-private"];
        let mut headers: HeaderMap = names
            .into_iter()
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1")))
            .collect();
        headers.insert("connection", HeaderValue::from_static(LISTED));
        headers
    };
    let (calls, mut seen) = mpsc::unbounded_channel();
    let stage = Stage::new(
        fixture,
        handler(move |call| {
            calls.send((call.head, call.request.headers().clone())).expect("the case waits for it");
            let mut reply = ok("answer");
            *reply.response.headers_mut() = private();
            async { reply }
        }),
    )
    .await;
    let mut request = post("question");
    *request.headers_mut() = private();
    let reply = send(&*stage.connection, head(), request).await.expect("a reply");
    let (told, headers) = within("the handler", seen.recv()).await.expect("the handler ran");
    assert_eq!(told.kind, head().kind);
    for headers in [&headers, reply.response.headers()] {
        assert!(private().keys().all(|name| !headers.contains_key(name)), "{headers:?}");
    }
}

/// 16 MiB go there and back at once, and every byte arrives in its place.
pub async fn sixteen_mebibytes_go_through_a_stream(fixture: &dyn Fixture) {
    let frames = (16 << 20) / Pattern::FRAME as u64;
    let stage = Stage::new(fixture, echo()).await;
    let reply = stage.send(Pattern::new().body(frames)).await.expect("a reply");
    Pattern::check(reply.response.into_body(), frames).await;
}

/// A handler that doesn't read holds back the sender, at the windows.
pub async fn a_sender_does_not_run_ahead_of_the_handler(fixture: &dyn Fixture) {
    let (bodies, mut unread) = mpsc::unbounded_channel();
    let slow = handler(move |call| {
        let slow = call.is_to("/slow");
        let body = call.request.into_body();
        let reply = if slow {
            let (feed, reply) = feed();
            bodies.send((body, feed)).expect("the case waits for it");
            reply
        } else {
            body
        };
        async { ok(reply) }
    });
    let stage = Stage::with_limits(fixture, narrow(), slow).await;
    let pattern = Pattern::new();
    let request = post_to("/slow", pattern.body(AHEAD));
    let _reply = send(&*stage.connection, head(), request).await.expect("a reply");
    let (body, _feed) = within("the handler", unread.recv()).await.expect("the handler ran");
    stalls(&stage, &pattern).await;
    Pattern::check(body, AHEAD).await;
}

/// A sender that doesn't read holds back the handler, at the windows.
pub async fn a_handler_does_not_run_ahead_of_the_sender(fixture: &dyn Fixture) {
    let pattern = Arc::new(Pattern::new());
    let fast = {
        let pattern = Arc::clone(&pattern);
        handler(move |call| {
            let body = if call.is_to("/fast") { pattern.body(AHEAD) } else { call.request.into_body() };
            async { ok(body) }
        })
    };
    let stage = Stage::with_limits(fixture, narrow(), fast).await;
    let request = post_to("/fast", Body::empty());
    let reply = send(&*stage.connection, head(), request).await.expect("a reply");
    stalls(&stage, &pattern).await;
    Pattern::check(reply.response.into_body(), AHEAD).await;
}

/// The frames that are offered to one who doesn't read: 16 MiB.
const AHEAD: u64 = (16 << 20) / Pattern::FRAME as u64;

fn narrow() -> Limits {
    Limits { stream_window: 256 << 10, connection_window: 8 << 20, ..Limits::default() }
}

/// Waits until nothing more is taken of the pattern, which must be near the window: what a wire holds
/// before it sends may come on top.
async fn stalls(stage: &Stage, pattern: &Pattern) {
    let window = u64::from(narrow().stream_window);
    let taken = pattern.settles(window, || stage.still_works()).await;
    assert!(taken <= window + (1 << 20), "{taken} bytes were taken before one was read");
}

/// Answers each number with its double, as it comes.
fn doubling() -> Arc<dyn Handler> {
    handler(|call| async {
        let numbers = stream::unfold(Reader::new(call.request.into_body()), |mut reader| async {
            let doubled = match reader.next(8).await {
                Ok(Some(message)) => {
                    Ok(Frame::data(Bytes::from((number(&message) * 2).to_be_bytes().to_vec())))
                }
                Ok(None) => return None,
                Err(error) => Err(error),
            };
            Some((doubled, reader))
        });
        ok(Body::new(StreamBody::new(Box::pin(numbers))))
    })
}

/// Notes a request's trailers, and answers with its bytes and trailers of its own.
fn trailing(seen: Watched<Option<Fields>>) -> Arc<dyn Handler> {
    handler(move |call| {
        let seen = seen.clone();
        async move {
            let (bytes, trailers) = read(call.request.into_body()).await.expect("the body arrives");
            seen.change(|seen| *seen = trailers.as_ref().map(own));
            let data = (!bytes.is_empty()).then(|| Frame::data(bytes));
            let frames = data.into_iter().chain([Frame::trailers(fields(&[("x-checksum", "down")]))]);
            ok(Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, BodyError>)))))
        }
    })
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, HeaderValue::from_static(value));
    }
    map
}

/// Two values of one name, an empty one and one that is no text.
fn many_fields() -> HeaderMap {
    let mut map = fields(&[("x-twice", "first"), ("x-twice", "second"), ("x-empty", ""), ("x-list", "a, b")]);
    map.append("x-bytes", HeaderValue::from_bytes(b"\xff\x80 %").expect("a header value"));
    map
}

fn heads() -> Vec<Head> {
    let routed = |routed| Head::of(Kind::Routed(routed));
    let Kind::Routed(plain) = head().kind else { unreachable!("an ordinary head is routed") };
    let full = Routed {
        space: Space::new("{acme}/späces, 100% =;\"").expect("a space"),
        access: Access::ReadPrimary,
        believed: Epoch::new(u64::MAX),
        hops_left: u8::MAX,
        relay: true,
        attempt: u32::MAX,
        idempotency_key: Some(IdempotencyKey::new(1_700_000_000_000, [0xfe; 10])),
        max_age: Some(Duration::from_millis(1_500)),
        group: (0..=u8::MAX).collect::<Vec<u8>>().into(),
    };
    let longest = Routed {
        space: Space::new(&"\u{10ffff}".repeat(63)).expect("a space"),
        access: Access::Read,
        hops_left: 0,
        group: Bytes::from(vec![0; 4 << 10]),
        ..plain.clone()
    };
    let direct = Head {
        kind: Kind::Direct(node("n2")),
        remaining: Some(Duration::from_secs(3_600)),
        reply_within: None,
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    let hurried = Head {
        kind: Kind::Routed(full.clone()),
        remaining: Some(Duration::from_secs(30)),
        reply_within: Some(Duration::from_secs(20)),
        ..direct.clone()
    };
    vec![routed(plain), routed(full), routed(longest), direct, hurried]
        .into_iter()
        .cycle()
        .take(reply_heads().len().next_multiple_of(5))
        .collect()
}

fn reply_heads() -> Vec<ReplyHead> {
    let served = ReplyHead {
        served_by: Some(node("n3")),
        role: Some(Role::Replica),
        age: Some(Duration::from_millis(250)),
        hops: 2,
        epoch: Epoch::new((7 << 48) | 12),
        correction: (0..=u8::MAX).rev().collect::<Vec<u8>>().into(),
        ..ReplyHead::default()
    };
    let wait = ReplyHead {
        retry_after: Some(Duration::from_millis(1_500)),
        role: Some(Role::Primary),
        ..ReplyHead::of(Outcome::NotReady, "the späce is 100% held: try later, \"please\"")
    };
    let longest = ReplyHead::of(Outcome::Refused, "é".repeat(ReplyHead::MAX_REASON));
    let outcomes = Outcome::ALL.into_iter().map(|outcome| ReplyHead::of(outcome, "why"));
    [ReplyHead::default(), served, wait, longest].into_iter().chain(outcomes).collect()
}
