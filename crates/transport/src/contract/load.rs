//! Many calls share one connection, and control traffic has one of its own.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::Fixture;
use super::body::{Pattern, read};
use super::handler::{handler, ok};
use super::stage::{Stage, head, post, post_to, send};
use super::wait::within;
use crate::{Body, Connection, Lane, Limits};

/// None is answered before all are in the handler.
pub async fn a_thousand_calls_are_open_at_once(fixture: &dyn Fixture) {
    let barrier = Arc::new(Barrier::new(1_000));
    let meeting = handler(move |call| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            ok(call.request.into_body())
        }
    });
    let stage = Stage::new(fixture, meeting).await;
    let calls = (0..1_000_u32).map(|call| {
        let connection = Arc::clone(&stage.connection);
        tokio::spawn(async move {
            let body = Bytes::from(call.to_be_bytes().to_vec());
            let reply = send(&*connection, head(), post(body)).await.expect("a reply");
            let (bytes, _) = read(reply.response.into_body()).await.expect("the body arrives");
            assert_eq!(bytes, call.to_be_bytes()[..]);
        })
    });
    for call in join_all(calls).await {
        call.expect("the call succeeds");
    }
}

/// Payload that nobody reads fills the windows of its connection; a control call passes all the same.
pub async fn control_is_not_behind_payload(fixture: &dyn Fixture) {
    const STREAMS: usize = 8;
    const WINDOW: u32 = 1 << 20;
    const FRAMES: u64 = (4 << 20) / Pattern::FRAME as u64;
    let pattern = Arc::new(Pattern::new());
    let serving = {
        let pattern = Arc::clone(&pattern);
        handler(move |call| {
            let payload = call.is_to("/payload");
            let body = if payload { pattern.body(FRAMES) } else { call.request.into_body() };
            async { ok(body) }
        })
    };
    let limits = Limits { stream_window: WINDOW, connection_window: WINDOW, ..Limits::default() };
    let stage = Stage::with_limits(fixture, limits, serving).await;
    let dialling = stage.transport.dial(&stage.peer, Lane::Control);
    let control = within("a dial", dialling).await.expect("n2 can be dialled");
    // On some wires a head, too, waits behind what nobody reads: the calls are not made one after another.
    let unread: Vec<_> = (0..STREAMS)
        .map(|_| {
            let connection = Arc::clone(&stage.connection);
            tokio::spawn(async move {
                let request = post_to("/payload", Body::empty());
                send(&*connection, head(), request).await.expect("a reply").response.into_body()
            })
        })
        .collect();
    let taken = pattern.settles(WINDOW.into(), || control_call(&*control)).await;
    let most = u64::from(WINDOW) + (1 << 20);
    assert!(taken <= most, "{taken} bytes of payload were taken: the connection is not clogged");
    join_all(unread.into_iter().map(|call| async {
        Pattern::check(call.await.expect("the call succeeds"), FRAMES).await;
    }))
    .await;
}

async fn control_call(connection: &dyn Connection) {
    let reply = send(connection, head(), post("control")).await.expect("a reply");
    assert_eq!(read(reply.response.into_body()).await.expect("the body arrives").0, "control");
}
