//! Either side gives up, and the other sees it. Nothing that was cut short looks complete.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Fixture;
use super::body::{Feed, Pattern, feed, read, read_error};
use super::handler::{handler, ok};
use super::stage::{Stage, head, post, post_to, send};
use super::wait::{Flag, Watched, within};
use crate::{Body, BodyError, Handler, Limits, SendErrorKind, Sent};

/// The handler is dropped, and so is the body that was being sent.
pub async fn dropping_the_call_cancels_it_at_the_peer(fixture: &dyn Fixture) {
    let (entered, left) = (Flag::new(), Flag::new());
    let stage = Stage::new(fixture, stuck(entered.clone(), left.clone())).await;
    let (feed, body) = feed();
    let mut call = stage.connection.send(head(), post(body));
    tokio::select! {
        result = &mut call => panic!("the handler is stuck, and yet: {result:?}"),
        () = entered.raised("the handler to run") => {}
    }
    assert!(!left.is_raised(), "the handler was dropped too early");
    drop(call);
    left.raised("the handler to be dropped").await;
    feed.dropped("the request's body to be dropped").await;
}

/// It may be on its way already, and yet it keeps neither its place nor its body.
pub async fn a_call_that_is_dropped_before_it_is_polled_is_over(fixture: &dyn Fixture) {
    let limits = Limits { max_streams: 4, ..Limits::default() };
    let echo = || handler(|call| async { ok(call.request.into_body()) });
    let stage = Stage::with_limits(fixture, limits, echo()).await;
    for _ in 0..10 {
        drop(stage.connection.send(head(), post("nobody waits for it")));
        let (feed, body) = feed();
        drop(stage.connection.send(head(), post(body)));
        feed.dropped("the request's body to be dropped").await;
    }
    stage.still_works().await;
}

/// The reply's source is dropped, and the request that still streams is cut short.
pub async fn dropping_the_reply_cancels_it_at_the_peer(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let (feeds, mut started) = mpsc::unbounded_channel::<Feed>();
    let streaming = {
        let seen = seen.clone();
        handler(move |call| {
            let (feed, body) = feed();
            feeds.send(feed).expect("the case waits for it");
            watch(call.request.into_body(), seen.clone());
            async { ok(body) }
        })
    };
    let stage = Stage::new(fixture, streaming).await;
    let (up, body) = feed();
    let reply = stage.send(body).await.expect("a reply");
    let down = within("the handler", started.recv()).await.expect("the handler ran");
    up.data("request").await;
    down.data("reply").await;
    drop(reply);
    down.dropped("the reply's source to be dropped").await;
    up.dropped("the request's source to be dropped").await;
    assert_eq!(end(&seen).await, Err(BodyError::Aborted));
}

/// A request whose source fails is no complete request, and the call says why.
pub async fn a_failing_request_is_cut_short_at_the_peer(fixture: &dyn Fixture) {
    let (entered, seen) = (Flag::new(), Watched::new(None));
    let waiting = {
        let (entered, seen) = (entered.clone(), seen.clone());
        handler(move |call| {
            entered.raise();
            watch(call.request.into_body(), seen.clone());
            std::future::pending()
        })
    };
    let stage = Stage::new(fixture, waiting).await;
    let (feed, body) = feed();
    let failing = async {
        feed.data("half of it").await;
        entered.raised("the handler to run").await;
        feed.fail().await;
    };
    let (reply, ()) = tokio::join!(stage.send(body), failing);
    let error = reply.expect_err("the request failed");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Body), "{error}");
    assert!(error.message.contains("the disk is on fire"), "{error}");
    assert_eq!(end(&seen).await, Err(BodyError::Aborted));
}

/// The same, when the reply streams already: it ends too.
pub async fn a_failing_request_is_cut_short_after_the_head_too(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let (feeds, mut started) = mpsc::unbounded_channel::<Feed>();
    let streaming = {
        let seen = seen.clone();
        handler(move |call| {
            let (feed, body) = feed();
            feeds.send(feed).expect("the case waits for it");
            watch(call.request.into_body(), seen.clone());
            async { ok(body) }
        })
    };
    let stage = Stage::new(fixture, streaming).await;
    let (up, body) = feed();
    let reply = stage.send(body).await.expect("a reply");
    let down = within("the handler", started.recv()).await.expect("the handler ran");
    up.data("half of it").await;
    up.fail().await;
    assert_eq!(end(&seen).await, Err(BodyError::Aborted));
    down.dropped("the reply's source to be dropped").await;
    read_error(reply.response.into_body()).await;
}

/// A reply whose source fails is no complete reply, and the request that still streams ends with it.
pub async fn a_failing_reply_is_cut_short_at_the_sender(fixture: &dyn Fixture) {
    let seen = Watched::new(None);
    let failing = {
        let seen = seen.clone();
        handler(move |call| {
            watch(call.request.into_body(), seen.clone());
            let (feed, body) = feed();
            tokio::spawn(async move {
                feed.data("half of it").await;
                feed.fail().await;
            });
            async { ok(body) }
        })
    };
    let stage = Stage::new(fixture, failing).await;
    let (up, body) = feed();
    let reply = stage.send(body).await.expect("a reply");
    assert_eq!(read_error(reply.response.into_body()).await, BodyError::Aborted);
    up.dropped("the request's source to be dropped").await;
    assert_eq!(end(&seen).await, Err(BodyError::Aborted));
}

/// A handler may answer without reading: the reply arrives whole, and the request is sent no further.
pub async fn a_reply_ends_a_request_that_nobody_reads(fixture: &dyn Fixture) {
    let hasty = handler(|_| async { ok("no, thank you") });
    let stage = Stage::new(fixture, hasty).await;
    for _ in 0..20 {
        let (feed, body) = feed();
        let pattern = Pattern::new();
        let sides = [body, pattern.body(1 << 10)];
        for body in sides {
            let reply = stage.send(body).await.expect("a reply");
            let (bytes, _) = read(reply.response.into_body()).await.expect("the whole reply");
            assert_eq!(bytes, "no, thank you");
        }
        feed.dropped("the request's source to be dropped").await;
    }
}

/// Many cancelled calls don't cost the others their connection, nor their places.
pub async fn a_cancelled_call_leaves_the_connection_alone(fixture: &dyn Fixture) {
    let entered = Watched::new(0_u32);
    let selective = {
        let entered = entered.clone();
        handler(move |call| {
            entered.change(|entered| *entered += 1);
            async {
                if call.is_to("/stuck") {
                    std::future::pending::<()>().await;
                }
                ok(call.request.into_body())
            }
        })
    };
    let limits = Limits { max_streams: 10, ..Limits::default() };
    let stage = Stage::with_limits(fixture, limits, selective).await;
    let mut expected = 0;
    for _ in 0..20 {
        let stuck = (0..10).map(|_| stage.connection.send(head(), post_to("/stuck", "stuck")));
        expected += 10;
        tokio::select! {
            _ = futures_util::future::select_all(stuck) => panic!("a stuck call has ended"),
            () = entered.until("the calls to be stuck", |entered| *entered == expected) => {}
        }
        stage.still_works().await;
        expected += 1;
    }
    let reply = send(&*stage.connection, head(), post("last")).await.expect("a reply");
    assert_eq!(read(reply.response.into_body()).await.expect("the body arrives").0, "last");
}

/// How a request's body ended, as a handler's side has seen it.
type End = Watched<Option<Result<usize, BodyError>>>;

/// Reads a request's body in a task of its own, which outlives the handler.
fn watch(body: Body, seen: End) {
    tokio::spawn(async move {
        let end = read(body).await.map(|(bytes, _)| bytes.len());
        seen.change(|seen| *seen = Some(end));
    });
}

async fn end(seen: &End) -> Result<usize, BodyError> {
    seen.until("the end of the request's body at the handler", Option::is_some).await;
    seen.now().expect("it has ended")
}

/// Never answers.
fn stuck(entered: Flag, left: Flag) -> Arc<dyn Handler> {
    handler(move |call| {
        let (entered, guard) = (entered.clone(), left.on_drop());
        async move {
            entered.raise();
            std::future::pending::<()>().await;
            drop((guard, call));
            ok(Body::empty())
        }
    })
}
