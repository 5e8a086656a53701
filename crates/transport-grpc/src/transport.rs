use std::io;
use std::sync::Arc;

use homing_transport::tls::{self, Credentials, CredentialsError, explain};
use homing_transport::{BoxFuture, Connection, Lane, Limits, Peer, SendError, SendErrorKind, Transport};
use http::uri::Authority;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connection::GrpcConnection;
use crate::keepalive::{Keepalive, Watched};
use crate::{fault, settings, tcp};

/// The name by which TLS agrees on HTTP/2 (RFC 9113, section 3.1).
pub(crate) const ALPN: &[u8] = b"h2";

const HUNG_UP: &str = "closed the connection during the handshake";

/// The dialling side: gRPC's wire, HTTP/2 over TLS over TCP.
pub struct GrpcTransport {
    credentials: Arc<Credentials>,
    tls: TlsConnector,
    limits: Limits,
}

impl GrpcTransport {
    /// A transport that proves itself with these credentials.
    ///
    /// # Errors
    /// [`CredentialsError`] if TLS can't be set up with them.
    pub fn new(credentials: Arc<Credentials>, limits: Limits) -> Result<Self, CredentialsError> {
        let tls = TlsConnector::from(Arc::new(credentials.client_config(ALPN)?));
        Ok(Self { credentials, tls, limits })
    }

    async fn open(&self, peer: &Peer) -> Result<GrpcConnection, SendError> {
        let opening = tokio::time::timeout(self.limits.handshake_timeout, async {
            let tcp = connect(peer).await?;
            let tls = self.secure(peer, tcp).await?;
            self.greet(peer, tls).await
        });
        opening.await.unwrap_or_else(|_| {
            let timeout = self.limits.handshake_timeout;
            Err(unreachable(peer, format!("no answer within {timeout:?} (handshake_timeout)")))
        })
    }

    /// TLS, and the proof that the peer is who was dialled.
    async fn secure(&self, peer: &Peer, tcp: TcpStream) -> Result<TlsStream<TcpStream>, SendError> {
        let name = self.credentials.server_name(&peer.node).map_err(|error| identity(peer, error))?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| tls_failed(peer, &error))?;
        let session = tls.get_ref().1;
        let node = self.credentials.peer(session.peer_certificates());
        let node = node.map_err(|error| identity(peer, error))?;
        if node != peer.node {
            return Err(identity(peer, format!("it is {node}'s")));
        }
        if session.alpn_protocol() != Some(ALPN) {
            return Err(SendError::not_sent(
                SendErrorKind::Protocol,
                format!("{peer}: does not speak HTTP/2"),
            ));
        }
        Ok(tls)
    }

    /// HTTP/2, up to the first answer of the peer. TLS 1.3 is complete on this side before the peer has seen
    /// our certificate, so only an answer shows that it accepts us.
    async fn greet(&self, peer: &Peer, tls: TlsStream<TcpStream>) -> Result<GrpcConnection, SendError> {
        let io = Watched::new(tls);
        let heard = io.heard();
        let handshake = settings::client(&self.limits).handshake(io).await;
        let (h2, mut wire) = handshake.map_err(|error| refused(peer, &error))?;
        let mut pings = wire
            .ping_pong()
            .ok_or_else(|| SendError::not_sent(SendErrorKind::Protocol, format!("{peer}: no pings")))?;
        tokio::select! {
            biased;
            end = &mut wire => {
                let error = end.err();
                let closed = || unreachable(peer, HUNG_UP);
                return Err(error.map_or_else(closed, |error| refused(peer, &error)));
            }
            pong = pings.ping(h2::Ping::opaque()) => pong.map_err(|error| refused(peer, &error))?,
        };
        let authority: Authority =
            self.credentials.cluster().dns_name(&peer.node).parse().map_err(|error| identity(peer, error))?;
        let keepalive = Keepalive::new(pings, heard, &self.limits);
        Ok(GrpcConnection::start(peer.clone(), authority, self.limits.clone(), h2, wire, keepalive))
    }
}

impl Transport for GrpcTransport {
    fn name(&self) -> &'static str {
        "grpc"
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        _lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move {
            let connection = self.open(peer).await?;
            Ok(Arc::new(connection) as Arc<dyn Connection>)
        })
    }
}

async fn connect(peer: &Peer) -> Result<TcpStream, SendError> {
    let tcp = TcpStream::connect(&peer.address).await;
    let tcp = tcp.map_err(|error| unreachable(peer, fault::io(&error)))?;
    tcp::tune(&tcp).map_err(|error| unreachable(peer, fault::io(&error)))?;
    Ok(tcp)
}

fn unreachable(peer: &Peer, why: impl std::fmt::Display) -> SendError {
    SendError::not_sent(SendErrorKind::Unreachable, format!("{peer}: {why}"))
}

fn identity(peer: &Peer, why: impl std::fmt::Display) -> SendError {
    SendError::not_sent(SendErrorKind::Identity, format!("{peer}: its certificate is refused: {why}"))
}

fn refuses_us(peer: &Peer, why: impl std::fmt::Display) -> SendError {
    SendError::not_sent(SendErrorKind::Identity, format!("{peer}: refuses our certificate: {why}"))
}

/// Why the TLS handshake failed.
fn tls_failed(peer: &Peer, error: &io::Error) -> SendError {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    match tls {
        Some(tls @ rustls::Error::InvalidCertificate(_)) => identity(peer, explain(tls)),
        Some(tls @ rustls::Error::AlertReceived(alert)) if tls::is_about_certificates(u8::from(*alert)) => {
            refuses_us(peer, explain(tls))
        }
        Some(_) => SendError::not_sent(SendErrorKind::Protocol, format!("{peer}: TLS failed: {error}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => unreachable(peer, HUNG_UP),
        None => unreachable(peer, fault::io(error)),
    }
}

/// Why the first answer over HTTP/2 did not come. A peer that refuses our certificate says so in TLS, which
/// h2 passes on as an I/O error of invalid data, or with the reason for which a listener says GOAWAY.
fn refused(peer: &Peer, error: &h2::Error) -> SendError {
    match error.get_io() {
        Some(io) if io.kind() == io::ErrorKind::InvalidData => refuses_us(peer, io),
        Some(io) => unreachable(peer, fault::io(io)),
        None if error.reason() == Some(h2::Reason::INADEQUATE_SECURITY) => {
            refuses_us(peer, "it must name one node of the cluster")
        }
        None => SendError::not_sent(SendErrorKind::Protocol, format!("{peer}: breaks HTTP/2: {error}")),
    }
}
