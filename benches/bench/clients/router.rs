use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use homing::tls::Credentials;
use homing::{Body, Channel, HttpService, Node, Wire};
use homing_benches::{EchoService, GrpcEcho};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower_service::Service;

use super::{asks, explain};
use crate::contestants::Calls;
use crate::credentials::CALLER;
use crate::serve::RawEcho;
use crate::{credentials as known, nodes};

/// A node in this process, as a service embeds one.
pub(crate) struct Client {
    /// Stops when it is dropped.
    _node: Node,
    channel: Above,
    spaces: usize,
    /// What each call says of itself, one for each of the first spaces: to write it again each time costs a little.
    asks: Vec<HeaderMap>,
}

/// So many are kept.
const KEPT: usize = 1_000;

/// What stands above the node, as it does above the bare wire: over gRPC tonic's client, over QUIC nothing.
enum Above {
    Grpc(GrpcEcho<Channel>),
    Raw(Channel),
}

impl Client {
    /// A node whose calls go to the owners there, in turn to each of the spaces.
    pub(crate) async fn start(
        wire: Wire,
        credentials: Arc<Credentials>,
        owners: &[SocketAddr],
        calls: Calls,
    ) -> Result<Self> {
        let node = nodes::caller(wire, credentials, Arc::new(RawEcho), owners, calls).await?;
        let channel = match wire {
            Wire::Grpc => Above::Grpc(GrpcEcho::new(node.channel())),
            Wire::Quic => Above::Raw(node.channel()),
        };
        Ok(Self::over(node, channel, calls))
    }

    fn over(node: Node, channel: Above, calls: Calls) -> Self {
        let asks = (0..calls.spaces.min(KEPT)).map(asks).collect();
        Self { _node: node, channel, spaces: calls.spaces, asks }
    }

    /// A node that owns every space itself.
    pub(crate) async fn in_place(credentials: Arc<Credentials>, calls: Calls) -> Result<Self> {
        let service = Arc::new(HttpService::new(EchoService));
        let node = nodes::owner(&known::node(CALLER)?, Wire::Grpc, credentials, service, 1, None).await?;
        let channel = Above::Grpc(GrpcEcho::new(node.channel()));
        Ok(Self::over(node, channel, calls))
    }

    pub(crate) async fn echo(&self, bytes: Bytes, turn: usize) -> Result<Bytes> {
        let number = turn % self.spaces;
        let asks = self.asks.get(number).cloned().unwrap_or_else(|| asks(number));
        match &self.channel {
            Above::Grpc(echo) => echo.echo(bytes, asks).await.map_err(explain),
            Above::Raw(channel) => raw(channel, Body::from(bytes), asks).await,
        }
    }

    pub(crate) async fn count(&self, piece: Bytes, times: usize) -> Result<u64> {
        match &self.channel {
            Above::Grpc(echo) => echo.count(piece, times, self.asks[0].clone()).await.map_err(explain),
            Above::Raw(channel) => {
                let frames =
                    std::iter::repeat_n(piece, times).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
                let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
                let counted = raw(channel, body, self.asks[0].clone()).await?;
                Ok(u64::from_be_bytes(counted[..].try_into()?))
            }
        }
    }
}

/// A request without gRPC above it, and the body of its answer.
async fn raw(channel: &Channel, body: Body, asks: HeaderMap) -> Result<Bytes> {
    let mut request = http::Request::post("/echo").body(body)?;
    *request.headers_mut() = asks;
    let response = channel.clone().call(request).await?;
    ensure!(response.status().is_success(), "answered with {}", response.status());
    let body = response.into_body().collect().await;
    Ok(body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}
