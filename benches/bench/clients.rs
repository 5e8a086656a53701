//! Those that call, each over as many connections.

mod kv;
mod local;
mod router;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail, ensure};
use bytes::Bytes;
use homing::{Wire, headers};
use homing_benches::{Bare, BareClient};
use http::{HeaderMap, HeaderValue};

use crate::contestants::{Calls, Contestant, Ground};
use crate::credentials::owner;

/// The clients of one contestant.
pub(crate) enum Clients {
    Tcp(Vec<tcp::Client>),
    Udp(Vec<udp::Client>),
    Bare(Vec<BareClient>),
    InProcess(local::Client),
    Router(router::Client),
    Kv(kv::Client),
}

/// The name of a space by its number.
pub(crate) fn name(number: usize) -> String {
    format!("bench-{number}")
}

/// What a caller says to a node with its headers: a read of the `number`th space.
fn asks(number: usize) -> HeaderMap {
    let space = HeaderValue::from_str(&name(number)).expect("letters and digits");
    HeaderMap::from_iter([(headers::SPACE, space), (headers::ACCESS, HeaderValue::from_static("read"))])
}

impl Clients {
    /// Connects to what listens there.
    pub(crate) async fn connect(
        contestant: Contestant,
        ground: &Ground,
        at: &[SocketAddr],
        calls: Calls,
    ) -> Result<Self> {
        let connections = calls.connections;
        let credentials = Arc::clone(&ground.credentials);
        Ok(match contestant {
            Contestant::Tcp => Self::Tcp(tcp::Client::connect(at[0], connections).await?),
            Contestant::Udp => Self::Udp(udp::Client::connect(at[0], connections).await?),
            Contestant::TonicPlain | Contestant::Tonic | Contestant::Quinn => {
                let wire = match contestant {
                    Contestant::Quinn => Bare::Quic,
                    Contestant::Tonic => Bare::Grpc,
                    _ => Bare::GrpcPlain,
                };
                let mut clients = Vec::new();
                // One after another to each owner, so that calls in turn go to all of them.
                for _ in 0..connections {
                    for (number, at) in at.iter().enumerate() {
                        let connected = wire.connect(&credentials, &owner(number)?, *at).await;
                        clients.push(connected.map_err(explain)?);
                    }
                }
                Self::Bare(clients)
            }
            Contestant::RouterGrpc
            | Contestant::RouterQuic
            | Contestant::UntoldGrpc
            | Contestant::UntoldQuic => {
                let wire = if contestant.wire() == Some("grpc") { Wire::Grpc } else { Wire::Quic };
                Self::Router(router::Client::start(wire, credentials, at, calls).await?)
            }
            Contestant::RouterInPlace => Self::Router(router::Client::in_place(credentials, calls).await?),
            Contestant::KvGrpc | Contestant::KvQuic => {
                Self::Kv(kv::Client::new(at, connections, calls.spaces)?)
            }
            Contestant::InProcess => Self::InProcess(local::Client::new()),
            Contestant::Hop | Contestant::Envoy | Contestant::Haproxy | Contestant::Nginx => {
                let (mut clients, owner) = (Vec::new(), owner(0)?);
                for _ in 0..connections {
                    let through = BareClient::through(&credentials, &owner, at[0], asks(0));
                    clients.push(through.await.map_err(explain)?);
                }
                Self::Bare(clients)
            }
        })
    }

    /// One call: the `turn`th, so that all connections have as many.
    pub(crate) async fn echo(&self, bytes: &Bytes, turn: usize) -> Result<()> {
        match self {
            Self::Tcp(clients) => clients[turn % clients.len()].echo(bytes).await,
            Self::Udp(clients) => clients[turn % clients.len()].echo(bytes).await,
            Self::Bare(clients) => clients[turn % clients.len()].echo(bytes.clone()).await.map_err(explain),
            Self::InProcess(client) => same(client.echo(bytes.clone()).await?, bytes),
            Self::Router(client) => same(client.echo(bytes.clone(), turn).await?, bytes),
            Self::Kv(client) => client.write(bytes.clone(), turn).await,
        }
    }

    /// One call that streams so many bytes there.
    pub(crate) async fn stream(&self, bytes: usize) -> Result<()> {
        let (piece, times) = (Bytes::from(vec![b'v'; PIECE]), bytes / PIECE);
        let counted = match self {
            Self::Bare(clients) => clients[0].count(piece, times).await.map_err(explain)?,
            Self::Router(client) => client.count(piece, times).await?,
            _ => bail!("it does not stream"),
        };
        ensure!(counted == (times * PIECE) as u64, "{counted} bytes have come there of {bytes}");
        Ok(())
    }
}

/// What is streamed leaves in pieces of this size.
const PIECE: usize = 64 << 10;

/// A router or a service must bring back what was sent.
fn same(back: Bytes, sent: &Bytes) -> Result<()> {
    anyhow::ensure!(back == *sent, "the echo is another than what was sent");
    Ok(())
}

pub(crate) fn explain(error: homing_benches::BareError) -> anyhow::Error {
    anyhow!("{error}")
}
