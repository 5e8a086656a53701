//! Asks a node: which one to ask, and its admin listener.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use homing::{Body, Client, NODE_INFO_PATH};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cli::Asked;

/// The most that an answer may hold, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// By when a node must have answered.
const TIMEOUT: Duration = Duration::from_secs(15);

/// What a client listener tells of its node.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct NodeInfo {
    pub(crate) admin: String,
}

/// The client address of the node to ask: as it was given, else one of the cluster that `homing dev` runs here.
pub(crate) fn client_address(asked: &Asked) -> String {
    let of_dev = || dev_addresses().into_iter().next();
    asked.node.clone().or_else(of_dev).unwrap_or_else(|| "127.0.0.1:7401".to_owned())
}

/// Asks the admin listener of the node that was named.
pub(crate) async fn admin<T: DeserializeOwned>(
    asked: &Asked,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T> {
    let client = client_address(asked);
    let info: NodeInfo = exchange(&client, Method::GET, NODE_INFO_PATH, Vec::new()).await?;
    exchange(&info.admin, method, path, body).await
}

/// Whether a node's admin listener says that it is ready.
pub(crate) async fn ready(admin: &str) -> bool {
    send(admin, Method::GET, "/ready", Vec::new()).await.is_ok_and(|(status, _)| status.is_success())
}

/// Whether a real read of the reference service through this client listener is answered.
pub(crate) async fn answers(client: &str) -> bool {
    crate::commands::kv::probe(client).await.is_ok()
}

async fn exchange<T: DeserializeOwned>(
    address: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T> {
    let (status, answer) = send(address, method, path, body).await?;
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&answer).trim());
    }
    serde_json::from_slice(&answer)
        .with_context(|| format!("{address} does not answer as a Homing node does"))
}

async fn send(address: &str, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>)> {
    let request = Request::builder().method(method).uri(path).body(Body::from(body))?;
    let exchange = async {
        let response = Client::new(address)?.send(request).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok::<_, anyhow::Error>((status, answer.map_err(|error| anyhow!(error))?.to_bytes().to_vec()))
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| bail!("{address} did not answer within {TIMEOUT:?}"))
}

/// The client addresses of the cluster that `homing dev` last started here.
fn dev_addresses() -> Vec<String> {
    #[derive(Deserialize)]
    struct Cluster {
        nodes: Vec<Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        client: String,
    }
    let folder = std::env::var_os("HOMING_DATA").map_or_else(|| PathBuf::from("homing-dev"), PathBuf::from);
    let read = |path: &Path| serde_json::from_slice::<Cluster>(&std::fs::read(path).ok()?).ok();
    let cluster = read(&folder.join("cluster.json"));
    cluster.into_iter().flat_map(|cluster| cluster.nodes).map(|node| node.client).collect()
}
