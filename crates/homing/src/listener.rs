use std::convert::Infallible;
use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_router::Router;
use homing_transport::tls::ServerTls;
use homing_transport::{Body, Deferred, Handed};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::Channel;
use crate::caller::NODE_INFO_PATH;

/// The bounds of a [`ClientListener`].
#[derive(Debug, Clone)]
pub struct ClientLimits {
    /// Connections at a time. Over it, new ones wait in the system's backlog.
    pub max_connections: usize,
    /// Requests in flight on one connection.
    pub max_streams: u32,
    /// The longest header block of a request, in bytes.
    pub max_header_block: u32,
    /// The time for a connection's first bytes (after the TLS handshake, if there is one, and with it), for a request's
    /// headers over HTTP/1.1, and for a reply to a keepalive over HTTP/2.
    pub header_timeout: Duration,
    /// How often a silent HTTP/2 connection is probed.
    pub keepalive_interval: Duration,
    /// Unread bytes of one stream.
    pub stream_window: u32,
    /// Unread bytes of one connection.
    pub connection_window: u32,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_streams: 1_024,
            max_header_block: 16 << 10,
            header_timeout: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(20),
            stream_window: 1 << 20,
            connection_window: 8 << 20,
        }
    }
}

/// Where anyone brings requests: HTTP/2 and HTTP/1.1. Without TLS a client speaks HTTP/2 by prior knowledge; with it the
/// two sides agree by ALPN (RFC 7301), and the client shows no certificate.
pub struct ClientListener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl ClientListener {
    /// Serves clients on a socket that is bound already; `tls` is what they are shown, `None` for no TLS. `info` is what
    /// [`NODE_INFO_PATH`] answers, as JSON.
    ///
    /// # Errors
    /// If the system can't say which address the socket has, or TLS can't be set up.
    pub fn serve(
        listener: TcpListener,
        router: Arc<Router>,
        tls: Option<&ServerTls>,
        limits: ClientLimits,
        info: Bytes,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let tls = tls.map(|tls| tls.server_config(PROTOCOLS)).transpose().map_err(io::Error::other)?;
        let tls = tls.map(|config| TlsAcceptor::from(Arc::new(config)));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared { router, tls, limits, info });
        let serving = tokio::spawn(accept(listener, shared, stopped));
        Ok(Self { address, stop, serving: parking_lot::Mutex::new(Some(serving)) })
    }

    /// The address that was really bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new requests, lets the running ones finish for at most `drain`, then closes.
    pub async fn shutdown(&self, drain: Duration) {
        self.stop.send_replace(true);
        let serving = self.serving.lock().take();
        if let Some(mut serving) = serving
            && tokio::time::timeout(drain, &mut serving).await.is_err()
        {
            serving.abort();
        }
    }
}

impl Drop for ClientListener {
    fn drop(&mut self) {
        if let Some(serving) = self.serving.lock().take() {
            serving.abort();
        }
    }
}

struct Shared {
    router: Arc<Router>,
    tls: Option<TlsAcceptor>,
    limits: ClientLimits,
    info: Bytes,
}

/// The names of what is spoken here (RFC 7301), the better first.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Accepts until told to stop, then waits for the connections. They end with this task.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(shared.limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        tokio::select! {
            (accepted, place) = accepted => match accepted {
                Ok((stream, _)) => {
                    let handed = Handed::default();
                    let serving = connection(stream, Arc::clone(&shared), handed.clone(), stopped.clone());
                    let serving = Box::pin(async move {
                        serving.await;
                        drop(place);
                    });
                    connections.spawn(Deferred::new(serving, handed));
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must end before the next can begin.
                    tracing::warn!(%error, "a client's connection can't be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = told_to_stop(&mut stopped) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Ends when the listener takes no new connections and requests any more.
async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn connection(stream: TcpStream, shared: Arc<Shared>, handed: Handed, stopped: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    match shared.tls.clone() {
        None => {
            let (reader, writer) = stream.into_split();
            serve(opening(reader, writer), shared, handed, stopped).await;
        }
        Some(tls) => {
            let opened = async move {
                let (reader, writer) = tokio::io::split(tls.accept(stream).await?);
                opening(reader, writer).await
            };
            serve(opened, shared, handed, stopped).await;
        }
    }
}

/// Serves what `opened` gives, if it gives it in time.
async fn serve<S>(
    opened: impl Future<Output = io::Result<S>>,
    shared: Arc<Shared>,
    handed: Handed,
    mut stopped: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let opened = tokio::select! {
        opened = tokio::time::timeout(limits.header_timeout, opened) => opened,
        () = told_to_stop(&mut stopped) => return,
    };
    let stream = match opened {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "a client's connection ended before it began"),
        Err(_) => return tracing::debug!("a client connected and did not say in time what it speaks"),
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size((limits.max_header_block as usize).max(8 << 10));
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(limits.max_header_block)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .keep_alive_interval(limits.keepalive_interval)
        .keep_alive_timeout(limits.header_timeout);
    let service = service_fn(|request| answer(Arc::clone(&shared), handed.clone(), request));
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        served = &mut serving => ended(served),
        () = told_to_stop(&mut stopped) => {
            serving.as_mut().graceful_shutdown();
            ended(serving.await);
        }
    }
}

/// What every HTTP/2 connection opens with. What differs from it is HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is clear which HTTP a client speaks, and gives back a stream that begins with what was read. hyper waits
/// for that too, but for ever: its timers begin with the first request.
async fn opening<R, W>(mut reader: R, writer: W) -> io::Result<impl AsyncRead + AsyncWrite + Unpin>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut read = Vec::with_capacity(PREFACE.len());
    while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
        let mut rest = (&mut reader).take((PREFACE.len() - read.len()) as u64);
        if rest.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(tokio::io::join(Cursor::new(read).chain(reader), writer))
}

/// A client that goes away is nothing to act upon.
fn ended(served: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn answer(
    shared: Arc<Shared>,
    handed: Handed,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    if request.method() == Method::GET && request.uri().path() == NODE_INFO_PATH {
        let mut response = Response::new(Body::from(shared.info.clone()));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        return Ok(response);
    }
    let answer = Channel::enter(Arc::clone(&shared.router), request.map(Body::new)).await;
    handed.add();
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use homing_router::{Directory, Node, Pool, PoolOptions, RouterBuilder, StaticAuthority};
    use homing_routing_table::Diff;
    use homing_transport::ca::{CertificateAuthority, Validity};
    use homing_transport::tls::Roots;
    use homing_types::Locality;
    use tokio::io::AsyncWriteExt;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// A client's end and the server's of one connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn what_was_read_to_tell_the_version_is_not_lost() {
        let h2: Vec<u8> = [PREFACE, b"settings"].concat();
        for sent in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"PRIVATE / HTTP/1.1\r\n\r\n", &h2] {
            let (mut client, server) = pair().await;
            client.write_all(&sent[..1]).await.unwrap();
            let (reader, writer) = server.into_split();
            let opening = tokio::spawn(opening(reader, writer));
            client.write_all(&sent[1..]).await.unwrap();
            client.shutdown().await.unwrap();
            let mut opened = opening.await.unwrap().unwrap();
            let mut read = Vec::new();
            opened.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
            opened.write_all(b"answer").await.unwrap();
            drop(opened);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
        }
    }

    fn router() -> Arc<Router> {
        let me = Node {
            id: "n1".parse().unwrap(),
            address: "127.0.0.1:1".to_owned(),
            wire: "grpc".to_owned(),
            locality: Locality::default(),
            weight: 1,
        };
        let directory = Arc::new(Directory::new([me.clone()]));
        let authority = Arc::new(StaticAuthority::new(&Diff::default()));
        RouterBuilder::new(me, directory, Pool::new(Vec::new(), PoolOptions::default()), authority, [0; 32])
            .build()
    }

    /// A listener that waits for nobody's first bytes for long.
    async fn impatient(tls: Option<&ServerTls>, header_timeout: Duration) -> ClientListener {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Whoever is not closed keeps the one place from the next.
        let limits = ClientLimits { header_timeout, max_connections: 1, ..ClientLimits::default() };
        ClientListener::serve(socket, router(), tls, limits, Bytes::new()).unwrap()
    }

    async fn is_closed(client: &mut (impl AsyncRead + Unpin), after: &[u8]) {
        let mut unread = [0; 64];
        let closed = async { while client.read(&mut unread).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(Duration::from_secs(20), closed)
            .await
            .unwrap_or_else(|_| panic!("after {after:?}"));
    }

    #[tokio::test]
    async fn a_client_that_never_says_what_it_speaks_is_closed() {
        let listener = impatient(None, SOON).await;
        for sent in [b"".as_slice(), b"P", &PREFACE[..PREFACE.len() - 1]] {
            let mut client = TcpStream::connect(listener.address()).await.unwrap();
            client.write_all(sent).await.unwrap();
            is_closed(&mut client, sent).await;
        }
    }

    #[tokio::test]
    async fn with_tls_a_client_is_closed_too_that_says_nothing_before_or_after_the_handshake() {
        let ca = CertificateAuthority::create("prod.example".parse().unwrap(), valid()).unwrap();
        let issued = ca.issue_for_names(vec!["127.0.0.1".to_owned()], valid()).unwrap();
        let (certificate, key) = (issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes());
        let tls = ServerTls::from_pem(certificate, key, Duration::from_secs(56 * YEAR)).unwrap();
        let listener = impatient(Some(&tls), SOON).await;
        // A record that never ends, and one that is no TLS.
        for sent in [b"".as_slice(), &[22, 3, 1, 2, 0, 1], PREFACE] {
            let mut client = TcpStream::connect(listener.address()).await.unwrap();
            client.write_all(sent).await.unwrap();
            is_closed(&mut client, sent).await;
        }
        let roots = Roots::from_pem(ca.certificate_pem().as_bytes()).unwrap();
        let connector = TlsConnector::from(Arc::new(roots.client_config(b"h2").unwrap()));
        // Enough for a handshake on a busy machine.
        let listener = impatient(Some(&tls), Duration::from_secs(2)).await;
        let client = TcpStream::connect(listener.address()).await.unwrap();
        let mut client = connector.connect("127.0.0.1".try_into().unwrap(), client).await.unwrap();
        is_closed(&mut client, b"a handshake").await;
    }

    const SOON: Duration = Duration::from_millis(50);

    const YEAR: u64 = 31_556_952;

    /// From 2020 until 2120.
    fn valid() -> Validity {
        let at = |years| SystemTime::UNIX_EPOCH + Duration::from_secs(years * YEAR);
        Validity { from: at(50), until: at(150) }
    }
}
