//! Who is measured: what serves, and what calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use homing::tls::Credentials;

use crate::clients::Clients;
use crate::process::{self, Process};
use crate::proxies;
use crate::scenarios::{Kind, Scenario};

/// Somebody who brings a call to an echo and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Contestant {
    /// Bytes over TCP, and nothing else: the floor.
    Tcp,
    /// A datagram each way.
    Udp,
    /// tonic's client and server without TLS.
    TonicPlain,
    /// The same with mutual TLS.
    Tonic,
    /// quinn's endpoints with their own defaults, one stream a call.
    Quinn,
    /// Our router in the caller's process, over gRPC, and tonic's client and server above it.
    RouterGrpc,
    /// Our router in the caller's process, over QUIC.
    RouterQuic,
    /// The same two, which are not told where nodes stand.
    UntoldGrpc,
    UntoldQuic,
    /// tonic's client and server, one calling the other in the same process.
    InProcess,
    /// The same with our router between, on the node that owns the space.
    RouterInPlace,
    /// Our node with tonic's client before it and tonic's server beside it.
    Hop,
    /// Somebody else's proxies in its place.
    Envoy,
    Haproxy,
    Nginx,
    /// Three nodes with the reference service, over gRPC between them, and its client.
    KvGrpc,
    /// The same over QUIC.
    KvQuic,
}

impl Contestant {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TonicPlain => "tonic-plain",
            Self::Tonic => "tonic",
            Self::Quinn => "quinn",
            Self::RouterGrpc => "homing-grpc",
            Self::RouterQuic => "homing-quic",
            Self::UntoldGrpc => "homing-grpc-untold",
            Self::UntoldQuic => "homing-quic-untold",
            Self::InProcess => "in-process",
            Self::RouterInPlace => "homing-in-place",
            Self::Hop => "homing-node",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::KvGrpc => "kv-grpc",
            Self::KvQuic => "kv-quic",
        }
    }

    /// What its figures are held against.
    pub(crate) const fn baseline(self) -> Self {
        match self {
            Self::Quinn | Self::RouterQuic => Self::Quinn,
            Self::UntoldGrpc => Self::RouterGrpc,
            Self::UntoldQuic => Self::RouterQuic,
            Self::InProcess | Self::RouterInPlace => Self::InProcess,
            Self::KvGrpc | Self::KvQuic => Self::TonicPlain,
            _ => Self::Tonic,
        }
    }

    /// What protects its bytes on their way.
    pub(crate) const fn tls(self) -> &'static str {
        match self {
            Self::Tcp | Self::Udp | Self::TonicPlain => "none",
            Self::InProcess | Self::RouterInPlace => "no wire",
            Self::Tonic
            | Self::Quinn
            | Self::RouterGrpc
            | Self::RouterQuic
            | Self::UntoldGrpc
            | Self::UntoldQuic => "mutual TLS 1.3",
            Self::KvGrpc | Self::KvQuic => "none up to the node, mutual TLS 1.3 between nodes",
            Self::Hop | Self::Envoy | Self::Haproxy | Self::Nginx => "TLS 1.3 up to it, none to the service",
        }
    }

    /// The wire between nodes that it speaks, if it is ours.
    pub(crate) const fn wire(self) -> Option<&'static str> {
        match self {
            Self::RouterGrpc | Self::UntoldGrpc | Self::KvGrpc => Some("grpc"),
            Self::RouterQuic | Self::UntoldQuic | Self::KvQuic => Some("quic"),
            _ => None,
        }
    }

    /// Whether its router is not told where nodes stand.
    const fn is_untold(self) -> bool {
        matches!(self, Self::UntoldGrpc | Self::UntoldQuic)
    }

    /// What serves as the `number`th of its owners.
    const fn echo(self, scenario: &Scenario, number: usize) -> &'static str {
        let far = scenario.far && number == 0;
        match self {
            Self::RouterGrpc | Self::UntoldGrpc if far => "homing-grpc-far",
            Self::RouterQuic | Self::UntoldQuic if far => "homing-quic-far",
            Self::UntoldGrpc => Self::RouterGrpc.name(),
            Self::UntoldQuic => Self::RouterQuic.name(),
            _ => self.name(),
        }
    }

    /// Whether a message of this size can be brought. A datagram of more than one packet is lost with any of its packets, and nothing sends it
    /// again.
    pub(crate) const fn carries(self, payload: usize) -> bool {
        !matches!(self, Self::Udp) || payload <= 1_400
    }
}

/// The epoch of owners that a caller doesn't know yet.
const MOVED_EPOCH: u64 = 2;

/// What all contestants use.
#[derive(Clone)]
pub(crate) struct Ground {
    /// Certificates and what else they leave.
    pub(crate) folder: PathBuf,
    pub(crate) credentials: Arc<Credentials>,
    /// The binary `homing`.
    pub(crate) node: PathBuf,
    /// Connections each.
    pub(crate) connections: usize,
}

/// A contestant that stands ready.
pub(crate) struct Ready {
    pub(crate) contestant: Contestant,
    pub(crate) clients: Arc<Clients>,
    /// Its processes beside this one.
    pub(crate) processes: Vec<Process>,
    /// What its clients take here, in bytes.
    clients_memory: u64,
    at: Vec<SocketAddr>,
    calls: Calls,
}

/// What a contestant's clients call, and over how many connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) spaces: usize,
    pub(crate) pinned: bool,
    /// Whether the last of the owners owns them all, which the caller doesn't know yet.
    pub(crate) stale: bool,
    /// Where the owners are far apart: the first is the primary of all spaces, the others are replicas.
    pub(crate) far: Option<Distance>,
    pub(crate) connections: usize,
}

/// Whether a caller is told that the primary is far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Distance {
    Told,
    Untold,
}

/// What keeps a contestant from taking part.
#[derive(Debug)]
pub(crate) struct Absent(pub(crate) String);

impl Ready {
    /// Starts its processes and connects.
    ///
    /// # Errors
    /// What it could not do; `Ok(Err)` if it is not installed here, or can't be started.
    pub(crate) async fn start(
        contestant: Contestant,
        scenario: &Scenario,
        ground: &Ground,
    ) -> Result<Result<Self, Absent>> {
        let echo = |kind: &'static str, number| Process::serve(kind, &ground.folder, number, 1, None);
        let mut processes = Vec::new();
        let stale = matches!(scenario.kind, Kind::Stale(_));
        let at = match contestant {
            Contestant::InProcess | Contestant::RouterInPlace => Vec::new(),
            Contestant::RouterGrpc | Contestant::RouterQuic if stale => {
                let serve = |number, moved| {
                    Process::serve(contestant.name(), &ground.folder, number, MOVED_EPOCH, moved)
                };
                let (new, to) = serve(1, None).await?;
                let (old, from) = serve(0, Some(to)).await?;
                processes.extend([old, new]);
                vec![from, to]
            }
            Contestant::Tcp
            | Contestant::Udp
            | Contestant::TonicPlain
            | Contestant::Tonic
            | Contestant::Quinn
            | Contestant::RouterGrpc
            | Contestant::RouterQuic
            | Contestant::UntoldGrpc
            | Contestant::UntoldQuic => {
                let mut all = Vec::new();
                for number in 0..scenario.owners {
                    let (process, at) = echo(contestant.echo(scenario, number), number).await?;
                    processes.push(process);
                    all.push(at);
                }
                all
            }
            Contestant::KvGrpc | Contestant::KvQuic => {
                let wire = contestant.wire().unwrap_or_default();
                let (nodes, at) =
                    Process::cluster(&ground.node, &ground.folder, wire, scenario.owners).await?;
                processes = nodes;
                at
            }
            Contestant::Hop => {
                let (service, beside) = echo(Contestant::TonicPlain.name(), 0).await?;
                let (node, at) = Process::node(&ground.node, &ground.folder, beside).await?;
                processes.extend([service, node]);
                vec![at]
            }
            Contestant::Envoy | Contestant::Haproxy | Contestant::Nginx => {
                let Some(proxy) = proxies::installed(contestant.name()) else {
                    return Ok(Err(Absent("not installed; docs/BENCHMARKS.md says how to get it".into())));
                };
                let (service, beside) = echo(Contestant::TonicPlain.name(), 0).await?;
                match proxies::start(contestant, &proxy, &ground.folder, beside).await {
                    Ok((proxy, at)) => {
                        processes.extend([service, proxy]);
                        vec![at]
                    }
                    Err(error) => return Ok(Err(Absent(format!("{error:#}")))),
                }
            }
        };
        let connections = scenario.connections.unwrap_or(ground.connections);
        let far =
            scenario.far.then_some(if contestant.is_untold() { Distance::Untold } else { Distance::Told });
        let calls = Calls { spaces: scenario.spaces, pinned: scenario.pinned, stale, far, connections };
        let before = process::memory(std::process::id())?;
        let clients = Arc::new(Clients::connect(contestant, ground, &at, calls).await?);
        let clients_memory = process::memory(std::process::id())?.saturating_sub(before);
        Ok(Ok(Self { contestant, clients, processes, clients_memory, at, calls }))
    }

    /// Another client, which has no connection yet.
    pub(crate) async fn fresh(&self, ground: &Ground) -> Result<Clients> {
        let calls = Calls { connections: 1, ..self.calls };
        Clients::connect(self.contestant, ground, &self.at, calls).await
    }

    /// The memory of its processes, and of its clients here as far as it came with them, in megabytes.
    pub(crate) fn memory_mb(&self) -> Result<f64> {
        let processes = self.processes.iter().map(Process::memory).sum::<Result<u64>>()?;
        Ok((processes + self.clients_memory) as f64 / 1e6)
    }
}
