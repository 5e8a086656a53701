//! A deadline bounds the whole exchange, bodies included, on both sides.

use std::time::Duration;

use homing_types::Outcome;
use tokio::sync::mpsc;

use super::Fixture;
use super::body::{Feed, feed, read_error};
use super::handler::{echo, handler, ok};
use super::stage::{Stage, head, post, send};
use super::wait::{Flag, Watched, within};
use crate::{Body, BodyError, Head, SendErrorKind, Sent};

/// Long enough for a request to arrive on a busy machine.
const SOON: Duration = Duration::from_secs(1);

/// No time is left: nobody sees the request.
pub async fn a_passed_deadline_is_not_sent(fixture: &dyn Fixture) {
    let stage = Stage::new(fixture, echo()).await;
    let late = Head { remaining: Some(Duration::ZERO), ..head() };
    let error = send(&*stage.connection, late, post("late")).await.expect_err("no time is left");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Deadline), "{error}");
    stage.still_works().await;
}

/// The handler is stuck: it is dropped, and the call ends.
pub async fn it_ends_the_wait_for_the_head(fixture: &dyn Fixture) {
    let left = Flag::new();
    let stuck = {
        let left = left.clone();
        handler(move |call| {
            let guard = left.on_drop();
            async move {
                if call.head.remaining.is_some() {
                    std::future::pending::<()>().await;
                }
                drop(guard);
                ok(call.request.into_body())
            }
        })
    };
    let stage = Stage::new(fixture, stuck).await;
    // Whose clock is first is chance: the sender's own, or the peer's, which says the same as an outcome.
    match send(&*stage.connection, soon(), post("stuck")).await {
        Ok(reply) => assert_eq!(reply.head.outcome, Some(Outcome::MaybeSent)),
        Err(error) => {
            assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Deadline), "{error}");
        }
    }
    left.raised("the handler to be dropped").await;
    stage.still_works().await;
}

/// The reply stops in the middle of its body: the body fails, and its source is dropped.
pub async fn it_ends_the_body_of_the_reply(fixture: &dyn Fixture) {
    let (stage, mut started) = streaming(fixture).await;
    let reply = send(&*stage.connection, soon(), post(Body::empty())).await.expect("a reply");
    let feed = within("the handler", started.recv()).await.expect("the handler ran");
    feed.data("first").await;
    let error = read_error(reply.response.into_body()).await;
    assert!(matches!(error, BodyError::Deadline | BodyError::Aborted), "{error}");
    feed.dropped("the reply's source to be dropped").await;
    stage.still_works().await;
}

/// The request stops in the middle of its body: the handler sees it fail, and its source is dropped.
pub async fn it_ends_the_body_of_the_request(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let reading = {
        let seen = seen.clone();
        handler(move |call| {
            let seen = seen.clone();
            async move {
                if call.head.remaining.is_none() {
                    return ok(call.request.into_body());
                }
                tokio::spawn(async move {
                    let error = read_error(call.request.into_body()).await;
                    seen.change(|seen| *seen = Some(error));
                });
                std::future::pending().await
            }
        })
    };
    let stage = Stage::new(fixture, reading).await;
    let (feed, body) = feed();
    let sending = async {
        feed.data("first").await;
        feed.dropped("the request's source to be dropped").await;
    };
    let (reply, ()) = tokio::join!(send(&*stage.connection, soon(), post(body)), sending);
    match reply {
        Ok(reply) => assert_eq!(reply.head.outcome, Some(Outcome::MaybeSent)),
        Err(error) => {
            assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Deadline), "{error}");
        }
    }
    seen.until("the handler to see the body fail", Option::is_some).await;
    let error = seen.now().expect("it has failed");
    assert!(matches!(error, BodyError::Deadline | BodyError::Aborted), "{error}");
    stage.still_works().await;
}

/// Replies that nobody reads fill the windows of their streams and, all together, of their connection: they are dropped
/// at both ends, and the window is free again.
pub async fn it_ends_replies_that_nobody_reads(fixture: &dyn Fixture) {
    const REPLIES: usize = 16;
    const PIECE: usize = 64 << 10;
    let (stage, mut started) = streaming(fixture).await;
    let mut unread = Vec::new();
    let mut endless = Vec::new();
    for _ in 0..REPLIES {
        unread.push(send(&*stage.connection, soon(), post(Body::empty())).await.expect("a reply"));
        let feed = within("the handler", started.recv()).await.expect("the handler ran");
        endless.push(tokio::spawn(async move { while feed.offer(vec![7; PIECE]).await {} }));
    }
    for source in endless {
        within("the reply's source to be dropped", source).await.expect("no panic");
    }
    stage.still_works().await;
    drop(unread);
}

/// A handler whose replies are fed by hand, where there is a deadline.
async fn streaming(fixture: &dyn Fixture) -> (Stage, mpsc::UnboundedReceiver<Feed>) {
    let (feeds, started) = mpsc::unbounded_channel();
    let handler = handler(move |call| {
        let body = if call.head.remaining.is_some() {
            let (feed, body) = feed();
            feeds.send(feed).expect("the case waits for it");
            body
        } else {
            call.request.into_body()
        };
        async { ok(body) }
    });
    (Stage::new(fixture, handler).await, started)
}

fn soon() -> Head {
    Head { remaining: Some(SOON), ..head() }
}
