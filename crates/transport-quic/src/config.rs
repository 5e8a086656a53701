//! What quinn is told: its defaults are for the open internet, without keepalive and mostly without bounds.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use homing_transport::Limits;
use homing_transport::tls::{Credentials, CredentialsError};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, ClientConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig,
    TransportConfig,
};
use quinn_proto::HashedConnectionIdGenerator;
use thiserror::Error;

use crate::socket::MAX_UDP_PAYLOAD;

/// The protocol's name in TLS (ALPN, RFC 7301).
const ALPN: &[u8] = b"homing/1";

/// Connections whose handshake hasn't begun. Over it, new ones are refused.
const MAX_INCOMING: usize = 1 << 10;

/// What comes of a connection before its handshake has begun, in bytes.
const INCOMING_BUFFER: u64 = 16 << 10;

/// What a block may have beside what the limit of the header block counts: fields of a fixed length, the
/// method, a reason.
const BESIDE_HEADERS: usize = 1 << 10;

/// Nodes of one cluster are nearer than quinn's 333 ms, so a lost first packet is sent again sooner.
const INITIAL_RTT: Duration = Duration::from_millis(25);

/// How long a peer may put off an acknowledgement (draft-ietf-quic-ack-frequency). Until that has passed too, a lone packet does not count as lost (RFC 9002, section
/// 6.2.1): with the usual 25 ms that is most of the time that a lost request or reply costs on a connection with little on it. That it is shorter than a kernel's tick (4 ms, at
/// 250 Hz) has its price: before each sleep of a thread its processor is to be woken earlier than it would be anyhow, which a virtual machine has to ask its host for.
const MAX_ACK_DELAY: Duration = Duration::from_millis(1);

/// How many packets may come before one must be acknowledged at once. Most acknowledgements then travel with what is sent anyhow, and none is
/// later than [`MAX_ACK_DELAY`], nor when a packet is missing. It is well below what [`INITIAL_WINDOW`] lets go, or a sender would wait for the delay.
const ACK_AFTER: u8 = 4;

/// How much may be on its way before anything is acknowledged, in bytes: ten datagrams, as RFC 9002 has it (section 7.2), of the longest kind. Its bound for
/// the open internet, 14,720 bytes, is less than many a message, whose end would wait for a round trip.
const INITIAL_WINDOW: u64 = 10 * MAX_UDP_PAYLOAD as u64;

/// Why there is no QUIC endpoint.
#[derive(Debug, Error)]
pub enum QuicError {
    /// The address can't be bound.
    #[error("can't bind UDP {address}: {source}; free the port or give another address")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The socket can't be used.
    #[error("can't use the UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The credentials can't be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The TLS provider lacks the cipher that every QUIC connection begins with.
    #[error("the TLS provider has no TLS13_AES_128_GCM_SHA256, with which QUIC begins: use one that has it")]
    Cipher,
    /// The limit can't be used.
    #[error("keepalive_timeout is {0:?}: QUIC allows at most 2^62 - 1 milliseconds")]
    KeepaliveTimeout(Duration),
}

pub(crate) fn client(credentials: &Credentials, limits: &Limits) -> Result<ClientConfig, QuicError> {
    let tls = QuicClientConfig::try_from(credentials.client_config(ALPN)?).map_err(|_| QuicError::Cipher)?;
    let mut transport = transport(limits)?;
    // The listener opens one stream, to speak of the connection itself.
    transport.max_concurrent_bidi_streams(0_u8.into()).max_concurrent_uni_streams(1_u8.into());
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

pub(crate) fn server(credentials: &Credentials, limits: &Limits) -> Result<ServerConfig, QuicError> {
    let tls = QuicServerConfig::try_from(credentials.server_config(ALPN)?).map_err(|_| QuicError::Cipher)?;
    let mut transport = transport(limits)?;
    transport.max_concurrent_bidi_streams(streams(limits).into()).max_concurrent_uni_streams(0_u8.into());
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport))
        .migration(false)
        .max_incoming(MAX_INCOMING)
        .incoming_buffer_size(INCOMING_BUFFER)
        .incoming_buffer_size_total(INCOMING_BUFFER * MAX_INCOMING as u64);
    Ok(config)
}

/// What an endpoint bears that listens: ids of connections, and the proof that they are gone. Both are the same after a restart, so that a node which has forgotten its
/// connections tells their peers so at once (a stateless reset, RFC 9000, section 10.3), and nobody has to wait until they fall silent.
pub(crate) fn server_endpoint(credentials: &Credentials) -> EndpointConfig {
    let reset_key = hmac::Key::new(hmac::HMAC_SHA256, &credentials.secret("QUIC stateless reset"));
    let ids = credentials.secret("QUIC connection ids").first_chunk().copied().map(u64::from_le_bytes);
    let mut config = EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids.unwrap_or_default())));
    with_max_udp_payload(config)
}

/// What an endpoint bears that only dials.
pub(crate) fn client_endpoint() -> EndpointConfig {
    with_max_udp_payload(EndpointConfig::default())
}

fn with_max_udp_payload(mut config: EndpointConfig) -> EndpointConfig {
    // QUIC allows what is longer than 1,200 bytes.
    let _ = config.max_udp_payload_size(MAX_UDP_PAYLOAD);
    config
}

/// The most bytes of a HEAD or of TRAILERS.
pub(crate) const fn max_block(limits: &Limits) -> u64 {
    (limits.max_header_block + BESIDE_HEADERS) as u64
}

/// quinn tells a peer of places that were freed only once they are more than an eighth of all: enough are
/// granted that `max_streams` of them are always known.
const fn streams(limits: &Limits) -> u32 {
    limits.max_streams.saturating_add(limits.max_streams.saturating_sub(1) / 7)
}

fn transport(limits: &Limits) -> Result<TransportConfig, QuicError> {
    let idle = IdleTimeout::try_from(limits.keepalive_timeout)
        .map_err(|_| QuicError::KeepaliveTimeout(limits.keepalive_timeout))?;
    let mut ack_frequency = AckFrequencyConfig::default();
    ack_frequency.max_ack_delay(Some(MAX_ACK_DELAY)).ack_eliciting_threshold(ACK_AFTER.into());
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MAX_UDP_PAYLOAD);
    let mut cubic = CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW);
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(limits.keepalive_interval))
        .stream_receive_window(limits.stream_window.into())
        .receive_window(limits.connection_window.into())
        .send_window(limits.connection_window.into())
        .initial_rtt(INITIAL_RTT)
        .ack_frequency_config(Some(ack_frequency))
        .mtu_discovery_config(Some(discovery))
        .congestion_controller_factory(Arc::new(cubic))
        .datagram_receive_buffer_size(None);
    Ok(transport)
}
