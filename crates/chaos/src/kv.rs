//! One call of the reference service through one node, and how it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use homing::{Access, Client, IdempotencyKey};
use homing_kv::proto::kv_client::KvClient;
use homing_kv::proto::{GetRequest, ListRequest, ListResponse, PutRequest};
use serde::Serialize;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

/// How long after its deadline a call is waited for. One that says nothing by then is one that did not end.
const GRACE: Duration = Duration::from_secs(2);

/// A client of one node, over some connections in turn.
#[derive(Clone)]
pub(crate) struct Kv {
    clients: Arc<[KvClient<Client>]>,
    turn: Arc<AtomicUsize>,
}

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    Read,
    /// With an idempotency key.
    Write,
    /// Without one.
    UnkeyedWrite,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    Answered(Answer),
    /// A write that may have been executed.
    Ambiguous,
    Expired,
    /// The node tried all it was allowed to.
    Exhausted,
    Overloaded,
    /// Another status, or another answer than there should be.
    Wrong(String),
    /// Nobody said anything until long after the deadline.
    Silent,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Who gave it.
    pub(crate) by: String,
    pub(crate) hops: u32,
    pub(crate) attempts: u32,
    /// Of a write.
    pub(crate) version: Option<Version>,
}

/// The epoch and the place of a write in its space.
pub(crate) type Version = (u64, u64);

impl Kv {
    pub(crate) fn new(address: &str, connections: usize) -> Result<Self> {
        let clients: Vec<_> =
            (0..connections).map(|_| Ok(KvClient::new(Client::new(address)?))).collect::<Result<_>>()?;
        Ok(Self { clients: clients.into(), turn: Arc::default() })
    }

    fn client(&self) -> KvClient<Client> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.clients[turn % self.clients.len()].clone()
    }

    /// Reads a key that holds this value.
    pub(crate) async fn read(&self, space: &str, key: &str, value: &Bytes, within: Duration) -> Ended {
        let request = request(space, Access::Read, GetRequest { key: key.to_owned().into() }, within);
        let mut client = self.client();
        let ended = tokio::time::timeout(within + GRACE, client.get(request)).await;
        ended_as(ended, |response| {
            if response.value == *value {
                Ok(None)
            } else {
                Err(format!("{space} {key} holds another value"))
            }
        })
    }

    /// Whether the primary has this key; `None` if there is no answer.
    pub(crate) async fn has(&self, space: &str, key: &str, within: Duration) -> Option<bool> {
        let message = GetRequest { key: key.to_owned().into() };
        let answer = self.client().get(request(space, Access::ReadPrimary, message, within)).await;
        answer.ok().map(|response| response.into_inner().found)
    }

    /// Writes a key.
    pub(crate) async fn write(
        &self,
        space: &str,
        key: &str,
        value: Bytes,
        keyed: bool,
        within: Duration,
    ) -> Ended {
        let mut request =
            request(space, Access::Write, PutRequest { key: key.to_owned().into(), value }, within);
        if keyed {
            insert(request.metadata_mut(), "homing-idempotency-key", &new_key().to_string());
        }
        let mut client = self.client();
        let ended = tokio::time::timeout(within + GRACE, client.put(request)).await;
        ended_as(ended, |response| {
            let version = response.version.ok_or("a write has no version")?;
            Ok(Some((version.epoch, version.seq)))
        })
    }

    /// One page of a space's keys, and who gave it.
    pub(crate) async fn list(
        &self,
        space: &str,
        after: Bytes,
        within: Duration,
    ) -> Result<(ListResponse, String), Status> {
        let message = ListRequest { prefix: Bytes::new(), after, limit: 0 };
        let response = self.client().list(request(space, Access::Read, message, within)).await?;
        let by = said(response.metadata(), "homing-served-by").unwrap_or_default().to_owned();
        Ok((response.into_inner(), by))
    }
}

fn request<T>(space: &str, access: Access, message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    insert(request.metadata_mut(), "homing-space", space);
    insert(request.metadata_mut(), "homing-access", access.as_str());
    request
}

fn insert(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    metadata.insert(name, value.parse().expect("it is ASCII"));
}

fn said<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
}

type Responded<T> = Result<Result<tonic::Response<T>, Status>, tokio::time::error::Elapsed>;

fn ended_as<T>(ended: Responded<T>, check: impl FnOnce(&T) -> Result<Option<Version>, String>) -> Ended {
    let Ok(ended) = ended else { return Ended::Silent };
    let response = match ended {
        Ok(response) => response,
        Err(status) => return failed(&status),
    };
    let number =
        |name| said(response.metadata(), name).and_then(|value| value.parse().ok()).unwrap_or_default();
    match check(response.get_ref()) {
        Ok(version) => Ended::Answered(Answer {
            by: said(response.metadata(), "homing-served-by").unwrap_or_default().to_owned(),
            hops: number("homing-hops"),
            attempts: number("homing-attempts"),
            version,
        }),
        Err(problem) => Ended::Wrong(problem),
    }
}

fn failed(status: &Status) -> Ended {
    match status.code() {
        // What says so itself is no answer of the service.
        Code::Unknown if said(status.metadata(), "homing-outcome").is_some() => Ended::Ambiguous,
        Code::DeadlineExceeded => Ended::Expired,
        Code::ResourceExhausted => Ended::Overloaded,
        Code::Unavailable if said(status.metadata(), "homing-outcome").is_some() => Ended::Exhausted,
        code => Ended::Wrong(format!("{code:?}: {}", status.message())),
    }
}

/// A name for a write, made now.
fn new_key() -> IdempotencyKey {
    let millis = homing_benches::since_epoch().as_millis();
    IdempotencyKey::new(millis.try_into().unwrap_or(u64::MAX), homing::random())
}
