//! The bare wires, as one would use them without Homing: an echo over gRPC (tonic) or over QUIC (quinn), one connection a
//! client. What Homing takes is told beside what these take, in the same run.

mod grpc;
mod quic;

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use homing_transport::tls::Credentials;
use homing_types::NodeId;

pub use grpc::{EchoService, GrpcEcho};

/// Why a bare wire could not be used, as its library says it.
pub type BareError = Box<dyn std::error::Error + Send + Sync>;

/// A bare wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// tonic's server and channel, with mutual TLS.
    Grpc,
    /// The same without TLS.
    GrpcPlain,
    /// quinn's endpoint with its own defaults, one stream a call.
    Quic,
}

/// One connection to a [`Bare`] echo. Clones share it.
#[derive(Clone)]
pub struct BareClient(Kind);

#[derive(Clone)]
enum Kind {
    /// With the headers that each of its requests bears.
    Grpc(GrpcEcho<tonic::transport::Channel>, http::HeaderMap),
    Quic(quic::Client),
}

impl Bare {
    /// Binds this address, and tells it with what echoes there for as long as it is polled.
    ///
    /// # Errors
    /// [`BareError`] if the address can't be bound or the credentials can't be used.
    pub async fn serve(
        self,
        credentials: &Credentials,
        at: SocketAddr,
    ) -> Result<(SocketAddr, BoxFuture<'static, ()>), BareError> {
        match self {
            Self::Grpc => grpc::serve(Some(credentials), at).await,
            Self::GrpcPlain => grpc::serve(None, at).await,
            Self::Quic => quic::serve(credentials, at),
        }
    }

    /// Connects to the echo of `node`.
    ///
    /// # Errors
    /// [`BareError`] if there is no connection.
    pub async fn connect(
        self,
        credentials: &Credentials,
        node: &NodeId,
        to: SocketAddr,
    ) -> Result<BareClient, BareError> {
        let over = |channel| Kind::Grpc(GrpcEcho::new(channel), http::HeaderMap::new());
        Ok(BareClient(match self {
            Self::Grpc => over(grpc::connect(credentials, node, to).await?),
            Self::GrpcPlain => over(grpc::connect_plain(to).await?),
            Self::Quic => Kind::Quic(quic::Client::connect(credentials, node, to).await?),
        }))
    }
}

impl BareClient {
    /// A client over gRPC with mutual TLS of something that stands between, say a proxy: its requests bear these headers.
    ///
    /// # Errors
    /// [`BareError`] if there is no connection.
    pub async fn through(
        credentials: &Credentials,
        node: &NodeId,
        to: SocketAddr,
        headers: http::HeaderMap,
    ) -> Result<Self, BareError> {
        Ok(Self(Kind::Grpc(GrpcEcho::new(grpc::connect(credentials, node, to).await?), headers)))
    }

    /// Sends bytes and waits until they are back.
    ///
    /// # Errors
    /// [`BareError`] if they don't come back as they went.
    pub async fn echo(&self, bytes: Bytes) -> Result<(), BareError> {
        let back = match &self.0 {
            Kind::Grpc(client, headers) => client.echo(bytes.clone(), headers.clone()).await?,
            Kind::Quic(client) => client.echo(&bytes).await?,
        };
        if back == bytes {
            Ok(())
        } else {
            Err(io::Error::other("the echo is another than what was sent").into())
        }
    }

    /// Streams a piece so many times, more than an echo may have, and returns how many bytes have come there.
    ///
    /// # Errors
    /// [`BareError`] if there is no answer.
    pub async fn count(&self, piece: Bytes, times: usize) -> Result<u64, BareError> {
        match &self.0 {
            Kind::Grpc(client, headers) => client.count(piece, times, headers.clone()).await,
            Kind::Quic(client) => client.count(piece, times).await,
        }
    }
}

/// A number as it is sent back.
fn number(bytes: &[u8]) -> Result<u64, BareError> {
    Ok(u64::from_be_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use homing_transport::ca::{CertificateAuthority, Validity};
    use homing_transport::tls::ClusterName;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[expect(clippy::disallowed_methods, reason = "certificates are valid by the wall clock")]
    fn credentials() -> [Credentials; 2] {
        let now = SystemTime::now();
        let validity = Validity { from: now - HOUR, until: now + HOUR };
        let cluster: ClusterName = "bare.local".parse().unwrap();
        let ca = CertificateAuthority::create(cluster.clone(), validity).unwrap();
        ["a", "b"].map(|id| {
            let node = NodeId::new(id).unwrap();
            let issued = ca.issue(&node, validity).unwrap();
            let texts = [ca.certificate_pem(), &issued.certificate_pem, &issued.key_pem];
            let [ca, certificate, key] = texts.map(str::as_bytes);
            let now = now.duration_since(UNIX_EPOCH).unwrap();
            Credentials::from_pem(cluster.clone(), node, ca, certificate, key, now).unwrap()
        })
    }

    #[tokio::test]
    async fn each_wire_brings_back_what_was_sent() {
        let [server, client] = credentials();
        for wire in [Bare::Grpc, Bare::GrpcPlain, Bare::Quic] {
            let (at, serving) = wire.serve(&server, "127.0.0.1:0".parse().unwrap()).await.unwrap();
            let serving = tokio::spawn(serving);
            let client = wire.connect(&client, server.node(), at).await.unwrap();
            for size in [0, 128, 256 << 10] {
                client.echo(Bytes::from(vec![7; size])).await.unwrap();
            }
            let (piece, times) = (Bytes::from(vec![7; 64 << 10]), 300);
            assert_eq!(client.count(piece, times).await.unwrap(), 300 * (64 << 10));
            serving.abort();
        }
    }
}
