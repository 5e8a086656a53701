//! Who is measured: what serves, and what calls it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use homing::tls::Credentials;

use crate::clients::Clients;
use crate::foreign;
use crate::process::Process;
use crate::scenarios::Scenario;

/// Somebody who brings a call to an echo and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
            Self::InProcess => "in-process",
            Self::RouterInPlace => "homing-in-place",
            Self::Hop => "homing-node",
            Self::Envoy => "envoy",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }

    /// What its figures are held against.
    pub(crate) const fn baseline(self) -> Self {
        match self {
            Self::Quinn | Self::RouterQuic => Self::Quinn,
            Self::InProcess | Self::RouterInPlace => Self::InProcess,
            _ => Self::Tonic,
        }
    }

    /// What protects its bytes on their way.
    pub(crate) const fn tls(self) -> &'static str {
        match self {
            Self::Tcp | Self::Udp | Self::TonicPlain => "none",
            Self::InProcess | Self::RouterInPlace => "no wire",
            Self::Tonic | Self::Quinn | Self::RouterGrpc | Self::RouterQuic => "mutual TLS 1.3",
            Self::Hop | Self::Envoy | Self::Haproxy | Self::Nginx => "TLS 1.3 up to it, none to the service",
        }
    }

    /// The wire between nodes that it speaks, if it is ours.
    pub(crate) const fn wire(self) -> Option<&'static str> {
        match self {
            Self::RouterGrpc => Some("grpc"),
            Self::RouterQuic => Some("quic"),
            _ => None,
        }
    }

    /// Whether a message of this size can be brought at all.
    pub(crate) const fn carries(self, payload: usize) -> bool {
        // A UDP datagram has at most 65,507 bytes.
        !matches!(self, Self::Udp) || payload <= 65_507
    }
}

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
    at: Vec<SocketAddr>,
    spaces: usize,
}

impl Ready {
    /// Starts its processes and connects.
    ///
    /// # Errors
    /// What it could not do; `Ok(None)` if it is not installed here.
    pub(crate) async fn start(
        contestant: Contestant,
        scenario: &Scenario,
        ground: &Ground,
    ) -> Result<Option<Self>> {
        let echo = |kind: &'static str, number| Process::serve(kind, &ground.folder, number);
        let mut processes = Vec::new();
        let at = match contestant {
            Contestant::InProcess | Contestant::RouterInPlace => Vec::new(),
            Contestant::Tcp
            | Contestant::Udp
            | Contestant::TonicPlain
            | Contestant::Tonic
            | Contestant::Quinn
            | Contestant::RouterGrpc
            | Contestant::RouterQuic => {
                let mut all = Vec::new();
                for number in 0..scenario.owners {
                    let (process, at) = echo(contestant.name(), number).await?;
                    processes.push(process);
                    all.push(at);
                }
                all
            }
            Contestant::Hop => {
                let (service, beside) = echo(Contestant::TonicPlain.name(), 0).await?;
                let (node, at) = Process::node(&ground.node, &ground.folder, beside).await?;
                processes.extend([service, node]);
                vec![at]
            }
            Contestant::Envoy | Contestant::Haproxy | Contestant::Nginx => {
                let Some(proxy) = foreign::installed(contestant) else { return Ok(None) };
                let (service, beside) = echo(Contestant::TonicPlain.name(), 0).await?;
                let (proxy, at) = foreign::start(contestant, &proxy, &ground.folder, beside).await?;
                processes.extend([service, proxy]);
                vec![at]
            }
        };
        let clients = Arc::new(Clients::connect(contestant, ground, &at, scenario.spaces).await?);
        Ok(Some(Self { contestant, clients, processes, at, spaces: scenario.spaces }))
    }

    /// Another client, which has no connection yet.
    pub(crate) async fn fresh(&self, ground: &Ground) -> Result<Clients> {
        let ground = Ground { connections: 1, ..ground.clone() };
        Clients::connect(self.contestant, &ground, &self.at, self.spaces).await
    }
}
