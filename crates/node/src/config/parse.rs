use std::collections::HashSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use homing::tls::{ClusterName, Credentials, ServerTls};
use homing::{Locality, Member, Name, NodeId, WIRES, Wire};

use super::ConfigFile;
use super::file::NodeFile;
use crate::certificates;

/// A configuration that was checked: nothing in it is wrong in itself.
pub(crate) struct Config {
    pub(crate) cluster: ClusterName,
    pub(crate) id: NodeId,
    pub(crate) data: PathBuf,
    pub(crate) serve: Serve,
    pub(crate) listen: SocketAddr,
    pub(crate) wire: Wire,
    pub(crate) client: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// `client` or `admin` can be reached by others, without TLS, and that was allowed.
    pub(crate) exposed: bool,
    pub(crate) certificates: certificates::Files,
    pub(crate) credentials: Arc<Credentials>,
    /// What clients are shown, and the files that hold it; `None` for no TLS there.
    pub(crate) client_tls: Option<(certificates::ClientFiles, Arc<ServerTls>)>,
    pub(crate) table: TableSource,
    pub(crate) nodes: Vec<Member>,
    pub(crate) limits: homing::Limits,
    pub(crate) client_limits: homing::ClientLimits,
    pub(crate) pool: homing::PoolOptions,
    pub(crate) router: homing::RouterOptions,
    pub(crate) drain: Duration,
    /// The file itself, for `/config`.
    pub(crate) file: ConfigFile,
}

/// What a node serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Serve {
    /// The reference service.
    Kv,
    /// A service in another process.
    Upstream { address: String, dedupes: bool },
}

/// Where the table comes from when a node starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableSource {
    Placement { replicas: usize },
    None,
    File(PathBuf),
}

/// What the command line or the environment says instead of the file.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Overrides {
    pub(crate) client: Option<SocketAddr>,
    pub(crate) admin: Option<SocketAddr>,
}

impl Config {
    /// Reads and checks a configuration file, with the certificates that it names. What overrides it is checked with it.
    pub(crate) fn load(path: &Path, overrides: Overrides) -> Result<Self> {
        let mut file = ConfigFile::read(path)?;
        for (key, address) in
            [(&mut file.listen.client, overrides.client), (&mut file.listen.admin, overrides.admin)]
        {
            if let Some(address) = address {
                *key = address.to_string();
            }
        }
        Self::parse(file).with_context(|| format!("the configuration {} is wrong", path.display()))
    }

    fn parse(file: ConfigFile) -> Result<Self> {
        let cluster: ClusterName = file.cluster.parse().context("cluster")?;
        let id: NodeId = file.id.parse().context("id")?;
        let nodes = nodes(&file.nodes)?;
        let me = nodes.iter().find(|node| node.id == id).with_context(|| {
            format!("id: {id} is not in nodes: add a [[nodes]] entry for it, or mend the id")
        })?;
        let listen = match &file.listen.node {
            Some(address) => socket("listen.node", address)?,
            None => socket("nodes.address", &me.address)?,
        };
        let wire: Wire = me.wire.parse().with_context(|| format!("nodes: {id}: transport"))?;
        let client = socket("listen.client", &file.listen.client)?;
        let admin = socket("listen.admin", &file.listen.admin)?;
        let client_files = client_files(&file)?;
        let exposed = exposed(&file, client_files.is_none().then_some(client), admin)?;
        let certificates = certificates::Files {
            ca: file.tls.ca.clone(),
            certificate: file.tls.certificate.clone(),
            key: file.tls.key.clone(),
        };
        let limits = homing::Limits {
            max_message: within("limits.max_message", file.limits.max_message, 1, u32::MAX.into())?,
            max_header_block: within("limits.max_header_block", file.limits.max_header_block, 1, 16 << 20)?,
            max_connections: within("limits.max_connections", file.limits.max_connections, 1, 1_000_000)?,
            max_handshakes: within("limits.max_handshakes", file.limits.max_handshakes, 1, 1_000_000)?,
            ..homing::Limits::default()
        };
        let mut router = homing::RouterOptions::default();
        router.admission.max_in_flight =
            within("limits.max_in_flight", file.limits.max_in_flight, 1, 10_000_000)?;
        router.admission.max_delay_permille =
            within("limits.max_delay_permille", file.limits.max_delay_permille, 0, 1_000)?;
        router.call.deadline =
            Duration::from_millis(within("limits.deadline_ms", file.limits.deadline_ms, 1, DAY_MS)?);
        let mut pool = homing::PoolOptions {
            connections: within("limits.connections_per_peer", file.limits.connections_per_peer, 1, 1_024)?,
            ..homing::PoolOptions::default()
        };
        file.failover.set(&mut router, &mut pool)?;
        Ok(Self {
            serve: serve(&file)?,
            listen,
            wire,
            client,
            admin,
            exposed,
            credentials: Arc::new(certificates.load(&cluster, &id)?),
            client_tls: match client_files {
                Some(files) => {
                    let tls = Arc::new(files.load()?);
                    Some((files, tls))
                }
                None => None,
            },
            certificates,
            table: match file.table.source.as_str() {
                "placement" => TableSource::Placement { replicas: replicas(file.table.replicas)? },
                "none" => TableSource::None,
                path => TableSource::File(path.into()),
            },
            client_limits: homing::ClientLimits {
                max_connections: within(
                    "limits.max_client_connections",
                    file.limits.max_client_connections,
                    1,
                    1_000_000,
                )?,
                ..homing::ClientLimits::default()
            },
            pool,
            limits,
            router,
            drain: Duration::from_millis(within("limits.drain_ms", file.limits.drain_ms, 0, DAY_MS)?),
            data: file.data.clone(),
            cluster,
            id,
            nodes,
            file,
        })
    }
}

fn nodes(files: &[NodeFile]) -> Result<Vec<Member>> {
    let mut ids = HashSet::new();
    let mut addresses = HashSet::new();
    let mut nodes = Vec::with_capacity(files.len());
    for file in files {
        let node = node(file).with_context(|| format!("nodes: {}", file.id))?;
        ensure!(
            ids.insert(node.id.clone()),
            "nodes: {} stands twice: each node has an id of its own",
            node.id
        );
        ensure!(
            addresses.insert((node.address.clone(), node.wire.clone())),
            "nodes: the address {} stands twice: each node has one of its own",
            node.address
        );
        nodes.push(node);
    }
    ensure!(!nodes.is_empty(), "nodes is empty: list every node of the cluster with [[nodes]]");
    Ok(nodes)
}

fn node(file: &NodeFile) -> Result<Member> {
    let name = |name: &Option<String>, key| -> Result<Option<Name>> {
        name.as_deref().map(Name::new).transpose().context(key)
    };
    let (host, port) = file.address.rsplit_once(':').unwrap_or_default();
    ensure!(
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0),
        "address: {:?} is no address: use host:port, like 10.0.0.1:7400",
        file.address
    );
    Ok(Member {
        id: file.id.parse()?,
        address: file.address.clone(),
        wire: match &file.transport {
            Some(wire) => {
                ensure!(
                    matches!(wire.as_str(), "grpc" | "quic"),
                    "transport: {wire:?}: use \"quic\" or \"grpc\""
                );
                wire.clone()
            }
            None => WIRES[0].as_str().to_owned(),
        },
        locality: Locality {
            region: name(&file.region, "region")?,
            zone: name(&file.zone, "zone")?,
            rack: name(&file.rack, "rack")?,
        },
        weight: file.weight,
    })
}

fn serve(file: &ConfigFile) -> Result<Serve> {
    if file.service == "kv" {
        return Ok(Serve::Kv);
    }
    homing::Client::new(&file.service).context("service: use \"kv\" or the address of a service")?;
    Ok(Serve::Upstream { address: file.service.clone(), dedupes: file.service_dedupes })
}

fn socket(key: &str, address: &str) -> Result<SocketAddr> {
    match address.parse() {
        Ok(address) => Ok(address),
        Err(_) => bail!("{key}: {address:?} is no address: use ip:port, like 127.0.0.1:7400"),
    }
}

fn client_files(file: &ConfigFile) -> Result<Option<certificates::ClientFiles>> {
    let (here, missing) = match (&file.listen.certificate, &file.listen.key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (certificate.clone(), key.clone());
            return Ok(Some(certificates::ClientFiles { certificate, key }));
        }
        (None, None) => return Ok(None),
        (Some(_), None) => ("listen.certificate", "listen.key"),
        (None, Some(_)) => ("listen.key", "listen.certificate"),
    };
    bail!("{here} is set and {missing} is not: set both for TLS towards clients, or none")
}

/// Whether others can reach what has no TLS: `client`, if it has none, or `admin`.
fn exposed(file: &ConfigFile, client: Option<SocketAddr>, admin: SocketAddr) -> Result<bool> {
    let remedies = [
        ("listen.client", client, "set listen.certificate and listen.key for TLS, use a loopback address,"),
        ("listen.admin", Some(admin), "use a loopback address,"),
    ];
    for (key, address, remedy) in remedies {
        let Some(address) = address.filter(|address| !address.ip().is_loopback()) else { continue };
        ensure!(
            file.listen.insecure,
            "{key}: {address} can be reached by others and has no TLS: {remedy} or set listen.insecure = true"
        );
        return Ok(true);
    }
    Ok(false)
}

/// The longest time that a key may name, in milliseconds: a day.
pub(super) const DAY_MS: u64 = 86_400_000;

/// A bound is at least 1, and not so high that it bounds nothing: what is counted or timed with it must not overflow.
pub(super) fn within<T: PartialOrd + Display>(key: &str, value: T, least: T, most: T) -> Result<T> {
    ensure!(value >= least && value <= most, "{key} is {value}: use a number from {least} to {most}");
    Ok(value)
}

fn replicas(replicas: usize) -> Result<usize> {
    ensure!(
        replicas <= homing::MAX_REPLICAS,
        "table.replicas is {replicas}: a space has at most {} replicas",
        homing::MAX_REPLICAS
    );
    Ok(replicas)
}
