use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use homing_transport::tls::Credentials;
use homing_types::NodeId;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};

use super::BareError;

const ALPN: &[u8] = b"bare";

/// The longest echo, in bytes.
const LONGEST: usize = 16 << 20;

#[derive(Clone)]
pub(super) struct Client {
    connection: Connection,
    // The connection ends with its endpoint.
    _endpoint: Endpoint,
}

impl Client {
    pub(super) async fn connect(
        credentials: &Credentials,
        node: &NodeId,
        to: SocketAddr,
    ) -> Result<Self, BareError> {
        let tls = QuicClientConfig::try_from(credentials.client_config(ALPN)?)?;
        let endpoint = Endpoint::client((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let name = credentials.cluster().dns_name(node);
        let connection = endpoint.connect_with(ClientConfig::new(Arc::new(tls)), to, &name)?.await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    pub(super) async fn echo(&self, bytes: &[u8]) -> Result<Bytes, BareError> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        send.write_all(bytes).await?;
        send.finish()?;
        Ok(receive.read_to_end(LONGEST).await?.into())
    }

    pub(super) async fn count(&self, piece: Bytes, times: usize) -> Result<u64, BareError> {
        let (mut send, mut receive) = self.connection.open_bi().await?;
        for _ in 0..times {
            send.write_chunk(piece.clone()).await?;
        }
        send.finish()?;
        super::number(&receive.read_to_end(LONGEST).await?)
    }
}

/// What came of a stream: its bytes, or how many there were if that is more than an echo has.
async fn received(receive: &mut quinn::RecvStream) -> Result<Vec<u8>, quinn::ReadError> {
    let (mut bytes, mut counted) = (Vec::new(), 0_u64);
    while let Some(chunk) = receive.read_chunk(usize::MAX, true).await? {
        counted += chunk.bytes.len() as u64;
        if counted <= LONGEST as u64 {
            bytes.extend_from_slice(&chunk.bytes);
        }
    }
    Ok(if counted <= LONGEST as u64 { bytes } else { counted.to_be_bytes().to_vec() })
}

/// The address that was bound, and what serves it.
pub(super) fn serve(
    credentials: &Credentials,
    at: SocketAddr,
) -> Result<(SocketAddr, BoxFuture<'static, ()>), BareError> {
    let tls = QuicServerConfig::try_from(credentials.server_config(ALPN)?)?;
    let endpoint = Endpoint::server(ServerConfig::with_crypto(Arc::new(tls)), at)?;
    let bound = endpoint.local_addr()?;
    Ok((
        bound,
        Box::pin(async move {
            while let Some(incoming) = endpoint.accept().await {
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                        tokio::spawn(async move {
                            let bytes = received(&mut receive).await.ok()?;
                            send.write_all(&bytes).await.ok()?;
                            send.finish().ok()
                        });
                    }
                });
            }
        }),
    ))
}
