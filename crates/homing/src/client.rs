use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use homing_transport::tls::{CredentialsError, Roots, explain};
use homing_transport::{Body, BoxFuture, Deferred, Handed};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::Body as HttpBody;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tower_service::Service;

/// How long a connection may take, TLS and all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a connection is probed, in use or not, and how long the node may take to answer a probe. A node that hangs
/// keeps its connections open, and answers nothing.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Calls a cluster over the network, by the client listener of any node: a tower service, so any tonic client works on
/// it. It connects when it is first used, and again when its connection was lost.
///
/// A request names its space with the header `homing-space`, and what it wants with `homing-access`.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// As people know it, with `https://` if that is spoken.
    address: String,
    authority: Authority,
    keepalive: Option<Duration>,
    tls: Option<Tls>,
    /// Held across the one connect under way, so that others wait for it and don't connect too.
    connection: Mutex<Option<Connected>>,
}

/// A connection, and what is handed to it.
#[derive(Clone)]
struct Connected {
    requests: SendRequest<Body>,
    handed: Handed,
}

/// Spawns what hyper has to run for one connection: first that which moves its bytes, then what it needs for single requests.
#[derive(Clone)]
struct Spawner {
    handed: Handed,
    has_spawned: Arc<AtomicBool>,
}

impl<F> Executor<F> for Spawner
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        if self.has_spawned.swap(true, Ordering::Relaxed) {
            tokio::spawn(task);
        } else {
            tokio::spawn(Deferred::new(Box::pin(task), self.handed.clone()));
        }
    }
}

/// How a node's TLS is spoken to, and by which name it must show itself.
struct Tls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Client {
    /// A client of the node whose client listener is at `address`, `host:port`, and has no TLS.
    ///
    /// # Errors
    /// [`ClientError::Address`] if that is no address.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        Ok(Self::of(address.to_owned(), authority(address)?, None, Some(KEEPALIVE)))
    }

    /// A client of somebody's service, which is not probed: gRPC servers hang up on who probes more often than they like,
    /// and each call there has a deadline anyway.
    pub(crate) fn of_service(address: &str) -> Result<Self, ClientError> {
        Ok(Self::of(address.to_owned(), authority(address)?, None, None))
    }

    /// A client of the node whose client listener is at `address`, `https://host:port`, and has TLS: its certificate must
    /// come from one of the `roots` and bear the host's name, or its IP address if that is given.
    ///
    /// # Errors
    /// [`ClientError::Address`] if that is no address, [`ClientError::Untrusted`] if TLS can't be set up.
    pub fn with_tls(address: &str, roots: &Roots) -> Result<Self, ClientError> {
        let plain = address.strip_prefix("https://").unwrap_or(address);
        let authority = authority(plain.strip_suffix('/').unwrap_or(plain))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).map_err(|_| wrong(address))?;
        let address = format!("https://{authority}");
        let config = roots.client_config(H2).map_err(|error: CredentialsError| ClientError::Untrusted {
            address: address.clone(),
            why: error.to_string(),
        })?;
        let tls = Tls { connector: TlsConnector::from(Arc::new(config)), name };
        Ok(Self::of(address, authority, Some(tls), Some(KEEPALIVE)))
    }

    fn of(address: String, authority: Authority, tls: Option<Tls>, keepalive: Option<Duration>) -> Self {
        let shared = Shared { address, authority, tls, keepalive, connection: Mutex::new(None) };
        Self { shared: Arc::new(shared) }
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`ClientError`] if the node can't be reached. What the cluster can't answer is a response.
    pub async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, ClientError> {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::builder()
            .scheme(if self.shared.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(self.shared.authority.clone())
            .path_and_query(path.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")))
            .build()
            .map_err(|error| self.lost(error))?;
        let mut connection = self.connection().await?;
        connection.handed.add();
        match connection.requests.send_request(request).await {
            Ok(response) => Ok(response.map(Body::new)),
            Err(error) => Err(self.lost(error)),
        }
    }

    async fn connection(&self) -> Result<Connected, ClientError> {
        let mut open = self.shared.connection.lock().await;
        if let Some(connection) = &*open
            && !connection.requests.is_closed()
        {
            return Ok(connection.clone());
        }
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await;
        let connection = connected
            .unwrap_or_else(|_| Err(self.unreachable(format!("no connection within {CONNECT_TIMEOUT:?}"))))?;
        *open = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<Connected, ClientError> {
        let connecting = TcpStream::connect(self.shared.authority.as_str());
        let stream = connecting.await.map_err(|error| self.unreachable(error))?;
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.shared.tls else { return self.greet(stream).await };
        let stream = tls.connector.connect(tls.name.clone(), stream).await;
        let stream = stream.map_err(|error| self.tls_failed(&error))?;
        if stream.get_ref().1.alpn_protocol() != Some(H2) {
            return Err(self.unreachable(NO_HTTP_2));
        }
        self.greet(stream).await
    }

    async fn greet<S>(&self, stream: S) -> Result<Connected, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handed = Handed::default();
        let (requests, driver) =
            http2::Builder::new(Spawner { handed: handed.clone(), has_spawned: Arc::default() })
                .timer(TokioTimer::new())
                .keep_alive_interval(self.shared.keepalive)
                .keep_alive_timeout(KEEPALIVE)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(8 << 20)
                .handshake(TokioIo::new(stream))
                .await
                .map_err(|error| self.unreachable(error))?;
        tokio::spawn(driver);
        Ok(Connected { requests, handed })
    }

    fn tls_failed(&self, error: &io::Error) -> ClientError {
        use rustls::{AlertDescription, Error as TlsError};
        match error.get_ref().and_then(|error| error.downcast_ref::<TlsError>()) {
            Some(tls @ TlsError::InvalidCertificate(_)) => {
                let why = format!("its certificate is refused: {}", explain(tls));
                ClientError::Untrusted { address: self.shared.address.clone(), why }
            }
            Some(TlsError::InvalidMessage(_)) => self.unreachable("what is there speaks no TLS"),
            Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
                self.unreachable(NO_HTTP_2)
            }
            _ => self.unreachable(format!("TLS failed: {error}")),
        }
    }

    fn unreachable(&self, why: impl ToString) -> ClientError {
        ClientError::Unreachable { address: self.shared.address.clone(), why: why.to_string() }
    }

    fn lost(&self, error: impl StdError) -> ClientError {
        let why = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        ClientError::Lost { address: self.shared.address.clone(), why }
    }
}

/// The name by which TLS agrees on HTTP/2 (RFC 9113, section 3.1).
const H2: &[u8] = b"h2";

const NO_HTTP_2: &str = "what is there speaks TLS, but no HTTP/2 (by ALPN)";

fn authority(address: &str) -> Result<Authority, ClientError> {
    let authority: Authority = address.parse().map_err(|_| wrong(address))?;
    if authority.port_u16().is_some() { Ok(authority) } else { Err(wrong(address)) }
}

fn wrong(address: &str) -> ClientError {
    ClientError::Address { address: address.chars().take(80).collect() }
}

impl<B> Service<Request<B>> for Client
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Response<Body>, ClientError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request.map(Body::new)).await })
    }
}

/// Why a node can't be called.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ClientError {
    /// The address is none.
    #[error("{address:?} is no address: use host:port, like 127.0.0.1:7401")]
    Address {
        /// What was given.
        address: String,
    },
    /// The node can't be reached; nothing was sent.
    #[error("no node answers at {address}: {why}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The node does not prove to be who was asked for; nothing was sent.
    #[error("{address} can't be trusted: {why}")]
    Untrusted {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
    /// The request was sent, and its answer won't come: it may have been executed.
    #[error("{address} broke off: {why}")]
    Lost {
        /// Where.
        address: String,
        /// Why.
        why: String,
    },
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// An address where the system accepts, and nobody ever reads.
    async fn hanging() -> (TcpListener, String) {
        let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = hangs.local_addr().unwrap().to_string();
        (hangs, address)
    }

    /// What becomes of a request within three probes, where nothing comes from outside: what passes is time alone.
    async fn sent(client: Client) -> Option<Result<Response<Body>, ClientError>> {
        client.connection().await.unwrap();
        tokio::time::pause();
        let sending = client.send(Request::get("/").body(Body::empty()).unwrap());
        tokio::time::timeout(3 * KEEPALIVE, sending).await.ok()
    }

    #[tokio::test]
    async fn a_node_that_hangs_is_given_up() {
        let (_hangs, address) = hanging().await;
        let error = sent(Client::new(&address).unwrap()).await.unwrap().unwrap_err();
        assert!(matches!(&error, ClientError::Lost { address: lost, .. } if *lost == address), "{error}");
    }

    #[tokio::test]
    async fn a_service_is_not_probed() {
        let (_hangs, address) = hanging().await;
        assert!(sent(Client::of_service(&address).unwrap()).await.is_none());
    }
}
