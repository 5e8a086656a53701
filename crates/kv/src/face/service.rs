//! The gRPC service.

use std::sync::{Arc, Mutex, PoisonError};

use homing_router::{Declined, Granted, Service};
use homing_transport::{Body, BoxFuture};
use homing_types::{Access, Grant, IdempotencyKey, Role};
use tokio::time::Instant;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status};

use super::desk::{WriteFailed, not_executed};
use super::{Desk, Kv, Shared};
use crate::generated::kv as proto;
use crate::generated::kv::kv_server::{Kv as KvRpc, KvServer};
use crate::{Applied, Key, LimitError, Op, OpError, Page, Position, Refusal, Store, Value};

impl Service for Kv {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        let Granted { grant, access, deadline, idempotency_key, mut request } = granted;
        let declined = Slot::default();
        let call = Call { grant, access, deadline, idempotency_key, declined: declined.clone() };
        request.extensions_mut().insert(call);
        let rpc = Rpc { shared: Arc::clone(&self.shared), desk: Arc::clone(&self.desk) };
        Box::pin(async move {
            let response = match KvServer::new(rpc).call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            match declined.take() {
                Some(declined) => Err(declined),
                None => Ok(response.map(Body::new)),
            }
        })
    }

    fn dedupes(&self) -> bool {
        true
    }
}

/// What the router says about a request, on its way through tonic.
#[derive(Clone)]
struct Call {
    grant: Grant,
    access: Access,
    deadline: Instant,
    idempotency_key: Option<IdempotencyKey>,
    declined: Slot,
}

/// Where a request that is declined says so: a gRPC status would be an answer.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<Declined>>>);

impl Slot {
    fn put(&self, declined: Declined) -> Status {
        let status = Status::unavailable(declined.reason.clone());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(declined);
        status
    }

    fn take(&self) -> Option<Declined> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The methods of `proto/kv.proto`.
struct Rpc {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

impl Rpc {
    async fn write(&self, call: &Call, op: Op) -> Result<Applied, Status> {
        if call.access != Access::Write {
            return Err(Status::invalid_argument(format!(
                "the access is {}, and this method writes: use homing-access: write",
                call.access
            )));
        }
        if call.grant.role != Role::Primary {
            let reason = format!("{} is no primary of the space {:?}", self.shared.me, call.grant.space);
            return Err(call.declined.put(not_executed(reason)));
        }
        let written = self.desk.write(&call.grant.space, op, call.idempotency_key, call.deadline).await;
        written.map_err(|failed| match failed {
            WriteFailed::Declined(declined) => call.declined.put(declined),
            WriteFailed::Refused(refusal @ Refusal::KeyReused) => Status::already_exists(refusal.to_string()),
            WriteFailed::Refused(refusal) => Status::failed_precondition(refusal.to_string()),
        })
    }

    /// Reads off the runtime's threads. If this copy doesn't know what is committed, it finds out first.
    async fn read<T: Send + 'static>(
        &self,
        call: &Call,
        read: impl Fn(&Store, &Grant) -> Result<T, OpError> + Send + Sync + 'static,
    ) -> Result<T, Status> {
        let read = Arc::new(read);
        let mut settled = false;
        loop {
            let (store, grant, read) =
                (Arc::clone(&self.shared.store), call.grant.clone(), Arc::clone(&read));
            let result = tokio::task::spawn_blocking(move || read(&store, &grant)).await;
            let refusal = match result {
                Ok(Ok(read)) => return Ok(read),
                Ok(Err(OpError::Refused(refusal))) => refusal,
                Ok(Err(OpError::Store(error))) => {
                    return Err(call.declined.put(not_executed(error.to_string())));
                }
                Err(error) => return Err(call.declined.put(not_executed(error.to_string()))),
            };
            if refusal != Refusal::Unsettled || settled {
                let reason = format!("{}, the space {:?}: {refusal}", self.shared.me, call.grant.space);
                return Err(call.declined.put(not_executed(reason)));
            }
            let settling = self.desk.settle(&call.grant.space, call.deadline).await;
            settling.map_err(|declined| call.declined.put(declined))?;
            settled = true;
        }
    }
}

#[tonic::async_trait]
impl KvRpc for Rpc {
    async fn put(&self, request: Request<proto::PutRequest>) -> Result<Response<proto::PutResponse>, Status> {
        let (call, proto::PutRequest { key, value }) = open(request)?;
        let op = Op::Put { key: Key::new(key).map_err(invalid)?, value: Value::new(value).map_err(invalid)? };
        let applied = self.write(&call, op).await?;
        Ok(Response::new(proto::PutResponse { version: Some(applied.version.into()) }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteRequest>,
    ) -> Result<Response<proto::DeleteResponse>, Status> {
        let (call, proto::DeleteRequest { key }) = open(request)?;
        let op = Op::Delete { key: Key::new(key).map_err(invalid)? };
        let Applied { version, found } = self.write(&call, op).await?;
        Ok(Response::new(proto::DeleteResponse { found, version: Some(version.into()) }))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Result<Response<proto::GetResponse>, Status> {
        let (call, proto::GetRequest { key }) = open(request)?;
        let key = Key::new(key).map_err(invalid)?;
        let read =
            move |store: &Store, grant: &Grant| store.read(&grant.space, grant.epoch, grant.role, &key);
        let response = match self.read(&call, read).await? {
            Some(item) => proto::GetResponse {
                found: true,
                value: item.value.bytes().clone(),
                version: Some(item.version.into()),
            },
            None => proto::GetResponse::default(),
        };
        Ok(Response::new(response))
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let (call, proto::ListRequest { prefix, after, limit }) = open(request)?;
        let page = Page::new(prefix, after, limit).map_err(invalid)?;
        let read =
            move |store: &Store, grant: &Grant| store.list(&grant.space, grant.epoch, grant.role, &page);
        let listing = self.read(&call, read).await?;
        let items = listing.items.into_iter().map(|listed| proto::Item {
            key: listed.key.bytes().clone(),
            version: Some(listed.version.into()),
            size: listed.size,
        });
        Ok(Response::new(proto::ListResponse { items: items.collect(), more: listing.more }))
    }
}

/// What the router said, and the message.
fn open<T>(mut request: Request<T>) -> Result<(Call, T), Status> {
    let call = request.extensions_mut().remove::<Call>();
    let call = call.ok_or_else(|| Status::internal("the request did not come by way of the router"))?;
    Ok((call, request.into_inner()))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn invalid(error: LimitError) -> Status {
    Status::invalid_argument(error.to_string())
}

impl From<Position> for proto::Version {
    fn from(position: Position) -> Self {
        Self { epoch: position.epoch.number(), seq: position.seq }
    }
}
