//! The gRPC service.

use std::sync::Arc;

use homing_router::{CallInfo, Declined};
use homing_transport::wire::headers::write_age;
use homing_types::{Access, Grant, Role};
use tonic::{Request, Response, Status};

use super::desk::{WriteFailed, not_executed};
use super::{Desk, Shared, absent, heard};
use crate::generated::kv as proto;
use crate::generated::kv::kv_server::Kv as KvRpc;
use crate::{Applied, Item, Key, LimitError, Listing, Op, OpError, Page, Position, Refusal, Store, Value};

/// Declines the call. The status is for tonic alone: as a gRPC status it would be an answer.
fn decline(call: &CallInfo, declined: Declined) -> Status {
    let status = Status::unavailable(declined.reason.clone());
    call.decline(declined);
    status
}

/// The methods of `proto/kv.proto`.
pub(super) struct Rpc {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
}

impl Rpc {
    pub(super) const fn new(shared: Arc<Shared>, desk: Arc<Desk>) -> Self {
        Self { shared, desk }
    }

    async fn write(&self, call: &CallInfo, op: Op) -> Result<Applied, Status> {
        if call.access != Access::Write {
            return Err(Status::invalid_argument(format!(
                "the access is {}, and this method writes: use homing-access: write",
                call.access
            )));
        }
        if call.grant.role != Role::Primary {
            let reason = format!("{} is no primary of the space {:?}", self.shared.me, call.grant.space);
            return Err(decline(call, not_executed(reason)));
        }
        let written = self.desk.write(&call.grant.space, op, call.idempotency_key, call.deadline).await;
        written.map_err(|failed| match failed {
            WriteFailed::Declined(declined) => decline(call, declined),
            WriteFailed::Refused(refusal @ Refusal::KeyReused) => Status::already_exists(refusal.to_string()),
            WriteFailed::Refused(refusal @ Refusal::TooNew { .. }) => {
                Status::invalid_argument(refusal.to_string())
            }
            WriteFailed::Refused(refusal) => Status::failed_precondition(refusal.to_string()),
        })
    }

    /// Reads, and says how old the answer may be.
    async fn read<T: Default + PartialEq + Send + 'static, M>(
        &self,
        call: &CallInfo,
        read: impl Fn(&Store, &Grant) -> Result<T, OpError> + Send + Sync + 'static,
        answer: impl FnOnce(T) -> M,
    ) -> Result<Response<M>, Status> {
        let Grant { space, role, epoch, .. } = &call.grant;
        let not_now = |why: String| {
            decline(call, not_executed(format!("{}, the space {space:?}: {why}", self.shared.me)))
        };
        if let (Role::Replica, Some(max_age)) = (role, call.max_age) {
            heard::hear(&self.shared, &call.grant, max_age, call.deadline).await.map_err(&not_now)?;
        }
        let age = self.shared.heard.age(space, *epoch).filter(|_| *role == Role::Replica);
        let shown = self.read_here(call, read).await?;
        if call.access == Access::ReadPrimary
            && self.shared.peers.owners(space.key()).is_none_or(|(now, _)| now != *epoch)
        {
            return Err(not_now("it was replaced while it read".to_owned()));
        }
        let mut response = Response::new(answer(shown));
        if let Some(age) = age {
            write_age(age, response.metadata_mut().as_mut());
        }
        Ok(response)
    }

    /// Reads off the runtime's threads. If this copy doesn't know what is committed, or holds nothing, it finds out first
    /// whether that is all there is.
    async fn read_here<T: Default + PartialEq + Send + 'static>(
        &self,
        call: &CallInfo,
        read: impl Fn(&Store, &Grant) -> Result<T, OpError> + Send + Sync + 'static,
    ) -> Result<T, Status> {
        let read = Arc::new(read);
        let mut settled = false;
        loop {
            let (store, grant, read) =
                (Arc::clone(&self.shared.store), call.grant.clone(), Arc::clone(&read));
            let reading = move || {
                let shown = read(&store, &grant)?;
                if shown != T::default() {
                    return Ok((shown, false));
                }
                // Whether anything is held, and only then again what is shown: a full copy may come in between.
                let nothing = store.standing(&grant.space)?.last == Position::ZERO;
                Ok((read(&store, &grant)?, nothing))
            };
            let refusal = match self.shared.writer.read(reading).await {
                Ok(Ok((shown, false))) => return Ok(shown),
                Ok(Ok((shown, true))) => {
                    let confirmed = absent::confirm(&self.shared, &call.grant, call.deadline).await;
                    return confirmed.map(|()| shown).map_err(|why| decline(call, not_executed(why)));
                }
                Ok(Err(OpError::Refused(refusal))) => refusal,
                Ok(Err(OpError::Store(error))) => return Err(decline(call, not_executed(error.to_string()))),
                Err(error) => return Err(decline(call, not_executed(error.to_string()))),
            };
            if refusal != Refusal::Unsettled || settled {
                let reason = format!("{}, the space {:?}: {refusal}", self.shared.me, call.grant.space);
                return Err(decline(call, not_executed(reason)));
            }
            let settling = self.desk.settle(&call.grant.space, call.deadline).await;
            settling.map_err(|declined| decline(call, declined))?;
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
        let answer = |item: Option<Item>| match item {
            Some(item) => proto::GetResponse {
                found: true,
                value: item.value.bytes().clone(),
                version: Some(item.version.into()),
            },
            None => proto::GetResponse::default(),
        };
        self.read(&call, read, answer).await
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let (call, proto::ListRequest { prefix, after, limit }) = open(request)?;
        let page = Page::new(prefix, after, limit).map_err(invalid)?;
        let read =
            move |store: &Store, grant: &Grant| store.list(&grant.space, grant.epoch, grant.role, &page);
        let answer = |listing: Listing| {
            let items = listing.items.into_iter().map(|listed| proto::Item {
                key: listed.key.bytes().clone(),
                version: Some(listed.version.into()),
                size: listed.size,
            });
            proto::ListResponse { items: items.collect(), more: listing.more }
        };
        self.read(&call, read, answer).await
    }
}

/// What the router said, and the message.
fn open<T>(request: Request<T>) -> Result<(CallInfo, T), Status> {
    let (_, mut extensions, message) = request.into_parts();
    let call = extensions
        .remove()
        .ok_or_else(|| Status::internal("the request did not come by way of the router"))?;
    Ok((call, message))
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
