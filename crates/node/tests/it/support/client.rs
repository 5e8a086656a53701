use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use homing::{Access, Client, IdempotencyKey};
use homing_kv::proto::kv_client::KvClient;
use homing_kv::proto::{GetRequest, PutRequest, Version};
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

/// A client of one node, which says how its calls went.
#[derive(Clone)]
pub(crate) struct Kv {
    client: KvClient<Client>,
    pub(crate) timeout: Duration,
}

/// How a call went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served<T> {
    pub(crate) value: T,
    pub(crate) by: String,
    pub(crate) role: String,
    pub(crate) hops: u8,
    pub(crate) epoch: u64,
    pub(crate) attempts: u32,
}

impl Kv {
    pub(crate) fn new(address: &str) -> Self {
        Self::with_client(Client::new(address).unwrap())
    }

    pub(crate) fn with_client(client: Client) -> Self {
        Self { client: KvClient::new(client), timeout: Duration::from_secs(10) }
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) async fn put(&self, space: &str, key: &str, value: &[u8]) -> Result<Served<Version>, Status> {
        self.put_named(space, key, value, None).await
    }

    /// A write that may be sent again.
    pub(crate) async fn put_with_key(
        &self,
        space: &str,
        key: &str,
        value: &[u8],
        name: IdempotencyKey,
    ) -> Result<Served<Version>, Status> {
        self.put_named(space, key, value, Some(name)).await
    }

    async fn put_named(
        &self,
        space: &str,
        key: &str,
        value: &[u8],
        name: Option<IdempotencyKey>,
    ) -> Result<Served<Version>, Status> {
        let message = PutRequest { key: bytes(key), value: Bytes::copy_from_slice(value) };
        let mut request = self.request(space, Access::Write, message);
        if let Some(name) = name {
            request.metadata_mut().insert("homing-idempotency-key", name.to_string().parse().unwrap());
        }
        let response = self.client.clone().put(request).await?;
        let version = response.get_ref().version.expect("a write has a version");
        Ok(served(&response, version))
    }

    pub(crate) async fn get(&self, space: &str, key: &str) -> Result<Served<Option<Vec<u8>>>, Status> {
        self.get_with(space, key, Access::Read).await
    }

    pub(crate) async fn get_with(
        &self,
        space: &str,
        key: &str,
        access: Access,
    ) -> Result<Served<Option<Vec<u8>>>, Status> {
        let request = self.request(space, access, GetRequest { key: bytes(key) });
        let response = self.client.clone().get(request).await?;
        let message = response.get_ref();
        Ok(served(&response, message.found.then(|| message.value.to_vec())))
    }

    fn request<T>(&self, space: &str, access: Access, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request.metadata_mut().insert("homing-space", space.parse().unwrap());
        request.metadata_mut().insert("homing-access", access.as_str().parse().unwrap());
        request
    }
}

/// A name for a write, made now.
#[expect(clippy::disallowed_methods, reason = "keys are made by clocks")]
pub(crate) fn new_key() -> IdempotencyKey {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    IdempotencyKey::new(now.as_millis().try_into().unwrap(), homing::random())
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn served<M, T>(response: &Response<M>, value: T) -> Served<T> {
    let said = |name: &str| {
        let value = response.metadata().get(name).unwrap_or_else(|| panic!("{name} is missing"));
        value.to_str().unwrap().to_owned()
    };
    Served {
        value,
        by: said("homing-served-by"),
        role: said("homing-role"),
        hops: said("homing-hops").parse().unwrap(),
        epoch: said("homing-epoch").parse().unwrap(),
        attempts: said("homing-attempts").parse().unwrap(),
    }
}

/// Runs `call` for each item, 64 at a time.
pub(crate) async fn every<I, F>(items: impl IntoIterator<Item = I>, call: impl Fn(I) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    for item in items {
        if running.len() == 64 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(call(item));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}
