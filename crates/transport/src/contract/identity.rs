//! Both sides know who the other is, and nobody else gets anything done.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::handler::{handler, ok};
use super::stage::{Stage, dial, head, node, post, send};
use super::wait::{Watched, within};
use super::{Fixture, Proof};
use crate::{Body, Handler, Limits, Listener, Peer, SendError, SendErrorKind, Sent};

/// The handler's `from` is who the certificate names, connection by connection.
pub async fn the_handler_is_told_who_sends(fixture: &dyn Fixture) {
    let (froms, mut from) = mpsc::unbounded_channel();
    let noting = handler(move |call| {
        froms.send(call.from).expect("the case waits for it");
        async { ok(Body::empty()) }
    });
    let stage = Stage::new(fixture, noting).await;
    for id in ["n3", "n1", "n4"] {
        let transport = fixture.transport(&node(id), Proof::Own, Limits::default());
        let connection = dial(&*transport, &stage.peer).await.expect("n2 can be dialled");
        send(&*connection, head(), post(Body::empty())).await.expect("a reply");
        assert_eq!(within("the handler", from.recv()).await, Some(node(id)));
    }
}

/// Whoever listens there honestly, but isn't who was dialled, gets nothing.
pub async fn a_peer_must_be_who_was_dialled(fixture: &dyn Fixture) {
    let count = Watched::new(0);
    let stage = Stage::new(fixture, counting(count.clone())).await;
    let wrong = Peer { node: node("n3"), address: stage.peer.address.clone() };
    let error = dial(&*stage.transport, &wrong).await.map(drop).expect_err("n2 is not n3");
    refused(&error, &wrong);
    assert_eq!(count.now(), 0, "calls that the handler saw");
    stage.still_works().await;
}

/// One who listens and can't prove who it is gets nothing.
pub async fn a_stranger_who_listens_is_refused(fixture: &dyn Fixture) {
    let transport = fixture.transport(&node("n1"), Proof::Own, Limits::default());
    for proof in Proof::REFUSED_OF_LISTENERS {
        let count = Watched::new(0);
        let listener = stranger(fixture, proof, counting(count.clone())).await;
        let peer = Peer { node: node("n2"), address: listener.address() };
        match dial(&*transport, &peer).await {
            Ok(_) => panic!("a listener with {proof:?} was taken for n2"),
            Err(error) => refused(&error, &peer),
        }
        assert_eq!(count.now(), 0, "calls that the handler saw");
    }
}

/// One who dials and can't prove who it is gets nothing, and members are served as before.
pub async fn a_stranger_who_dials_is_refused(fixture: &dyn Fixture) {
    let count = Watched::new(0);
    let stage = Stage::new(fixture, counting(count.clone())).await;
    for proof in Proof::REFUSED_OF_DIALLERS {
        let stranger = fixture.transport(&node("n3"), proof, Limits::default());
        match dial(&*stranger, &stage.peer).await {
            Ok(_) => panic!("one who dials with {proof:?} was taken for a member"),
            Err(error) => refused(&error, &stage.peer),
        }
    }
    assert_eq!(count.now(), 0, "calls that the handler saw");
    stage.still_works().await;
    let again = dial(&*stage.transport, &stage.peer).await.expect("a member can dial");
    send(&*again, head(), post(Body::empty())).await.expect("a reply");
}

async fn stranger(fixture: &dyn Fixture, proof: Proof, handler: Arc<dyn Handler>) -> Box<dyn Listener> {
    within("a listener", fixture.listen(&node("n2"), proof, None, Limits::default(), handler)).await
}

fn refused(error: &SendError, peer: &Peer) {
    assert_eq!((error.sent, error.kind), (Sent::NotSent, SendErrorKind::Identity), "{error}");
    for part in [peer.node.as_str(), &peer.address] {
        assert!(error.message.contains(part), "{error} names {part}");
    }
    assert_eq!(error.message.lines().count(), 1, "{error}");
}

fn counting(count: Watched<u32>) -> Arc<dyn Handler> {
    handler(move |call| {
        count.change(|count| *count += 1);
        async { ok(call.request.into_body()) }
    })
}
