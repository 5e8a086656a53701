use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::tls::{Credentials, CredentialsError};
use homing_transport::{BoxFuture, Deferred, Handed, Handler, Limits, Listener};
use thiserror::Error;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::accepted::{self, Places};
use crate::transport::ALPN;

/// Connections that wait in the kernel to be accepted.
const BACKLOG: u32 = 1_024;

/// How long to leave the system alone when it can't accept, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The listening side: accepts connections and lets a handler answer their requests.
pub struct GrpcListener {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
}

/// How far a listener's life has come. A listener that was dropped counts as cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    Draining,
    Cut,
}

/// What all tasks of a listener share. They have all ended when it is gone.
pub(crate) struct Shared {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tls: TlsAcceptor,
    pub(crate) limits: Limits,
    pub(crate) handler: Arc<dyn Handler>,
    phase: watch::Receiver<Phase>,
}

impl GrpcListener {
    /// Listens on an address; with port 0 the system chooses one. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`ListenError`] if the address can't be had, or TLS can't be set up.
    pub fn bind(
        address: SocketAddr,
        credentials: Arc<Credentials>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, ListenError> {
        let listener = listen(address).map_err(|source| ListenError::address(address, source))?;
        let address = listener.local_addr().map_err(|source| ListenError::address(address, source))?;
        let tls = TlsAcceptor::from(Arc::new(credentials.server_config(ALPN)?));
        let (phase, receiver) = watch::channel(Phase::Running);
        let shared = Shared { credentials, tls, limits, handler, phase: receiver };
        tokio::spawn(accept_all(listener, Arc::new(shared)));
        Ok(Self { address, phase })
    }
}

impl Listener for GrpcListener {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn shutdown(&self, drain: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.advance(Phase::Draining);
            if tokio::time::timeout(drain, self.phase.closed()).await.is_err() {
                self.advance(Phase::Cut);
                self.phase.closed().await;
            }
        })
    }
}

impl GrpcListener {
    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let later = *phase < to;
            *phase = to.max(*phase);
            later
        });
    }
}

impl Shared {
    /// Ends when the listener takes no new requests.
    pub(crate) async fn draining(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Ends when everything is to end.
    pub(crate) async fn cut(&self) {
        self.reached(Phase::Cut).await;
    }

    async fn reached(&self, wanted: Phase) {
        // An error means that the listener was dropped.
        let _ = self.phase.clone().wait_for(|phase| *phase >= wanted).await;
    }
}

fn semaphore(places: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)))
}

async fn accept_all(listener: TcpListener, shared: Arc<Shared>) {
    let places = Places {
        connections: semaphore(shared.limits.max_connections),
        handshakes: semaphore(shared.limits.max_handshakes),
    };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.draining() => break,
            accepted = listener.accept() => match accepted {
                Ok((tcp, from)) => admit(tcp, from, &places, &shared, &mut connections),
                Err(error) => {
                    tracing::warn!(%error, "can't accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Closes the connection at once if there is no place for it.
fn admit(
    tcp: TcpStream,
    from: SocketAddr,
    places: &Places,
    shared: &Arc<Shared>,
    connections: &mut JoinSet<()>,
) {
    match places.take() {
        Some(place) => {
            let handed = Handed::default();
            let run = accepted::run(tcp, from, place, Arc::clone(shared), handed.clone());
            connections.spawn(Deferred::new(Box::pin(run), handed));
        }
        None => tracing::debug!(%from, "closed a connection over max_connections"),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted node must not wait for the old one's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Why nothing listens.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address can't be had.
    #[error("can't listen on {address}: {source}; {remedy}")]
    Address {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
        /// What would help.
        remedy: &'static str,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl ListenError {
    fn address(address: SocketAddr, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => "stop what listens there or choose another port",
            io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all",
            io::ErrorKind::PermissionDenied => "choose a port from 1024 on",
            _ => "choose another address",
        };
        Self::Address { address, source, remedy }
    }
}
