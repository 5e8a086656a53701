use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use homing::tls::Credentials;
use homing::{Body, Channel, HttpService, Node, Wire};
use homing_benches::{EchoService, GrpcEcho};
use http::HeaderMap;
use http_body_util::BodyExt;
use tower_service::Service;

use super::explain;
use crate::credentials::CALLER;
use crate::serve::RawEcho;
use crate::{credentials as known, nodes};

/// A node in this process, as a service embeds one.
pub(crate) struct Client {
    /// Stops when it is dropped.
    _node: Node,
    calls: Calls,
    /// What each call says of itself, one for each space.
    asks: Vec<HeaderMap>,
}

/// What stands above the node, as it does above the bare wire: over gRPC tonic's client, over QUIC nothing.
enum Calls {
    Grpc(GrpcEcho<Channel>),
    Raw(Channel),
}

impl Client {
    /// A node whose calls go to the owners there, in turn to each of these spaces.
    pub(crate) async fn start(
        wire: Wire,
        credentials: Arc<Credentials>,
        owners: &[SocketAddr],
        connections: usize,
        asks: Vec<HeaderMap>,
    ) -> Result<Self> {
        let node = nodes::caller(wire, credentials, Arc::new(RawEcho), owners, connections).await?;
        let calls = match wire {
            Wire::Grpc => Calls::Grpc(GrpcEcho::new(node.channel())),
            Wire::Quic => Calls::Raw(node.channel()),
        };
        Ok(Self { _node: node, calls, asks })
    }

    /// A node that owns every space itself.
    pub(crate) async fn in_place(credentials: Arc<Credentials>, asks: Vec<HeaderMap>) -> Result<Self> {
        let service = Arc::new(HttpService::new(EchoService));
        let node = nodes::owner(&known::node(CALLER)?, Wire::Grpc, credentials, service).await?;
        let calls = Calls::Grpc(GrpcEcho::new(node.channel()));
        Ok(Self { _node: node, calls, asks })
    }

    pub(crate) async fn echo(&self, bytes: Bytes, turn: usize) -> Result<Bytes> {
        let asks = self.asks[turn % self.asks.len()].clone();
        match &self.calls {
            Calls::Grpc(echo) => echo.echo(bytes, asks).await.map_err(explain),
            Calls::Raw(channel) => {
                let mut request = http::Request::post("/echo").body(Body::from(bytes))?;
                *request.headers_mut() = asks;
                let response = channel.clone().call(request).await?;
                ensure!(response.status().is_success(), "answered with {}", response.status());
                let body = response.into_body().collect().await;
                Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
            }
        }
    }
}
