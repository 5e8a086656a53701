//! A peer is gone: before, in the middle of and after an exchange.

use std::sync::Arc;

use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::body::{Feed, Reader, feed, read, read_error};
use super::handler::{echo, handler, ok};
use super::stage::{Stage, dial, head, node, post, post_to, send};
use super::wait::{Flag, Watched, within};
use super::{Fixture, Proof};
use crate::{Body, BodyError, Handler, Limits, SendErrorKind, Sent};

/// Nobody listens there; the error names who and where.
pub async fn a_peer_that_is_not_there_is_not_sent(fixture: &dyn Fixture) {
    let Stage { listener, transport, peer, connection, .. } = Stage::new(fixture, echo()).await;
    fixture.kill(listener);
    within("the connection to be lost", connection.closed()).await;
    let error = dial(&*transport, &peer).await.map(drop).expect_err("nobody listens");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
    for part in [peer.node.as_str(), &peer.address] {
        assert!(error.message.contains(part), "{error} names {part}");
    }
}

/// An idle connection learns that it is lost, and takes nothing any more.
pub async fn a_lost_connection_says_so_and_sends_nothing(fixture: &dyn Fixture) {
    let stage = Stage::new(fixture, echo()).await;
    stage.still_works().await;
    fixture.kill(stage.listener);
    within("the connection to be lost", stage.connection.closed()).await;
    assert!(!stage.connection.is_open());
    let error = send(&*stage.connection, head(), post("lost")).await.expect_err("the connection is lost");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
}

/// The handler runs when its node dies: nobody can tell what it has done.
pub async fn a_peer_gone_before_the_head_is_maybe_sent(fixture: &dyn Fixture) {
    let (entered, left) = (Flag::new(), Flag::new());
    let stuck = {
        let (entered, left) = (entered.clone(), left.clone());
        handler(move |_| {
            let guard = left.on_drop();
            entered.raise();
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                ok(Body::empty())
            }
        })
    };
    let stage = Stage::new(fixture, stuck).await;
    let (feed, body) = feed();
    let Stage { listener, connection, .. } = stage;
    let killing = async {
        entered.raised("the handler to run").await;
        fixture.kill(listener);
    };
    let call = send(&*connection, head(), post(body));
    let (reply, ()) = tokio::join!(call, killing);
    let error = reply.expect_err("the peer is gone");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost), "{error}");
    left.raised("the handler to be dropped").await;
    feed.dropped("the request's source to be dropped").await;
    within("the connection to be lost", connection.closed()).await;
}

/// The reply's body says that the connection was lost, and not that it is complete.
pub async fn a_peer_gone_in_the_middle_of_the_reply_is_lost(fixture: &dyn Fixture) {
    let (feeds, mut started) = mpsc::unbounded_channel::<Feed>();
    let streaming = handler(move |_| {
        let (feed, body) = feed();
        feeds.send(feed).expect("the case waits for it");
        async { ok(body) }
    });
    let stage = Stage::new(fixture, streaming).await;
    // One whose head has just arrived, and one in the middle.
    let after_the_head = stage.send(Body::empty()).await.expect("a reply");
    let _silent = within("the handler", started.recv()).await.expect("the handler ran");
    let reply = stage.send(Body::empty()).await.expect("a reply");
    let feed = within("the handler", started.recv()).await.expect("the handler ran");
    feed.data("first").await;
    let mut reader = Reader::new(reply.response.into_body());
    assert_eq!(reader.next(5).await.expect("no error").expect("the first bytes"), "first");
    fixture.kill(stage.listener);
    assert_eq!(reader.next(1).await, Err(BodyError::Lost));
    assert_eq!(read_error(after_the_head.response.into_body()).await, BodyError::Lost);
    feed.dropped("the reply's source to be dropped").await;
}

/// The handler's node dies while the request still streams: its source is dropped, the reply is lost.
pub async fn a_peer_gone_in_the_middle_of_the_request_is_lost(fixture: &dyn Fixture) {
    let (entered, left, end) = (Flag::new(), Flag::new(), Watched::new(None));
    let reading = reading(entered.clone(), left, end.clone());
    let Stage { listener, connection, .. } = Stage::new(fixture, reading).await;
    let (feed, body) = feed();
    let killing = async {
        feed.data("first").await;
        entered.raised("the handler to run").await;
        feed.data("second").await;
        fixture.kill(listener);
        feed.dropped("the request's source to be dropped").await;
    };
    let call = send(&*connection, head(), post_to("/stream", body));
    let (reply, ()) = tokio::join!(call, killing);
    let error = reply.expect_err("the peer is gone");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost), "{error}");
    broken(&end).await;
}

/// The node that sends dies: its handler is dropped, its request doesn't look complete, and others are
/// served as before.
pub async fn a_sender_that_dies_is_noticed(fixture: &dyn Fixture) {
    let (entered, left, end) = (Flag::new(), Flag::new(), Watched::new(None));
    let stage = Stage::new(fixture, reading(entered.clone(), left.clone(), end.clone())).await;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let transport = {
        let _inside = runtime.enter();
        fixture.transport(&node("n3"), Proof::Own, Limits::default())
    };
    let peer = stage.peer.clone();
    let (feed, body) = feed();
    runtime.spawn(async move {
        let connection = dial(&*transport, &peer).await.expect("n2 can be dialled");
        let _ = send(&*connection, head(), post_to("/stream", body)).await;
    });
    feed.data("first").await;
    entered.raised("the handler to run").await;
    feed.data("second").await;
    runtime.shutdown_background();
    left.raised("the handler to be dropped").await;
    broken(&end).await;
    stage.still_works().await;
}

/// A panic is a bug of the handler; it costs that call, and no other.
pub async fn a_handler_that_panics_fails_its_call_alone(fixture: &dyn Fixture) {
    let fragile = handler(|call| async move {
        assert!(!call.is_to("/panic"), "a panic on purpose");
        ok(call.request.into_body())
    });
    let stage = Stage::new(fixture, fragile).await;
    let (feed, body) = feed();
    let other = stage.send(body).await.expect("a reply");
    let call = send(&*stage.connection, head(), post_to("/panic", Body::empty())).await;
    let error = call.expect_err("the handler panics");
    assert_eq!(error.sent, Sent::MaybeSent, "{error}");
    feed.data("unharmed").await;
    drop(feed);
    assert_eq!(read(other.response.into_body()).await.expect("the body arrives").0, "unharmed");
    stage.still_works().await;
}

/// A node starts again where it was: a new connection works, the old one stays closed.
pub async fn a_restarted_peer_is_reached_again(fixture: &dyn Fixture) {
    let mut stage = Stage::new(fixture, echo()).await;
    for _ in 0..5 {
        stage.still_works().await;
        let old = Arc::clone(&stage.connection);
        fixture.kill(stage.listener);
        within("the connection to be lost", old.closed()).await;
        let restarting = fixture.listen(
            &stage.peer.node,
            Proof::Own,
            Some(&stage.peer.address),
            Limits::default(),
            echo(),
        );
        stage.listener = within("the restart", restarting).await;
        assert_eq!(stage.listener.address(), stage.peer.address);
        assert!(!old.is_open(), "a closed connection stays closed");
        stage.connection = dial(&*stage.transport, &stage.peer).await.expect("n2 can be dialled again");
    }
    stage.still_works().await;
}

/// Reads what is sent to `/stream` in a task of its own, and never answers it; echoes everything else.
fn reading(entered: Flag, left: Flag, end: Watched<Option<End>>) -> Arc<dyn Handler> {
    handler(move |call| {
        let (guard, end) = (left.on_drop(), end.clone());
        let entered = entered.clone();
        async move {
            if !call.is_to("/stream") {
                return ok(call.request.into_body());
            }
            tokio::spawn(async move {
                let read = read(call.request.into_body()).await.map(|(bytes, _)| bytes.len());
                end.change(|end| *end = Some(read));
            });
            entered.raise();
            std::future::pending::<()>().await;
            drop(guard);
            ok(Body::empty())
        }
    })
}

/// The length of a body that was complete, or why it wasn't.
type End = Result<usize, BodyError>;

/// Waits until a body has ended, which must not look complete.
async fn broken(end: &Watched<Option<End>>) {
    end.until("the request's body to end at the handler", Option::is_some).await;
    assert!(matches!(end.now(), Some(Err(_))), "the body looks complete: {:?}", end.now());
}
