//! What the tests of this wire share.

#![allow(dead_code, unreachable_pub)]

pub mod raw;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_transport::contract::{Certificates, Fixture, Proof};
use homing_transport::{
    Body, BoxFuture, Connection, Handler, Head, Kind, Lane, Limits, Listener, Peer, Reply, ReplyHead,
    SendError, Transport,
};
use homing_transport_grpc::{GrpcListener, GrpcTransport, ListenError};
use homing_types::NodeId;
use http_body_util::BodyExt;

/// gRPC's wire on the loopback interface.
#[derive(Default)]
pub struct Grpc {
    pub certificates: Certificates,
}

impl Fixture for Grpc {
    fn listen<'a>(
        &'a self,
        node: &'a NodeId,
        proof: Proof,
        address: Option<&'a str>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> BoxFuture<'a, Box<dyn Listener>> {
        let credentials = self.certificates.credentials(node, proof);
        let address: SocketAddr = address.unwrap_or("127.0.0.1:0").parse().expect("an address");
        Box::pin(async move {
            loop {
                let (credentials, handler) = (Arc::clone(&credentials), Arc::clone(&handler));
                match GrpcListener::bind(address, credentials, limits.clone(), handler) {
                    Ok(listener) => return Box::new(listener) as Box<dyn Listener>,
                    // The listener that was killed is not quite gone.
                    Err(ListenError::Address { .. }) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
    }

    fn transport(&self, node: &NodeId, proof: Proof, limits: Limits) -> Arc<dyn Transport> {
        let credentials = self.certificates.credentials(node, proof);
        Arc::new(GrpcTransport::new(credentials, limits).expect("TLS takes the credentials"))
    }
}

/// Waits, but not for ever.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    match tokio::time::timeout(patience, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {patience:?} for {what}"),
    }
}

impl Grpc {
    /// `n2` listens.
    pub async fn listen(&self, limits: Limits, handler: Arc<dyn Handler>) -> Box<dyn Listener> {
        Fixture::listen(self, &node("n2"), Proof::Own, None, limits, handler).await
    }

    /// `n1` dials whoever listens there, as `n2`.
    pub async fn dial(&self, address: &str, limits: Limits) -> Result<Arc<dyn Connection>, SendError> {
        let transport = self.transport(&node("n1"), Proof::Own, limits);
        let peer = Peer { node: node("n2"), address: address.to_owned() };
        within("a dial", transport.dial(&peer, Lane::Payload)).await
    }
}

/// A handler from a function of the request.
pub fn handler<F, R>(answer: F) -> Arc<dyn Handler>
where
    F: Fn(http::Request<Body>) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    struct Closure<F>(F);

    impl<F, R> Handler for Closure<F>
    where
        F: Fn(http::Request<Body>) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        fn handle(&self, _: NodeId, _: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
            Box::pin((self.0)(request))
        }
    }

    Arc::new(Closure(answer))
}

/// Sends every request's body back.
pub fn echo() -> Arc<dyn Handler> {
    handler(|request| async { ok(request.into_body()) })
}

/// The service's own answer.
pub fn ok(body: impl Into<Body>) -> Reply {
    Reply { head: ReplyHead::default(), response: http::Response::new(body.into()) }
}

pub fn node(id: &str) -> NodeId {
    NodeId::new(id).expect("a node id")
}

pub fn head() -> Head {
    Head::of(Kind::Direct(node("n2")))
}

pub fn post(body: impl Into<Body>) -> http::Request<Body> {
    let mut request = http::Request::new(body.into());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = http::Uri::from_static("/test.Test/Call");
    request
}

/// Shows that a connection to an echo works.
pub async fn works(connection: &dyn Connection) {
    assert!(connection.is_open(), "the connection is open");
    let reply = within("a reply", connection.send(head(), post("echo"))).await.expect("a reply");
    assert_eq!(read(reply).await, "echo");
}

/// The whole body of a reply.
pub async fn read(reply: Reply) -> Bytes {
    let body = within("the body", reply.response.into_body().collect()).await;
    body.expect("the body arrives").to_bytes()
}
