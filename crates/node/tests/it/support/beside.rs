//! A service in another process than the node's: in the test's own, so that the test sees what arrives.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Speaks the KV's gRPC over HTTP/2 without TLS, and knows nothing: reads find nothing, writes are forgotten. Dropping it
/// closes it.
pub(crate) struct Beside {
    /// For a node's `service`.
    pub(crate) address: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    fails: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Who waits for the end of the pause, if there is one.
    pause: Mutex<Option<Vec<Waker>>>,
    connections: AtomicU64,
    failed: AtomicU64,
}

impl Beside {
    /// Reads each request, then answers it, or drops its stream if its space `fails`.
    pub(crate) async fn start(fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared {
            fails: Box::new(fails),
            pause: Mutex::default(),
            connections: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        };
        let shared = Arc::new(shared);
        let mut serving = JoinSet::new();
        serving.spawn(connections(listener, Arc::clone(&shared)));
        Self { address, shared, _serving: serving }
    }

    /// From now on reads nothing, as a process that stops for a while.
    pub(crate) fn pause(&self) {
        self.shared.pause.lock().unwrap().get_or_insert_default();
    }

    /// Goes on with all that has come meanwhile.
    pub(crate) fn resume(&self) {
        let waiting = self.shared.pause.lock().unwrap().take();
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Requests that were read, and whose streams were dropped.
    pub(crate) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

async fn connections(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::Relaxed);
        open.spawn(connection(stream, Arc::clone(&shared)));
        while open.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    stream.set_nodelay(true).unwrap();
    let (reader, writer) = stream.into_split();
    let stream = tokio::io::join(Pausing { reader, shared: Arc::clone(&shared) }, writer);
    let answer = service_fn(|request| answer(Arc::clone(&shared), request));
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_concurrent_streams(10_000);
    // A node that is killed leaves in the middle of something.
    let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
}

struct Pausing {
    reader: OwnedReadHalf,
    shared: Arc<Shared>,
}

impl AsyncRead for Pausing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        read: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(waiting) = &mut *self.shared.pause.lock().unwrap() {
            waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.reader).poll_read(cx, read)
    }
}

/// An error drops the stream: the node can't tell what has become of its request.
async fn answer(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> io::Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>> {
    let space = request.headers().get("homing-space").and_then(|space| space.to_str().ok());
    let fails = (shared.fails)(space.expect("a request names its space"));
    let write = request.uri().path().ends_with("/Put");
    request.into_body().collect().await.map_err(io::Error::other)?;
    if fails {
        shared.failed.fetch_add(1, Ordering::Relaxed);
        return Err(io::Error::other("this space always fails"));
    }
    // A PutResponse with a version of zeros, or a GetResponse that found nothing: gRPC's five bytes, and the message.
    let message: &[u8] = if write { &[0, 0, 0, 0, 2, 0x0A, 0] } else { &[0; 5] };
    let ended = HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from_static(message)).with_trailers(async { Some(Ok(ended)) });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
