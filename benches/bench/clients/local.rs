use anyhow::Result;
use bytes::Bytes;
use homing_benches::{EchoService, GrpcEcho};
use http::HeaderMap;

use super::explain;

/// tonic's client and server, one calling the other.
pub(crate) struct Client(GrpcEcho<EchoService>);

impl Client {
    pub(crate) fn new() -> Self {
        Self(GrpcEcho::new(EchoService))
    }

    pub(crate) async fn echo(&self, bytes: Bytes) -> Result<Bytes> {
        self.0.echo(bytes, HeaderMap::new()).await.map_err(explain)
    }
}
