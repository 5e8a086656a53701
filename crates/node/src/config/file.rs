use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::failover::FailoverFile;

/// Replicas of each space, where nobody says otherwise.
pub(crate) const REPLICAS: u8 = 2;

/// How long a stopping node waits for running requests, where nobody says otherwise, in milliseconds.
pub(crate) const DRAIN_MS: u64 = 10_000;

/// A configuration file as it stands. An unknown key is an error: most are misspelt ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConfigFile {
    /// The cluster's name: a DNS name.
    pub(crate) cluster: String,
    /// Which of `nodes` this is.
    pub(crate) id: String,
    /// The folder for what must outlive a restart.
    pub(crate) data: PathBuf,
    /// What the node serves: `kv`, or the `host:port` of a service beside it.
    #[serde(default = "kv")]
    pub(crate) service: String,
    /// Whether the service beside it executes a write with an idempotency key once.
    #[serde(default)]
    pub(crate) service_dedupes: bool,
    pub(crate) listen: ListenFile,
    pub(crate) tls: TlsFile,
    #[serde(default)]
    pub(crate) table: TableFile,
    #[serde(default)]
    pub(crate) limits: LimitsFile,
    #[serde(default)]
    pub(crate) failover: FailoverFile,
    pub(crate) nodes: Vec<NodeFile>,
}

/// Where the node listens.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListenFile {
    /// For its peers; by default its address in `nodes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
    /// For clients: with TLS if there are `certificate` and `key`, else without.
    pub(crate) client: String,
    /// For the operator, without TLS.
    pub(crate) admin: String,
    /// What clients are shown, as a PEM file: a certificate that names the host as they do, and those between it and its
    /// CA. It is read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of `certificate`, as a PEM file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<PathBuf>,
    /// Allows what has no TLS (`admin`, and `client` without a certificate) on an address that others can reach.
    #[serde(default)]
    pub(crate) insecure: bool,
}

/// What the node proves itself with, as PEM files.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFile {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// What the node knows of the routing table when it starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TableFile {
    /// `placement`: computed from `nodes`, alike on each. `none`: learned from the others. Else a file, as
    /// `homing table -o json` prints it. What the node keeps in `data` goes before either, unless a file has a higher
    /// epoch; a node that joins a cluster with tables of its own takes `none`.
    pub(crate) source: String,
    /// Replicas of each space, where `source` is `placement`.
    pub(crate) replicas: usize,
}

impl Default for TableFile {
    fn default() -> Self {
        Self { source: "placement".to_owned(), replicas: REPLICAS.into() }
    }
}

/// The bounds that one may want to change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsFile {
    /// The longest gRPC message, in bytes.
    pub(crate) max_message: u64,
    /// The longest header block between nodes, in bytes.
    pub(crate) max_header_block: usize,
    /// Requests under way at the node.
    pub(crate) max_in_flight: usize,
    /// The delay of the node's own queue over which it takes fewer, in thousandths of the time that requests have; 0 for any.
    pub(crate) max_delay_permille: u32,
    /// Connections from peers.
    pub(crate) max_connections: usize,
    /// Handshakes with peers under way at a time.
    pub(crate) max_handshakes: usize,
    /// Connections from clients.
    pub(crate) max_client_connections: usize,
    /// Connections to each peer for payload, and as many for control.
    pub(crate) connections_per_peer: usize,
    /// The deadline of a call that brings none, in milliseconds.
    pub(crate) deadline_ms: u64,
    /// How long a stopping node waits for running requests, in milliseconds.
    pub(crate) drain_ms: u64,
}

impl Default for LimitsFile {
    fn default() -> Self {
        let wire = homing::Limits::default();
        let router = homing::RouterOptions::default();
        Self {
            max_message: wire.max_message,
            max_header_block: wire.max_header_block,
            max_in_flight: router.admission.max_in_flight,
            max_delay_permille: router.admission.max_delay_permille,
            max_connections: wire.max_connections,
            max_handshakes: wire.max_handshakes,
            max_client_connections: homing::ClientLimits::default().max_connections,
            connections_per_peer: homing::PoolOptions::default().connections,
            deadline_ms: 10_000,
            drain_ms: DRAIN_MS,
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeFile {
    pub(crate) id: String,
    /// Where its peers reach it.
    pub(crate) address: String,
    /// The wire its peers reach it by: `quic` or `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) transport: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rack: Option<String>,
    /// Its share of the spaces relative to others; 0 for none.
    #[serde(default = "one")]
    pub(crate) weight: u32,
}

fn kv() -> String {
    "kv".to_owned()
}

const fn one() -> u32 {
    1
}

impl ConfigFile {
    /// Reads a file. Paths in it are relative to its folder.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("can't read the configuration {}", path.display()))?;
        let mut file: Self = toml::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{}: {}", path.display(), one_line(&text, &error)))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let always = [&mut file.data, &mut file.tls.ca, &mut file.tls.certificate, &mut file.tls.key];
        let given = [&mut file.listen.certificate, &mut file.listen.key];
        for relative in always.into_iter().chain(given.into_iter().flatten()) {
            *relative = folder.join(&*relative);
        }
        if !matches!(file.table.source.as_str(), "placement" | "none") {
            file.table.source = folder.join(&file.table.source).to_string_lossy().into_owned();
        }
        Ok(file)
    }
}

/// toml draws a picture over several lines; what is wrong and where fits on one.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    match line {
        Some(line) => format!("line {line}: {}", error.message().replace('\n', " ")),
        None => error.message().replace('\n', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let text = || "x".to_owned();
        let file = ConfigFile {
            cluster: text(),
            id: text(),
            data: text().into(),
            service: text(),
            service_dedupes: false,
            listen: ListenFile {
                node: Some(text()),
                client: text(),
                certificate: Some(text().into()),
                key: Some(text().into()),
                admin: text(),
                insecure: false,
            },
            tls: TlsFile { ca: text().into(), certificate: text().into(), key: text().into() },
            table: TableFile::default(),
            limits: LimitsFile::default(),
            failover: FailoverFile::default(),
            nodes: vec![NodeFile {
                id: text(),
                address: text(),
                transport: Some(text()),
                region: Some(text()),
                zone: Some(text()),
                rack: Some(text()),
                weight: 1,
            }],
        };
        let documented = concat!(
            include_str!("../../../../docs/CONFIGURATION.md"),
            include_str!("../../../../docs/FAILOVER.md")
        );
        for (section, value) in toml::Table::try_from(file).unwrap() {
            let keys = match &value {
                toml::Value::Table(table) => table.keys().map(|key| format!("{section}.{key}")).collect(),
                toml::Value::Array(entries) => {
                    entries[0].as_table().unwrap().keys().map(|key| format!("{section}.{key}")).collect()
                }
                _ => vec![section],
            };
            for key in keys {
                assert!(
                    documented.contains(&format!("`{key}`")),
                    "{key} is not in docs/CONFIGURATION.md or docs/FAILOVER.md"
                );
            }
        }
    }
}
