use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use homing::{Access, Client as Connection, IdempotencyKey};
use homing_kv::proto::PutRequest;
use homing_kv::proto::kv_client::KvClient;
use tonic::Request;

/// Keys that are written again and again in each space, so that the store does not grow while it is measured.
const KEYS: usize = 100;

/// The reference service's client, at each of its nodes.
pub(crate) struct Client {
    clients: Vec<KvClient<Connection>>,
    spaces: usize,
}

impl Client {
    pub(crate) fn new(nodes: &[SocketAddr], connections: usize, spaces: usize) -> Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            for node in nodes {
                clients.push(KvClient::new(Connection::new(&node.to_string())?));
            }
        }
        Ok(Self { clients, spaces })
    }

    /// Writes once, and keeps the write from being executed twice.
    pub(crate) async fn write(&self, value: Bytes, turn: usize) -> Result<()> {
        let key = format!("key-{}", turn / self.spaces % KEYS).into();
        let mut request = Request::new(PutRequest { key, value });
        let millis = homing_benches::since_epoch().as_millis().try_into().unwrap_or(u64::MAX);
        let headers = [
            ("homing-space", super::name(turn % self.spaces)),
            ("homing-access", Access::Write.as_str().to_owned()),
            ("homing-idempotency-key", IdempotencyKey::new(millis, homing::random()).to_string()),
        ];
        for (name, value) in headers {
            request.metadata_mut().insert(name, value.parse().context("letters and digits")?);
        }
        let mut client = self.clients[turn % self.clients.len()].clone();
        let written = client.put(request).await?.into_inner();
        ensure!(written.version.is_some(), "a write has no version");
        Ok(())
    }
}
