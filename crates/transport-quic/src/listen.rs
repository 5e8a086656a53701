//! The listening side: accepts connections, and ends them all when it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use homing_transport::tls::Credentials;
use homing_transport::{BoxFuture, Handler, Limits, Listener};
use quinn::Endpoint;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{self, QuicError};
use crate::runtime::Deferring;
use crate::stream::Code;
use crate::{session, socket};

/// How long a shutdown waits for its closes to be sent. quinn would wait for seconds, and may never send one.
const CLOSING: Duration = Duration::from_millis(100);

/// Takes connections over QUIC and shows their requests to a handler.
pub struct QuicListener {
    endpoint: Endpoint,
    address: SocketAddr,
    /// Without it, the accepting task and its sessions end at once.
    phase: watch::Sender<Phase>,
    /// Closed when the accepting task and all its sessions have ended.
    ended: watch::Receiver<()>,
}

/// What a session needs of its listener.
pub(crate) struct Host {
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) limits: Limits,
    pub(crate) handler: Arc<dyn Handler>,
}

/// What becomes of a listener, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// It takes requests.
    Open,
    /// It takes no new ones.
    Draining,
    /// It cuts those that still run.
    Cut,
}

impl QuicListener {
    /// Listens on `address`; port 0 is any free one. It must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`QuicError`] if the address can't be bound, or credentials or limits can't be used.
    pub fn bind(
        address: SocketAddr,
        credentials: Arc<Credentials>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> Result<Self, QuicError> {
        let socket = socket::bind(address).map_err(|source| QuicError::Bind { address, source })?;
        let server = config::server(&credentials, &limits)?;
        let address = socket.local_addr().map_err(QuicError::Socket)?;
        let runtime = Arc::new(Deferring);
        let endpoint = Endpoint::new(config::server_endpoint(&credentials), Some(server), socket, runtime)
            .map_err(QuicError::Socket)?;

        let host = Arc::new(Host { credentials, limits, handler });
        let (phase, phases) = watch::channel(Phase::Open);
        let (ending, ended) = watch::channel(());
        tokio::spawn({
            let endpoint = endpoint.clone();
            async move {
                accept(endpoint, host, phases).await;
                drop(ending);
            }
        });
        Ok(Self { endpoint, address, phase, ended })
    }

    /// Ends when all sessions have ended.
    async fn ended(&self) {
        let mut ended = self.ended.clone();
        while ended.changed().await.is_ok() {}
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let before = *phase;
            *phase = before.max(to);
            *phase != before
        });
    }
}

impl Listener for QuicListener {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn shutdown(&self, drain: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.advance(Phase::Draining);
            if timeout(drain, self.ended()).await.is_err() {
                self.advance(Phase::Cut);
                self.endpoint.close(Code::Shutdown.into(), b"");
                self.ended().await;
            }
            self.endpoint.close(Code::Shutdown.into(), b"");
            // What isn't sent by then, the peers' keepalive finds out.
            let _ = timeout(CLOSING, self.endpoint.wait_idle()).await;
        })
    }
}

impl Drop for QuicListener {
    fn drop(&mut self) {
        // Before the tasks end, so that peers see a lost connection and not requests that were given up.
        self.endpoint.close(Code::Shutdown.into(), b"");
    }
}

/// Accepts connections until the listener drains, and refuses them then until the last session has ended.
async fn accept(endpoint: Endpoint, host: Arc<Host>, mut phases: watch::Receiver<Phase>) {
    let places = host.limits.max_handshakes.min(Semaphore::MAX_PERMITS);
    let handshakes = Arc::new(Semaphore::new(places));
    let mut sessions = JoinSet::new();
    loop {
        let phase = *phases.borrow_and_update();
        if phase != Phase::Open && sessions.is_empty() {
            return;
        }
        tokio::select! {
            // A session that has ended gives its place to the next one.
            biased;
            changed = phases.changed() => if changed.is_err() { return },
            Some(_) = sessions.join_next() => (),
            next = next(&endpoint, &handshakes, places) => {
                let Some((incoming, handshake)) = next else { return };
                if phase == Phase::Open && sessions.len() < host.limits.max_connections {
                    sessions.spawn(session::run(Arc::clone(&host), incoming, handshake, phases.clone()));
                } else {
                    incoming.refuse();
                }
            }
        }
    }
}

/// The next connection, once there is a place for its handshake.
///
/// When many handshakes are under way, those begin again whose address isn't known to be theirs: so a stranger who makes
/// addresses up takes no places (RFC 9000, section 8.1.2).
async fn next(
    endpoint: &Endpoint,
    handshakes: &Arc<Semaphore>,
    places: usize,
) -> Option<(quinn::Incoming, OwnedSemaphorePermit)> {
    loop {
        let handshake = Arc::clone(handshakes).acquire_owned().await.ok()?;
        let incoming = endpoint.accept().await?;
        if handshakes.available_permits() >= places / 2 || incoming.remote_address_validated() {
            return Some((incoming, handshake));
        }
        // It can only fail for a connection that has retried, whose address is known.
        let _ = incoming.retry();
    }
}
