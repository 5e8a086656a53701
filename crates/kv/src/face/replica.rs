//! The end that other nodes speak to.

use std::sync::Arc;

use homing_router::DirectService;
use homing_transport::BoxFuture;
use homing_types::{NodeId, Space};
use prost::bytes::Bytes;
use tokio::time::Instant;

use super::Shared;
use super::desk::Desk;
use super::follow::MESSAGE_TIMEOUT;
use super::writer::WriteError;
use crate::{Position, Refusal, Reply, Request, RequestKind, encode_reply};

/// Takes what primaries send, and tells replicas what is committed.
pub(super) struct Replica {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

impl Replica {
    pub(super) const fn new(shared: Arc<Shared>, desk: Arc<Desk>) -> Self {
        Self { shared, desk }
    }

    async fn handle(&self, request: Request) -> Result<Reply, String> {
        let request = Arc::new(request);
        let reply = self.run(&request).await?;
        if request.kind != RequestKind::Ask {
            return Ok(reply);
        }
        match &reply {
            // A primary that has just started learns what is committed by aligning its replicas, and a replica by asking its primary:
            // so it learns even if nobody reads here.
            Err(Refusal::Unsettled) => {
                let settling = self.desk.settle(&request.space, Instant::now() + MESSAGE_TIMEOUT / 2);
                settling.await.map_err(|declined| declined.reason)?;
                self.run(&request).await
            }
            Ok(standing) if standing.last != Position::ZERO && self.leads(&request) => {
                self.bring_along(request.space.clone());
                Ok(reply)
            }
            _ => Ok(reply),
        }
    }

    /// Who asks lacks something: aligning its replicas, this primary brings it along.
    fn bring_along(&self, space: Space) {
        let desk = Arc::clone(&self.desk);
        tokio::spawn(async move {
            let _ = desk.settle(&space, Instant::now() + MESSAGE_TIMEOUT).await;
        });
    }

    async fn run(&self, request: &Arc<Request>) -> Result<Reply, String> {
        if let Some(refusal) = self.fence(request) {
            return Ok(Err(refusal));
        }
        let arrived = Instant::now();
        let handled = Arc::clone(request);
        match self.shared.writer.run(move |batch| batch.handle(&handled)).await {
            Ok(standing) => {
                // Only a primary sends what is to be taken.
                if request.kind != RequestKind::Ask {
                    self.shared.heard.note(&request.space, request.epoch, arrived);
                }
                Ok(Ok(standing))
            }
            Err(WriteError::Refused(refusal)) => Ok(Err(refusal)),
            Err(error @ WriteError::Broken) => Err(error.to_string()),
        }
    }

    /// What this node's table knows has been seen, too, before any write brings that epoch to the disk: a primary that
    /// was replaced finds no replica that still takes its writes.
    fn fence(&self, request: &Request) -> Option<Refusal> {
        let (epoch, _) = self.shared.peers.owners(request.space.key())?;
        (epoch > request.epoch).then_some(Refusal::Fenced { fence: epoch })
    }

    fn leads(&self, request: &Request) -> bool {
        let owners = self.shared.peers.owners(request.space.key());
        owners.is_some_and(|(_, owners)| *owners.primary() == self.shared.me)
    }
}

impl DirectService for Replica {
    fn call(&self, _from: NodeId, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let request = Request::decode(message).map_err(|error| error.to_string())?;
            Ok(encode_reply(&self.handle(request).await?))
        })
    }
}
