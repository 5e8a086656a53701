//! The wire of one node: what it sends crosses the network, and what has left goes on without it.
//!
//! It stands before the in-memory transport, as a network stands before a host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use homing_router::PING_PATH;
use homing_transport::memory::MemoryTransport;
use homing_transport::{
    Body, BoxFuture, Connection, Head, Kind, Lane, Limits, Peer, Reply, SendError, SendErrorKind, Transport,
};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::names::{node_id, number_of};
use crate::network::Network;
use crate::oracle::Oracle;

/// The wire of one incarnation of a node.
#[derive(Clone)]
pub(crate) struct Wire {
    network: Network,
    oracle: Oracle,
    from: usize,
    incarnation: u32,
    inner: MemoryTransport,
}

impl Wire {
    pub(crate) fn new(
        network: Network,
        oracle: Oracle,
        (from, incarnation): (usize, u32),
        inner: MemoryTransport,
    ) -> Self {
        network.starts(from, incarnation);
        Self { network, oracle, from, incarnation, inner }
    }

    /// Goes on if the sender's process does; what a dead one has left behind stands still.
    async fn runs(&self) {
        if !self.network.runs(self.from, self.incarnation) {
            std::future::pending::<()>().await;
        }
    }
}

impl Transport for Wire {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move {
            let to = number_of(&peer.node);
            self.runs().await;
            let limit = Limits::default().handshake_timeout;
            let dialling = async {
                self.network.pass(self.from, to, None).await;
                let inner = self.inner.dial(peer, lane).await;
                if inner.is_err() && !self.network.says_no(to) {
                    std::future::pending::<()>().await;
                }
                self.network.pass(to, self.from, None).await;
                inner
            };
            let inner = timeout(limit, dialling).await.unwrap_or_else(|_| {
                let why = format!("{}: no answer within {limit:?}", peer.node);
                Err(SendError::not_sent(SendErrorKind::Unreachable, why))
            })?;
            self.runs().await;
            let resets = self.network.connects(self.from, to);
            let link = Link { wire: self.clone(), to, inner, resets, over: Arc::default() };
            tokio::spawn(link.clone().hears_of_the_end());
            Ok(Arc::new(link) as Arc<dyn Connection>)
        })
    }
}

/// A connection, as the one who dialled it knows it.
#[derive(Clone)]
struct Link {
    wire: Wire,
    to: usize,
    inner: Arc<dyn Connection>,
    /// The resets that were before it.
    resets: (u32, u32),
    /// Whether the one who dialled knows that it is over, or has given it up since nothing came.
    over: Arc<AtomicBool>,
}

/// Hangs up when nobody waits for the answer any more: by a message, as all that others are to know.
struct HangsUp(Link, AbortHandle);

impl Drop for HangsUp {
    fn drop(&mut self) {
        let (link, carried) = (self.0.clone(), self.1.clone());
        let Some(runtime) = Handle::try_current().ok().filter(|_| !carried.is_finished()) else { return };
        runtime.spawn(async move {
            link.wire.runs().await;
            link.wire.network.pass(link.wire.from, link.to, None).await;
            carried.abort();
        });
    }
}

impl Link {
    fn is_over(&self) -> bool {
        let Wire { network, from, .. } = &self.wire;
        self.over.load(Ordering::Relaxed) || network.resets(*from, self.to) != self.resets
    }

    fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.wire.network.ring();
    }

    async fn until_over(&self) {
        self.wire.network.until_rung(|| self.is_over()).await;
    }

    /// The other side is gone. Its machine says so; or if that is gone too, nothing comes any more.
    async fn hears_of_the_end(self) {
        let Self { wire: Wire { network, from, .. }, to, .. } = &self;
        self.inner.closed().await;
        if network.says_no(*to) {
            network.pass(*to, *from, None).await;
        } else {
            sleep(Limits::default().keepalive_timeout).await;
        }
        self.end();
    }

    /// One message on this connection, which is given up if it takes as long as no living one does: pings wait behind it.
    async fn pass(&self, from: usize, to: usize, trace: Option<&str>) {
        let patience = Limits::default().keepalive_timeout;
        if timeout(patience, self.wire.network.pass(from, to, trace)).await.is_err() {
            self.end();
            std::future::pending::<()>().await;
        }
    }

    /// Brings a request there and its reply back, whoever waits for it still.
    async fn carry(self, head: Head, request: http::Request<Body>) -> Result<Reply, SendError> {
        let Self { wire: Wire { network, oracle, from, .. }, to, inner, .. } = &self;
        let path = request.uri().path().to_owned();
        let trace = head.traceparent.clone();
        tokio::select! {
            biased;
            // What has not arrived by then never does.
            () = self.until_over() => std::future::pending().await,
            () = self.pass(*from, *to, trace.as_deref()) => {}
        }
        if let Some((late, head, request)) = self.copy(&head, &request) {
            let (link, network, from, to) = (Arc::clone(inner), network.clone(), *from, *to);
            tokio::spawn(async move {
                sleep(late).await;
                network.pass(from, to, None).await;
                let _ = link.send(head, request).await;
            });
        }
        let reply = inner.send(head, request).await;
        let is_gone = reply.is_err() && !inner.is_open();
        if is_gone && !network.says_no(*to) {
            std::future::pending::<()>().await;
        }
        self.pass(*to, *from, trace.as_deref()).await;
        if is_gone {
            // Who knows the connection no more can't say what became of what came on it.
            self.end();
        }
        if path != PING_PATH {
            let outcome =
                reply.as_ref().map_or("error", |reply| reply.head.outcome.map_or("answer", |o| o.as_str()));
            let line = format_args!("{} to {}: {path}: {outcome}", node_id(*from), node_id(*to));
            oracle.story().tell(line);
        }
        reply
    }

    /// The request once more, if the network repeats it and it may be repeated: a stream never does that by itself, a retry of
    /// somebody in between does, and only where that is safe.
    fn copy(
        &self,
        head: &Head,
        request: &http::Request<Body>,
    ) -> Option<(Duration, Head, http::Request<Body>)> {
        let safe = match &head.kind {
            Kind::Direct(_) => true,
            Kind::Routed(routed) => routed.access.is_read() || routed.idempotency_key.is_some(),
        };
        let body = request.body().bytes().filter(|_| safe)?.clone();
        let late = self.wire.network.repeats(head.traceparent.as_deref())?;
        let mut copy = http::Request::new(Body::from(body));
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        Some((late, head.clone(), copy))
    }
}

impl Connection for Link {
    fn send(
        &self,
        head: Head,
        mut request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, SendError>> {
        let link = self.clone();
        Box::pin(async move {
            link.wire.runs().await;
            if link.is_over() {
                return Err(SendError::not_sent(SendErrorKind::Unreachable, "the connection is over"));
            }
            if let Kind::Routed(routed) = &head.kind {
                link.wire.oracle.crosses(link.to, routed, request.headers_mut());
            }
            let trace = head.traceparent.clone();
            let (tell, told) = oneshot::channel();
            let carried = tokio::spawn({
                let carrying = link.clone().carry(head, request);
                async move { drop(tell.send(carrying.await)) }
            });
            let _hangs_up = HangsUp(link.clone(), carried.abort_handle());
            let came = tokio::select! {
                biased;
                () = link.until_over() => Err(()),
                reply = told => reply.map_err(|_| ()),
            };
            link.wire.runs().await;
            came.unwrap_or_else(|()| {
                link.wire.network.meets(trace.as_deref());
                Err(SendError::maybe_sent(SendErrorKind::Lost, "the connection was lost"))
            })
        })
    }

    fn is_open(&self) -> bool {
        !self.is_over()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.until_over())
    }
}
