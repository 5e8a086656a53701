use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use homing_transport::memory::MemoryTransport;
use homing_transport::{
    Body, BodyError, BoxFuture, Connection, Head, Kind, Lane, Peer, Reply, SendError, SendErrorKind,
    Transport,
};
use homing_types::NodeId;
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{node_id, settle};

/// The header that numbers the requests of a test.
pub(crate) const REQUEST: &str = "x-request";

pub(crate) fn number(request: &http::Request<Body>) -> Option<u64> {
    request.headers().get(REQUEST)?.to_str().ok()?.parse().ok()
}

/// What is wrong between two nodes, in one direction.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Nothing gets through, and dials are refused.
    Cut,
    /// Requests arrive; their replies are lost.
    LoseReplies,
    /// Bodies of requests are let go of some time after their attempt has ended.
    Linger,
    /// Direct messages arrive; each reply waits for a permit.
    HoldDirect(Arc<Semaphore>),
}

/// One request that crossed from a node to another.
#[derive(Debug, Clone)]
pub(crate) struct Crossing {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) lane: Lane,
    pub(crate) kind: Kind,
    pub(crate) path: String,
    pub(crate) request: Option<u64>,
}

/// The faults between nodes, and all that was tried to cross.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    faults: HashMap<Way, Fault>,
    connections: Vec<(Way, watch::Sender<bool>)>,
    crossings: Vec<Crossing>,
    dials: Vec<(Way, Lane)>,
}

type Way = (NodeId, NodeId);

impl Faults {
    pub(crate) fn wire(&self, from: NodeId, transport: MemoryTransport) -> TestWire {
        TestWire { from, transport, faults: self.clone() }
    }

    /// Sets what is wrong from one node to another. A cut loses what is connected, for good.
    pub(crate) fn set(&self, from: &str, to: &str, fault: Fault) {
        if matches!(fault, Fault::Cut) {
            self.disconnect(from, to);
        }
        self.0.lock().faults.insert((node_id(from), node_id(to)), fault);
    }

    pub(crate) fn heal(&self, from: &str, to: &str) {
        self.0.lock().faults.remove(&(node_id(from), node_id(to)));
    }

    /// Loses the connections from one node to another; new ones can be dialled.
    pub(crate) fn disconnect(&self, from: &str, to: &str) {
        let way = (node_id(from), node_id(to));
        self.0.lock().connections.retain(|(there, broken)| {
            let lost = *there == way;
            if lost {
                broken.send_replace(true);
            }
            !lost
        });
    }

    pub(crate) fn dials(&self, from: &str, to: &str, lane: Lane) -> usize {
        let way = (node_id(from), node_id(to));
        self.0.lock().dials.iter().filter(|dial| **dial == (way.clone(), lane)).count()
    }

    pub(crate) fn crossings(&self) -> Vec<Crossing> {
        self.0.lock().crossings.clone()
    }

    /// How many requests went from one node to another.
    pub(crate) fn crossed(&self, from: &str, to: &str) -> usize {
        let way = (node_id(from), node_id(to));
        let routed = |crossing: &&Crossing| matches!(crossing.kind, Kind::Routed(_));
        let crossings = self.crossings();
        crossings.iter().filter(routed).filter(|c| (c.from.clone(), c.to.clone()) == way).count()
    }

    /// How many direct messages went to this path.
    pub(crate) fn directs(&self, path: &str) -> usize {
        self.crossings().iter().filter(|crossing| crossing.path == path).count()
    }

    /// Checks that no attempt of a request took more than three hops, or a (node, epoch, relay flag) twice.
    pub(crate) fn check_paths(&self, request: u64) {
        let (mut path, mut end) = (Vec::new(), None);
        for crossing in self.crossings().into_iter().filter(|crossing| crossing.request == Some(request)) {
            if let Kind::Routed(routed) = crossing.kind {
                // An attempt begins at the entry, and goes on where the hop before has led.
                if end != Some(crossing.from) {
                    path.clear();
                }
                end = Some(crossing.to.clone());
                let step = (crossing.to, routed.believed.number(), routed.relay);
                assert!(!path.contains(&step), "a loop: {path:?}, {step:?}");
                path.push(step);
                assert!(path.len() <= 3, "more than three hops: {path:?}");
            }
        }
    }

    fn of(&self, way: &Way) -> Option<Fault> {
        self.0.lock().faults.get(way).cloned()
    }
}

/// The wire of one node.
pub(crate) struct TestWire {
    from: NodeId,
    transport: MemoryTransport,
    faults: Faults,
}

impl Transport for TestWire {
    fn name(&self) -> &'static str {
        self.transport.name()
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        let way = (self.from.clone(), peer.node.clone());
        self.faults.0.lock().dials.push((way.clone(), lane));
        Box::pin(async move {
            if matches!(self.faults.of(&way), Some(Fault::Cut)) {
                return Err(SendError::not_sent(SendErrorKind::Unreachable, format!("{peer}: no route")));
            }
            let inner = self.transport.dial(peer, lane).await?;
            let broken = watch::Sender::new(false);
            self.faults.0.lock().connections.push((way.clone(), broken.clone()));
            let faults = self.faults.clone();
            Ok(Arc::new(TestConnection { way, lane, inner, broken, faults }) as Arc<dyn Connection>)
        })
    }
}

#[derive(Clone)]
struct TestConnection {
    way: Way,
    lane: Lane,
    inner: Arc<dyn Connection>,
    broken: watch::Sender<bool>,
    faults: Faults,
}

impl TestConnection {
    fn note(&self, head: &Head, request: &http::Request<Body>) {
        let crossing = Crossing {
            from: self.way.0.clone(),
            to: self.way.1.clone(),
            lane: self.lane,
            kind: head.kind.clone(),
            path: request.uri().path().to_owned(),
            request: number(request),
        };
        self.faults.0.lock().crossings.push(crossing);
    }

    async fn cross(&self, head: Head, request: http::Request<Body>) -> Result<Reply, SendError> {
        let direct = matches!(head.kind, Kind::Direct(_));
        self.note(&head, &request);
        let lingers = matches!(self.faults.of(&self.way), Some(Fault::Linger));
        let request = if lingers { request.map(Linger::body) } else { request };
        let reply = self.inner.send(head, request).await?;
        match self.faults.of(&self.way) {
            Some(Fault::LoseReplies) => Err(lost()),
            Some(Fault::HoldDirect(permits)) if direct => {
                let _ = permits.acquire().await;
                Ok(reply)
            }
            _ => Ok(reply),
        }
    }

    async fn broke(&self) {
        let _ = self.broken.subscribe().wait_for(|broken| *broken).await;
    }
}

impl Connection for TestConnection {
    fn send(&self, head: Head, request: http::Request<Body>) -> BoxFuture<'static, Result<Reply, SendError>> {
        let this = self.clone();
        Box::pin(async move {
            tokio::select! {
                biased;
                () = this.broke() => Err(lost()),
                reply = this.cross(head, request) => reply,
            }
        })
    }

    fn is_open(&self) -> bool {
        !*self.broken.borrow() && self.inner.is_open()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::select! {
                () = self.broke() => {}
                () = self.inner.closed() => {}
            }
        })
    }
}

/// A body that outlives its reader, as one does in the task of a wire.
struct Linger(Option<Body>);

impl Linger {
    fn body(body: Body) -> Body {
        Body::new(Self(Some(body)))
    }
}

impl HttpBody for Linger {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |body| Pin::new(body).poll_frame(cx))
    }
}

impl Drop for Linger {
    fn drop(&mut self) {
        let body = self.0.take();
        tokio::spawn(async {
            settle().await;
            drop(body);
        });
    }
}

fn lost() -> SendError {
    SendError::maybe_sent(SendErrorKind::Lost, "the connection was lost on purpose")
}
