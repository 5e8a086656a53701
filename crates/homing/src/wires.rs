//! The wires that this build has. Everything above speaks of `Transport` and `Listener` alone.

use std::net::SocketAddr;
#[cfg(feature = "quic")]
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use homing_transport::tls::Credentials;
use homing_transport::{Handler, Limits, Listener, Transport};
use thiserror::Error;

#[cfg(not(any(feature = "grpc", feature = "quic")))]
compile_error!("a node needs a wire: build with the feature `grpc`, `quic`, or both");

/// A wire between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// HTTP/2 over TCP.
    Grpc,
    /// QUIC over UDP.
    Quic,
}

/// The wires of this build, the preferred one first.
pub const WIRES: &[Wire] = &[
    #[cfg(feature = "quic")]
    Wire::Quic,
    #[cfg(feature = "grpc")]
    Wire::Grpc,
];

impl Wire {
    /// The word in configuration and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Quic => "quic",
        }
    }
}

impl FromStr for Wire {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let wire = [Self::Grpc, Self::Quic].into_iter().find(|wire| wire.as_str() == text);
        match wire {
            Some(wire) if WIRES.contains(&wire) => Ok(wire),
            Some(wire) => Err(WireError::NotBuilt { wire: wire.as_str() }),
            None => Err(WireError::Unknown { text: text.chars().take(40).collect() }),
        }
    }
}

/// A text that is no wire of this build.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// There is no such wire.
    #[error("{text:?} is no transport: use \"quic\" or \"grpc\"")]
    Unknown {
        /// The text.
        text: String,
    },
    /// This build lacks it.
    #[error("this build lacks the transport \"{wire}\": build it with the feature `{wire}`")]
    NotBuilt {
        /// The wire.
        wire: &'static str,
    },
}

/// One transport a wire, to dial with.
pub(crate) fn transports(
    listen: SocketAddr,
    credentials: &Arc<Credentials>,
    limits: &Limits,
) -> Result<Vec<Arc<dyn Transport>>, String> {
    WIRES.iter().map(|wire| transport(*wire, listen, credentials, limits)).collect()
}

fn transport(
    wire: Wire,
    #[cfg_attr(not(feature = "quic"), expect(unused, reason = "TCP needs no address of its own to dial"))]
    listen: SocketAddr,
    credentials: &Arc<Credentials>,
    limits: &Limits,
) -> Result<Arc<dyn Transport>, String> {
    let (credentials, limits) = (Arc::clone(credentials), limits.clone());
    match wire {
        #[cfg(feature = "grpc")]
        Wire::Grpc => match homing_transport_grpc::GrpcTransport::new(credentials, limits) {
            Ok(transport) => Ok(Arc::new(transport)),
            Err(error) => Err(error.to_string()),
        },
        #[cfg(feature = "quic")]
        Wire::Quic => {
            match homing_transport_quic::QuicTransport::new(any_port(listen), credentials, limits) {
                Ok(transport) => Ok(Arc::new(transport)),
                Err(error) => Err(error.to_string()),
            }
        }
        #[cfg(not(all(feature = "grpc", feature = "quic")))]
        _ => Err(WireError::NotBuilt { wire: wire.as_str() }.to_string()),
    }
}

/// Where to dial from: any address of the kind that the node listens on.
#[cfg(feature = "quic")]
fn any_port(listen: SocketAddr) -> SocketAddr {
    match listen {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Listens on one wire.
pub(crate) fn listen(
    wire: Wire,
    address: SocketAddr,
    credentials: &Arc<Credentials>,
    limits: &Limits,
    handler: Arc<dyn Handler>,
) -> Result<Box<dyn Listener>, String> {
    match wire {
        #[cfg(feature = "grpc")]
        Wire::Grpc => {
            let credentials = Arc::clone(credentials);
            homing_transport_grpc::GrpcListener::bind(address, credentials, limits.clone(), handler)
                .map(|listener| Box::new(listener) as Box<dyn Listener>)
                .map_err(|error| error.to_string())
        }
        #[cfg(feature = "quic")]
        Wire::Quic => {
            let credentials = Arc::clone(credentials);
            homing_transport_quic::QuicListener::bind(address, credentials, limits.clone(), handler)
                .map(|listener| Box::new(listener) as Box<dyn Listener>)
                .map_err(|error| error.to_string())
        }
        #[cfg(not(all(feature = "grpc", feature = "quic")))]
        _ => Err(WireError::NotBuilt { wire: wire.as_str() }.to_string()),
    }
}
