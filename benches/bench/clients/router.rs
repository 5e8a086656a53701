use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use homing::tls::Credentials;
use homing::{Body, Channel, HttpService, Node, Wire};
use homing_benches::{EchoService, GrpcEcho};
use http_body_util::BodyExt;
use tower_service::Service;

use super::{asks, explain};
use crate::nodes;
use crate::serve::RawEcho;

/// A node in this process, as a service embeds one.
pub(crate) struct Client {
    /// Stops when it is dropped.
    _node: Node,
    calls: Calls,
}

/// What stands above the node, as it does above the bare wire: over gRPC tonic's client, over QUIC nothing.
enum Calls {
    Grpc(GrpcEcho<Channel>),
    Raw(Channel),
}

impl Client {
    /// A node whose calls go to the owner there.
    pub(crate) async fn start(
        grpc: bool,
        credentials: Arc<Credentials>,
        owner: SocketAddr,
        connections: usize,
    ) -> Result<Self> {
        let wire = if grpc { Wire::Grpc } else { Wire::Quic };
        let node = nodes::caller(wire, credentials, Arc::new(RawEcho), owner, connections).await?;
        let calls = if grpc {
            Calls::Grpc(GrpcEcho::new(node.channel(), asks()))
        } else {
            Calls::Raw(node.channel())
        };
        Ok(Self { _node: node, calls })
    }

    /// A node that owns every space itself.
    pub(crate) async fn in_place(credentials: Arc<Credentials>) -> Result<Self> {
        let service = Arc::new(HttpService::new(EchoService));
        let node = nodes::owner(Wire::Grpc, credentials, service).await?;
        let calls = Calls::Grpc(GrpcEcho::new(node.channel(), asks()));
        Ok(Self { _node: node, calls })
    }

    pub(crate) async fn echo(&self, bytes: Bytes) -> Result<Bytes> {
        match &self.calls {
            Calls::Grpc(echo) => echo.echo(bytes).await.map_err(explain),
            Calls::Raw(channel) => {
                let mut request = http::Request::post("/echo").body(Body::from(bytes))?;
                request.headers_mut().extend(asks());
                let response = channel.clone().call(request).await?;
                ensure!(response.status().is_success(), "answered with {}", response.status());
                let body = response.into_body().collect().await;
                Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
            }
        }
    }
}
