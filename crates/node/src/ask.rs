//! Asks a node: which one to ask, and its admin listener.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use homing::{Body, NODE_INFO_PATH};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::admin::APPLY_TIMEOUT;
use crate::cli::Asked;
use crate::entry::Entry;
use crate::running::Running;

/// The most that an answer may hold, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// By when a node must have answered. It may wait for others that hang.
const TIMEOUT: Duration = APPLY_TIMEOUT.saturating_add(Duration::from_secs(5));

/// By when a node of `homing dev` must have said that it is there, before another one is asked.
const HERE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client listener tells of its node.
#[derive(Debug, Clone, Deserialize)]
struct NodeInfo {
    id: String,
    admin: SocketAddr,
}

/// The node to ask: as it was named, else the first that answers of the cluster that `homing dev` runs here.
pub(crate) async fn entry(asked: &Asked) -> Result<Entry> {
    if let Some(node) = &asked.node {
        return Entry::named(node, asked.ca.as_deref());
    }
    let folder = std::env::var_os("HOMING_DATA").map_or_else(|| PathBuf::from("homing-dev"), PathBuf::from);
    let running = Running::read(&folder);
    let nodes: Vec<_> = running
        .into_iter()
        .flat_map(|running| running.nodes)
        .map(|node| Entry::plain(&node.client))
        .collect();
    for node in &nodes {
        if matches!(tokio::time::timeout(HERE_TIMEOUT, info(node)).await, Ok(Ok(_))) {
            return Ok(node.clone());
        }
    }
    // What is wrong with the first one is told when it is asked.
    Ok(nodes.into_iter().next().unwrap_or_else(|| Entry::plain("127.0.0.1:7401")))
}

/// Asks the admin listener of the node that was named.
pub(crate) async fn admin<T: DeserializeOwned>(
    asked: &Asked,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T> {
    let entry = entry(asked).await?;
    let info = info(&entry).await?;
    let admin = admin_address(entry.host_and_port(), &info).await?;
    exchange(&Entry::plain(&admin.to_string()), method, path, body).await
}

/// Whether a node's admin listener says that it is ready.
pub(crate) async fn ready(admin: &str) -> bool {
    send(&Entry::plain(admin), Method::GET, "/ready", Vec::new())
        .await
        .is_ok_and(|(status, _)| status.is_success())
}

/// Whether a real read of the reference service through this client listener is answered.
pub(crate) async fn answers(client: &str) -> bool {
    crate::commands::kv::probe(&Entry::plain(client)).await.is_ok()
}

async fn info(entry: &Entry) -> Result<NodeInfo> {
    exchange(entry, Method::GET, NODE_INFO_PATH, Vec::new()).await.map_err(|error| entry.explain(error))
}

/// Where the admin listener of the node at `client` is reached from here. What it says of itself is said from where it
/// stands: "any address" is any of its host, and loopback is its own.
async fn admin_address(client: &str, info: &NodeInfo) -> Result<SocketAddr> {
    let admin = info.admin;
    if !admin.ip().is_unspecified() && !admin.ip().is_loopback() {
        return Ok(admin);
    }
    let mut hosts = tokio::net::lookup_host(client).await.with_context(|| format!("can't find {client}"))?;
    if admin.ip().is_unspecified() {
        let host = hosts.next().with_context(|| format!("{client} has no address"))?;
        return Ok(SocketAddr::new(host.ip(), admin.port()));
    }
    ensure!(
        hosts.any(|host| is_this_host(host.ip())),
        "the admin listener of {} at {client} is {admin}, which can only be reached on its own host: run this there",
        info.id
    );
    Ok(admin)
}

/// Nobody can bind another host's address.
fn is_this_host(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

async fn exchange<T: DeserializeOwned>(
    entry: &Entry,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<T> {
    let (status, answer) = send(entry, method, path, body).await?;
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&answer).trim());
    }
    serde_json::from_slice(&answer).with_context(|| format!("{entry} does not answer as a Homing node does"))
}

async fn send(entry: &Entry, method: Method, path: &str, body: Vec<u8>) -> Result<(StatusCode, Vec<u8>)> {
    let mut request = Request::builder().method(method).uri(path);
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let request = request.body(Body::from(body))?;
    let exchange = async {
        let response = entry.client()?.send(request).await?;
        let status = response.status();
        let answer = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok::<_, anyhow::Error>((status, answer.map_err(|error| anyhow!(error))?.to_bytes().to_vec()))
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .unwrap_or_else(|_| bail!("{entry} did not answer within {TIMEOUT:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reached(client: &str, admin: &str) -> Result<String> {
        let info = NodeInfo { id: "n1".to_owned(), admin: admin.parse()? };
        Ok(admin_address(client, &info).await?.to_string())
    }

    #[tokio::test]
    async fn an_admin_listener_is_sought_at_the_node_that_was_asked() {
        // 192.0.2.0/24 is documentation's: no host has an address of it.
        for (client, admin, reached_at) in [
            ("192.0.2.1:7401", "192.0.2.2:7402", "192.0.2.2:7402"),
            ("192.0.2.1:7401", "0.0.0.0:7402", "192.0.2.1:7402"),
            ("[2001:db8::1]:7401", "[::]:7402", "[2001:db8::1]:7402"),
            ("127.0.0.1:7401", "127.0.0.1:7402", "127.0.0.1:7402"),
            ("[::1]:7401", "127.0.0.1:7402", "127.0.0.1:7402"),
        ] {
            assert_eq!(reached(client, admin).await.unwrap(), reached_at, "{client} {admin}");
        }
        let error = reached("192.0.2.1:7401", "127.0.0.1:7402").await.unwrap_err().to_string();
        assert!(error.contains("can only be reached on its own host"), "{error}");
    }
}
