use std::sync::Arc;

use bytes::Bytes;
use homing_types::{Access, Epoch, NodeId, Space};
use http::{HeaderMap, Method, Uri};

use super::body::read;
use super::wait::within;
use super::{Fixture, Proof};
use crate::{
    Body, Connection, Handler, Head, Kind, Lane, Limits, Listener, Peer, Reply, Routed, SendError, Transport,
};

/// Two nodes and one connection: `n1` has dialled `n2`.
pub(super) struct Stage {
    pub(super) listener: Box<dyn Listener>,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) peer: Peer,
    pub(super) connection: Arc<dyn Connection>,
}

impl Stage {
    pub(super) async fn new(fixture: &dyn Fixture, handler: Arc<dyn Handler>) -> Self {
        Self::with_limits(fixture, Limits::default(), handler).await
    }

    /// Both sides have the same limits.
    pub(super) async fn with_limits(
        fixture: &dyn Fixture,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let listener = listen(fixture, limits.clone(), handler).await;
        let transport = fixture.transport(&node("n1"), Proof::Own, limits);
        let peer = Peer { node: node("n2"), address: listener.address() };
        let connection = dial(&*transport, &peer).await.expect("n2 can be dialled");
        Self { listener, transport, peer, connection }
    }

    /// Sends a request of this body and waits for the reply's head.
    pub(super) async fn send(&self, body: impl Into<Body>) -> Result<Reply, SendError> {
        send(&*self.connection, head(), post(body)).await
    }

    /// Shows that the connection still works.
    pub(super) async fn still_works(&self) {
        assert!(self.connection.is_open(), "the connection is open");
        let reply = self.send(Bytes::from_static(b"still there")).await.expect("the connection works");
        let (bytes, _) = read(reply.response.into_body()).await.expect("the body arrives");
        assert_eq!(bytes, "still there");
    }
}

/// `n2` listens.
pub(super) async fn listen(
    fixture: &dyn Fixture,
    limits: Limits,
    handler: Arc<dyn Handler>,
) -> Box<dyn Listener> {
    within("a listener", fixture.listen(&node("n2"), Proof::Own, None, limits, handler)).await
}

pub(super) async fn dial(transport: &dyn Transport, peer: &Peer) -> Result<Arc<dyn Connection>, SendError> {
    within("a dial", transport.dial(peer, Lane::Payload)).await
}

pub(super) async fn send(
    connection: &dyn Connection,
    head: Head,
    request: http::Request<Body>,
) -> Result<Reply, SendError> {
    within("the head of a reply", connection.send(head, request)).await
}

pub(super) fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

/// The head of an ordinary write.
pub(super) fn head() -> Head {
    let routed = Routed {
        space: Space::new("acme").expect("a space"),
        access: Access::Write,
        believed: Epoch::ZERO,
        hops_left: 3,
        relay: false,
        attempt: 1,
        idempotency_key: None,
        max_age: None,
        group: Bytes::new(),
    };
    Head::of(Kind::Routed(routed))
}

/// An ordinary request.
pub(super) fn post(body: impl Into<Body>) -> http::Request<Body> {
    post_to("/contract.Suite/Call", body)
}

/// A request whose path tells the handler what to do.
pub(super) fn post_to(path: &'static str, body: impl Into<Body>) -> http::Request<Body> {
    let mut request = http::Request::new(body.into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request
}

/// Headers by name and value.
pub(super) type Fields = Vec<(String, Vec<u8>)>;

/// The headers of a map that these cases have set; a wire may add its own.
pub(super) fn own(headers: &HeaderMap) -> Fields {
    let mut own: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"))
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    // The order of one name's values counts, that of the names doesn't.
    own.sort_by(|(a, _), (b, _)| a.cmp(b));
    own
}
