//! A listener that shuts down finishes what runs, takes nothing new, and ends in time.

use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Fixture;
use super::body::{Feed, Reader, feed, read_error};
use super::handler::{echo, handler, ok};
use super::stage::{Stage, dial, head, post, post_to, send};
use super::wait::{Flag, within};
use crate::{Body, BodyError, Limits, Listener, SendErrorKind, Sent};

const AN_HOUR: Duration = Duration::from_secs(3_600);

/// A stream that runs goes on to its end; new calls and dials are not sent, and say so.
pub async fn running_calls_finish_and_new_ones_are_not_sent(fixture: &dyn Fixture) {
    let Stage { listener, transport, peer, connection, .. } = Stage::new(fixture, echo()).await;
    let (feed, body) = feed();
    let reply = send(&*connection, head(), post(body)).await.expect("a reply");
    let mut reader = Reader::new(reply.response.into_body());
    feed.data("before").await;
    assert_eq!(reader.next(6).await.expect("no error").expect("an echo"), "before");

    let stopping = stop(listener, AN_HOUR);
    within("the connection to close", connection.closed()).await;
    assert!(!connection.is_open());
    let call = send(&*connection, head(), post("new")).await.map(drop);
    let another = dial(&*transport, &peer).await.map(drop);
    for error in [call, another].map(|result| result.expect_err("the listener shuts down")) {
        assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
    }

    for _ in 0..20 {
        feed.data("during").await;
        assert_eq!(reader.next(6).await.expect("no error").expect("an echo"), "during");
    }
    assert!(!stopping.is_finished(), "the listener didn't wait for the stream that runs");
    drop(feed);
    assert_eq!(reader.next(1).await, Ok(None));
    within("the shutdown to end", stopping).await.expect("no panic");
}

/// A call that waits for a place learns at once that it gets none: it doesn't wait for the drain.
pub async fn a_call_that_waits_for_a_place_is_not_sent(fixture: &dyn Fixture) {
    let limits = Limits { max_streams: 1, ..Limits::default() };
    let Stage { listener, connection, .. } = Stage::with_limits(fixture, limits, echo()).await;
    let (_feed, body) = feed();
    let _running = send(&*connection, head(), post(body)).await.expect("a reply");
    let mut waiting = connection.send(head(), post("waits"));
    tokio::select! {
        biased;
        result = &mut waiting => panic!("there is no place, and yet: {result:?}"),
        () = std::future::ready(()) => {}
    }
    let _stopping = stop(listener, AN_HOUR);
    let error = within("the call that waits", waiting).await.expect_err("the listener shuts down");
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Unreachable), "{error}");
}

/// What still runs when the drain is over is cut, on both sides.
pub async fn it_cuts_what_outlasts_the_drain(fixture: &dyn Fixture) {
    let left = Flag::new();
    let (feeds, mut started) = mpsc::unbounded_channel::<Feed>();
    let endless = {
        let left = left.clone();
        handler(move |call| {
            let guard = left.on_drop();
            let (feed, body) = feed();
            let stuck = call.is_to("/stuck");
            feeds.send(feed).expect("the case waits for it");
            async move {
                if stuck {
                    std::future::pending::<()>().await;
                }
                drop(guard);
                ok(body)
            }
        })
    };
    let Stage { listener, connection, .. } = Stage::new(fixture, endless).await;
    let reply = send(&*connection, head(), post(Body::empty())).await.expect("a reply");
    let streaming = within("the handler", started.recv()).await.expect("the handler ran");
    let cutting = async {
        let _feed = within("the handler", started.recv()).await.expect("the handler ran");
        let stopping = stop(listener, Duration::from_millis(200));
        within("the shutdown to end", stopping).await.expect("no panic");
    };
    let (call, ()) = tokio::join!(send(&*connection, head(), post_to("/stuck", Body::empty())), cutting);
    let error = call.expect_err("the call was cut");
    assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Lost), "{error}");
    left.raised("the handler to be dropped").await;
    let error = read_error(reply.response.into_body()).await;
    assert!(matches!(error, BodyError::Lost | BodyError::Aborted), "{error}");
    streaming.dropped("the reply's source to be dropped").await;
}

/// An idle connection doesn't hold up a shutdown, however long the drain may last.
pub async fn without_calls_it_ends_at_once(fixture: &dyn Fixture) {
    let stage = Stage::new(fixture, echo()).await;
    stage.still_works().await;
    within("the shutdown to end", stop(stage.listener, AN_HOUR)).await.expect("no panic");
    within("the connection to close", stage.connection.closed()).await;
}

/// Dropping the handle of a connection lets what runs on it finish.
pub async fn an_open_body_outlives_its_connection_handle(fixture: &dyn Fixture) {
    let stage = Stage::new(fixture, echo()).await;
    let (feed, body) = feed();
    let reply = stage.send(body).await.expect("a reply");
    drop((stage.connection, stage.transport));
    let mut reader = Reader::new(reply.response.into_body());
    for _ in 0..20 {
        feed.data("after").await;
        assert_eq!(reader.next(5).await.expect("no error").expect("an echo"), "after");
    }
    drop(feed);
    assert_eq!(reader.next(1).await, Ok(None));
}

/// Once the connection, the transport and the listener are gone, so is every task of theirs: after calls
/// that ended well, that were cancelled, and that still ran.
pub async fn nothing_is_left_behind(fixture: &dyn Fixture) {
    let alive = || Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let Stage { listener, transport, connection, .. } = Stage::new(fixture, echo()).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        send(&*connection, head(), post("ended well")).await.expect("a reply");
        let (feed, body) = feed();
        let reply = send(&*connection, head(), post(body)).await.expect("a reply");
        feed.data("it runs").await;
        held.push((feed, reply));
    }
    assert!(alive() > before, "a connection with running calls has no task: nothing is tested");
    held.truncate(5);
    drop(listener);
    within("the connection to close", connection.closed()).await;
    drop((held, connection, transport));
    let ended = async {
        while alive() > before {
            tokio::task::yield_now().await;
        }
    };
    within("every task to end", ended).await;
}

/// Shuts down in a task of its own.
fn stop(listener: Box<dyn Listener>, drain: Duration) -> JoinHandle<()> {
    tokio::spawn(async move { listener.shutdown(drain).await })
}
