//! Over a limit there is a clear error, and the connection survives.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use homing_types::Outcome;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;

use super::body::{feed, read};
use super::handler::{echo, handler, ok};
use super::stage::{Stage, dial, head, listen, node, post, send};
use super::wait::{Flag, Watched, within};
use super::{Fixture, Proof};
use crate::{Body, Connection, Handler, Head, Limits, Peer, Reply, SendErrorKind, Sent};

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

/// A message over the limit that only shows up while the body streams ends the call.
pub async fn a_streamed_message_over_the_limit_ends_the_call(fixture: &dyn Fixture) {
    let stage = Stage::with_limits(fixture, small(), echo()).await;
    let (feed, body) = feed();
    let sending = async {
        feed.data(message(1_000)).await;
        feed.data(message(2_000)).await;
        feed.dropped("the request's source to be dropped").await;
    };
    let call = answer(&*stage.connection, grpc(body));
    let (answer, ()) = tokio::join!(call, sending);
    // With an echo the head of the reply may be there before the message: then the reply's body fails.
    if let Err(Broken::Call(error)) = answer {
        assert_eq!((error.sent, error.kind), (Sent::MaybeSent, SendErrorKind::Limit), "{error}");
        names(&error.message, &["2000", "1000", "max_message"]);
    } else {
        assert!(matches!(answer, Err(Broken::Body(_))), "the body looks complete: {answer:?}");
    }
    stage.still_works().await;
}
