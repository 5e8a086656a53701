//! The dialling side.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::tls::{self, Credentials};
use homing_transport::{BoxFuture, Connection, Lane, Limits, Peer, SendError, SendErrorKind, Transport};
use homing_types::NodeId;
use quinn::rustls::pki_types::CertificateDer;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportErrorCode};
use tokio::time::timeout;

use crate::config::{self, QuicError};
use crate::connection::QuicConnection;
use crate::frame::Frame;
use crate::runtime::{Deferring, counted};
use crate::stream::{Code, ReceiveError, Receiver, explain};
use crate::{probe, socket};

/// Dials peers over QUIC, all from one UDP socket. Its connections outlive it.
pub struct QuicTransport {
    endpoint: Endpoint,
    config: ClientConfig,
    credentials: Arc<Credentials>,
    limits: Limits,
}

impl QuicTransport {
    /// Binds the socket to dial from: `[::]:0` for any peer, `0.0.0.0:0` where there is no IPv6. It must be
    /// called within a tokio runtime.
    ///
    /// # Errors
    /// [`QuicError`] if the address can't be bound, or credentials or limits can't be used.
    pub fn new(bind: SocketAddr, credentials: Arc<Credentials>, limits: Limits) -> Result<Self, QuicError> {
        let config = config::client(&credentials, &limits)?;
        let socket = socket::bind(bind).map_err(|source| QuicError::Bind { address: bind, source })?;
        let runtime = Arc::new(Deferring);
        let endpoint =
            Endpoint::new(config::client_endpoint(), None, socket, runtime).map_err(QuicError::Socket)?;
        Ok(Self { endpoint, config, credentials, limits })
    }

    /// Tries each of the peer's addresses until one answers.
    async fn reach(&self, peer: &Peer) -> Result<QuicConnection, SendError> {
        let addresses = tokio::net::lookup_host(&peer.address)
            .await
            .map_err(|error| unreachable(peer, &format!("the address can't be resolved: {error}")))?;
        let mut failure = unreachable(peer, "the name has no address");
        for address in addresses {
            match self.connect(peer, address).await {
                Err(error) if error.kind == SendErrorKind::Unreachable => failure = error,
                ended => return ended,
            }
        }
        Err(failure)
    }

    async fn connect(&self, peer: &Peer, address: SocketAddr) -> Result<QuicConnection, SendError> {
        let name = self.credentials.server_name(&peer.node).map_err(|error| stranger(peer, error))?;
        let make = || self.endpoint.connect_with(self.config.clone(), address, &name.to_str());
        let (connecting, handed) = counted(make);
        let connecting = connecting.map_err(|error| unreachable(peer, &error.to_string()))?;
        let connection = tokio::select! {
            connected = connecting => connected.map_err(|error| refusal(peer, &error))?,
            () = probe::refused(address) => return Err(unreachable(peer, "connection refused")),
        };
        self.identify(peer, &connection)?;
        let control = hello(peer, &connection, &self.limits).await?;
        Ok(QuicConnection::new(peer.clone(), connection, control, self.limits.clone(), handed))
    }

    fn identify(&self, peer: &Peer, connection: &quinn::Connection) -> Result<(), SendError> {
        let found = node_of(&self.credentials, connection).map_err(|error| stranger(peer, error))?;
        if found == peer.node {
            Ok(())
        } else {
            Err(stranger(peer, format_args!("its certificate is {found}'s")))
        }
    }
}

impl Transport for QuicTransport {
    fn name(&self) -> &'static str {
        "quic"
    }

    fn dial<'a>(
        &'a self,
        peer: &'a Peer,
        _lane: Lane,
    ) -> BoxFuture<'a, Result<Arc<dyn Connection>, SendError>> {
        Box::pin(async move {
            let limit = self.limits.handshake_timeout;
            let connection =
                timeout(limit, self.reach(peer)).await.unwrap_or_else(|_| Err(silent(peer, limit)))?;
            Ok(Arc::new(connection) as Arc<dyn Connection>)
        })
    }
}

/// Whom the certificate names that the other side of a connection has proved to have.
pub(crate) fn node_of(
    credentials: &Credentials,
    connection: &quinn::Connection,
) -> Result<NodeId, tls::CredentialsError> {
    let identity = connection.peer_identity();
    let chain =
        identity.as_ref().and_then(|identity| identity.downcast_ref::<Vec<CertificateDer<'static>>>());
    credentials.peer(chain.map(Vec::as_slice))
}

/// Waits for the listener's word that it has accepted us: in TLS 1.3 the handshake ends before it has seen our
/// certificate.
async fn hello(peer: &Peer, connection: &quinn::Connection, limits: &Limits) -> Result<Receiver, SendError> {
    let control = connection.accept_uni().await.map_err(|error| refusal(peer, &error))?;
    let mut control = Receiver::new(control, config::max_block(limits));
    match control.frame().await {
        Ok(Frame::Hello) => Ok(control),
        Err(ReceiveError::Lost(error)) => Err(refusal(peer, &error)),
        _ => Err(SendError::not_sent(SendErrorKind::Protocol, format!("{peer}: its first word is no HELLO"))),
    }
}

/// What it means that a connection ended before HELLO.
fn refusal(peer: &Peer, error: &ConnectionError) -> SendError {
    match error {
        ConnectionError::ApplicationClosed(close) if Code::Stranger.is(close.error_code) => {
            let reason = String::from_utf8_lossy(&close.reason);
            stranger(peer, format_args!("it refuses us: {reason}"))
        }
        ConnectionError::ConnectionClosed(close) if is_about_certificates(close.error_code) => {
            stranger(peer, format_args!("it refuses our certificate: {}", close.error_code))
        }
        ConnectionError::TransportError(error) if is_about_certificates(error.code) => {
            stranger(peer, &error.reason)
        }
        ConnectionError::ConnectionClosed(close)
            if close.error_code == TransportErrorCode::CONNECTION_REFUSED =>
        {
            unreachable(peer, "it takes no more connections (max_connections), or shuts down")
        }
        error => unreachable(peer, &explain(error)),
    }
}

fn is_about_certificates(code: TransportErrorCode) -> bool {
    // The errors that stand for alerts (RFC 9001, section 4.8).
    (0..=u8::MAX).any(|alert| code == TransportErrorCode::crypto(alert) && tls::is_about_certificates(alert))
}

fn stranger(peer: &Peer, why: impl std::fmt::Display) -> SendError {
    SendError::not_sent(SendErrorKind::Identity, format!("{peer}: {why}"))
}

fn unreachable(peer: &Peer, why: &str) -> SendError {
    SendError::not_sent(SendErrorKind::Unreachable, format!("{peer}: {why}"))
}

fn silent(peer: &Peer, limit: Duration) -> SendError {
    unreachable(peer, &format!("no answer within {limit:?} (handshake_timeout)"))
}
