//! Direct messages between members: sent to one node and for that node, never routed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use homing_transport::{Body, BoxFuture, Head, Kind, Lane, Reply, ReplyHead, SendError, Sent};
use homing_types::{Epoch, NodeId, Outcome, Owners, SpaceKey};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;

use crate::learn::GROUP_PATH;
use crate::router::Router;
use crate::service::{DirectError, Peers};

/// The path of a question that any live member answers with nothing.
pub const PING_PATH: &str = "/homing.v1.Node/Ping";

/// The most that a direct message or its answer may hold, in bytes.
const MAX_DIRECT: usize = 64 << 20;

impl Router {
    /// What a service may ask of its cluster. It doesn't keep the router alive.
    #[must_use]
    pub fn peers(self: &Arc<Self>) -> Arc<dyn Peers> {
        Arc::new(WeakPeers(Arc::downgrade(self)))
    }

    /// Sends one direct message to a member and collects its answer.
    pub(crate) async fn direct(
        &self,
        to: &NodeId,
        lane: Lane,
        path: &'static str,
        message: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, DirectError> {
        let failed = |sent, message: String| DirectError { sent, message };
        let Some(node) = self.directory.node(to) else {
            return Err(failed(Sent::NotSent, format!("{to} is no node of this cluster")));
        };
        let head = Head { remaining: Some(timeout), ..Head::of(Kind::Direct(to.clone())) };
        let request = http::Request::post(path)
            .body(Body::from(message))
            .map_err(|error| failed(Sent::NotSent, error.to_string()))?;
        let exchange = async {
            let reply = self.pool.send(node, lane, head, request, Instant::now() + timeout).await?;
            let body = Limited::new(reply.response.into_body(), MAX_DIRECT).collect().await;
            Ok::<_, SendError>((reply.head, body))
        };
        let (head, body) = exchange.await.map_err(|error| failed(error.sent, error.message))?;
        match head.outcome {
            Some(Outcome::MaybeSent) => Err(failed(Sent::MaybeSent, format!("{to}: {}", head.reason))),
            Some(_) => Err(failed(Sent::NotSent, format!("{to}: {}", head.reason))),
            None => match body {
                Ok(body) => Ok(body.to_bytes()),
                Err(error) => Err(failed(Sent::MaybeSent, format!("{to}: {error}"))),
            },
        }
    }

    /// Answers one, which may be for another node by mistake.
    pub(crate) async fn answer_direct(
        self: &Arc<Self>,
        from: NodeId,
        to: &NodeId,
        request: http::Request<Body>,
    ) -> Reply {
        if *to != self.me {
            return Reply::of(Outcome::Refused, format!("this is {}, not {to}", self.me));
        }
        let path = request.uri().path().to_owned();
        let message = match Limited::new(request.into_body(), MAX_DIRECT).collect().await {
            Ok(message) => message.to_bytes(),
            Err(error) => return Reply::of(Outcome::Refused, format!("the message can't be read: {error}")),
        };
        let answer = if path == PING_PATH {
            Ok(Bytes::new())
        } else if path == GROUP_PATH {
            self.answer_pull(&message).map_err(|reason| Reply::of(Outcome::Refused, reason))
        } else if let Some(service) = self.direct_service(&path) {
            // It arrived, whatever came of it.
            service.call(from, message).await.map_err(|reason| Reply::of(Outcome::MaybeSent, reason))
        } else {
            Err(Reply::of(Outcome::Refused, format!("{} has nothing at {path}", self.me)))
        };
        match answer {
            Ok(answer) => {
                Reply { head: ReplyHead::default(), response: http::Response::new(Body::from(answer)) }
            }
            Err(reply) => reply,
        }
    }
}

struct WeakPeers(Weak<Router>);

impl Peers for WeakPeers {
    fn owners(&self, key: SpaceKey) -> Option<(Epoch, Owners)> {
        let router = self.0.upgrade()?;
        let table = router.table.load();
        let found = table.lookup(key)?;
        Some((found.epoch(), found.owners()))
    }

    fn direct<'a>(
        &'a self,
        to: &'a NodeId,
        path: &'static str,
        message: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'a, Result<Bytes, DirectError>> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(router) => router.direct(to, Lane::Control, path, message, timeout).await,
                None => Err(DirectError { sent: Sent::NotSent, message: "this node is stopping".to_owned() }),
            }
        })
    }
}
