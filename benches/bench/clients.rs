//! Those that call, each over as many connections.

mod local;
mod router;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use homing::headers;
use homing_benches::{Bare, BareClient};
use http::{HeaderMap, HeaderValue};

use crate::contestants::{Contestant, Ground};
use crate::credentials::{OWNER, node};

/// The clients of one contestant.
pub(crate) enum Clients {
    Tcp(Vec<tcp::Client>),
    Udp(Vec<udp::Client>),
    Bare(Vec<BareClient>),
    InProcess(local::Client),
    Router(router::Client),
}

/// Of which space all calls are.
const SPACE: &str = "bench";

/// What a caller says to a node with its headers.
pub(crate) fn asks() -> HeaderMap {
    let [space, access] = [SPACE, "read"].map(HeaderValue::from_static);
    HeaderMap::from_iter([(headers::SPACE, space), (headers::ACCESS, access)])
}

impl Clients {
    /// Connects to what listens there.
    pub(crate) async fn connect(contestant: Contestant, ground: &Ground, at: SocketAddr) -> Result<Self> {
        let Ground { credentials, connections, .. } = ground;
        let owner = node(OWNER)?;
        let bare = async |wire: Bare| {
            let mut clients = Vec::new();
            for _ in 0..*connections {
                clients.push(wire.connect(credentials, &owner, at).await.map_err(explain)?);
            }
            Ok::<_, anyhow::Error>(Self::Bare(clients))
        };
        match contestant {
            Contestant::Tcp => Ok(Self::Tcp(tcp::Client::connect(at, *connections).await?)),
            Contestant::Udp => Ok(Self::Udp(udp::Client::connect(at, *connections).await?)),
            Contestant::TonicPlain => bare(Bare::GrpcPlain).await,
            Contestant::Tonic => bare(Bare::Grpc).await,
            Contestant::Quinn => bare(Bare::Quic).await,
            Contestant::RouterGrpc | Contestant::RouterQuic => {
                let grpc = contestant == Contestant::RouterGrpc;
                let client = router::Client::start(grpc, Arc::clone(credentials), at, *connections);
                Ok(Self::Router(client.await?))
            }
            Contestant::RouterInPlace => {
                Ok(Self::Router(router::Client::in_place(Arc::clone(credentials)).await?))
            }
            Contestant::InProcess => Ok(Self::InProcess(local::Client::new())),
            Contestant::Hop | Contestant::Envoy | Contestant::Haproxy | Contestant::Nginx => {
                let mut clients = Vec::new();
                for _ in 0..*connections {
                    let through = BareClient::through(credentials, &owner, at, asks());
                    clients.push(through.await.map_err(explain)?);
                }
                Ok(Self::Bare(clients))
            }
        }
    }

    /// One call: the `turn`th, so that all connections have as many.
    pub(crate) async fn echo(&self, bytes: &Bytes, turn: usize) -> Result<()> {
        match self {
            Self::Tcp(clients) => clients[turn % clients.len()].echo(bytes).await,
            Self::Udp(clients) => clients[turn % clients.len()].echo(bytes).await,
            Self::Bare(clients) => clients[turn % clients.len()].echo(bytes.clone()).await.map_err(explain),
            Self::InProcess(client) => same(client.echo(bytes.clone()).await?, bytes),
            Self::Router(client) => same(client.echo(bytes.clone()).await?, bytes),
        }
    }
}

/// A router or a service must bring back what was sent.
fn same(back: Bytes, sent: &Bytes) -> Result<()> {
    anyhow::ensure!(back == *sent, "the echo is another than what was sent");
    Ok(())
}

pub(crate) fn explain(error: homing_benches::BareError) -> anyhow::Error {
    anyhow!("{error}")
}
