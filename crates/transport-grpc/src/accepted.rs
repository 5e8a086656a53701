//! One accepted connection: who it is, and its requests.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use homing_transport::wire::headers;
use homing_transport::{Handed, LITTLE, Reply, serve};
use homing_types::{NodeId, Outcome};
use http::Uri;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::incoming::{Incoming, is_little};
use crate::keepalive::{Keepalive, Watched};
use crate::listener::Shared;
use crate::pump::Pump;
use crate::{fault, settings, tcp};

type Wire = h2::server::Connection<Watched<TlsStream<TcpStream>>, Bytes>;

/// The places of a listener.
pub(crate) struct Places {
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) handshakes: Arc<Semaphore>,
}

/// The places of one connection.
pub(crate) struct Place {
    _connection: OwnedSemaphorePermit,
    handshake: OwnedSemaphorePermit,
}

impl Places {
    /// A place for a new connection, if there is one.
    pub(crate) fn take(&self) -> Option<Place> {
        let handshake = Arc::clone(&self.handshakes).try_acquire_owned().ok()?;
        let connection = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        Some(Place { _connection: connection, handshake })
    }
}

/// Serves one connection until it ends or the listener is cut.
pub(crate) async fn run(tcp: TcpStream, from: SocketAddr, place: Place, shared: Arc<Shared>, handed: Handed) {
    let Place { _connection, handshake } = place;
    let mut requests = JoinSet::new();
    tokio::select! {
        biased;
        () = shared.cut() => {}
        () = async {
            let opening = tokio::time::timeout(shared.limits.handshake_timeout, open(tcp, &shared));
            let opened = opening.await;
            drop(handshake);
            match opened {
                Ok(Ok(opened)) => answer_all(opened, &shared, &handed, &mut requests).await,
                // Whoever hangs up in the middle has asked whether the port is open.
                Ok(Err(error)) if hung_up(&error) => tracing::debug!(%from, %error, "a connection ended early"),
                Ok(Err(error)) => tracing::warn!(%from, %error, "refused a connection"),
                Err(_) => tracing::debug!(%from, "a connection did not complete its handshake in time"),
            }
        } => {}
    }
    requests.shutdown().await;
}

fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe | Kind::NotConnected
    )
}

/// A connection whose other end is known.
struct Opened {
    node: NodeId,
    wire: Wire,
    keepalive: Keepalive,
}

async fn open(tcp: TcpStream, shared: &Shared) -> io::Result<Opened> {
    tcp::tune(&tcp)?;
    let mut tls = match shared.tls.accept(tcp).into_fallible().await {
        Ok(tls) => tls,
        Err((error, mut tcp)) => {
            part(&mut tcp).await;
            return Err(error);
        }
    };
    let node = match shared.credentials.peer(tls.get_ref().1.peer_certificates()) {
        Ok(node) => node,
        Err(error) => {
            tls.write_all(&REFUSAL).await?;
            part(&mut tls).await;
            return Err(io::Error::other(error));
        }
    };
    let io = Watched::new(tls);
    let heard = io.heard();
    let mut wire = settings::server(&shared.limits).handshake(io).await.map_err(fault::into_io)?;
    let pings = wire.ping_pong().ok_or_else(|| io::Error::other("no pings"))?;
    Ok(Opened { node, wire, keepalive: Keepalive::new(pings, heard, &shared.limits) })
}

/// The whole HTTP/2 of a listener that refuses a certificate: SETTINGS, and GOAWAY for INADEQUATE_SECURITY
/// (RFC 9113, sections 6.5, 6.8 and 7).
const REFUSAL: [u8; 26] =
    [0, 0, 0, 4, 0, 0, 0, 0, 0, /* GOAWAY */ 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc];

/// Waits until the other end has closed too. A socket that is closed while something unread has come in
/// takes what it has sent with it, and the one refused wouldn't learn why.
async fn part(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = io.shutdown().await;
    let mut unread = [0; 1_024];
    while matches!(io.read(&mut unread).await, Ok(1..)) {}
}

/// Accepts requests until the connection ends: the peer closed it, it is lost, or it was drained.
async fn answer_all(opened: Opened, shared: &Arc<Shared>, handed: &Handed, requests: &mut JoinSet<()>) {
    let Opened { node, mut wire, mut keepalive } = opened;
    let mut draining = pin!(shared.draining());
    let mut drains = false;
    loop {
        tokio::select! {
            accepted = wire.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    // A task moves its future about until it stands, and once more at its end.
                    let answer = answer(node.clone(), request, respond, Arc::clone(shared), handed.clone());
                    requests.spawn(Box::pin(answer));
                }
                Some(Err(error)) => {
                    tracing::debug!(%node, %error, "a connection was lost");
                    return;
                }
                None => return,
            },
            () = keepalive.lost() => {
                tracing::debug!(%node, "a connection gave no sign of life");
                return;
            }
            () = &mut draining, if !drains => {
                drains = true;
                wire.graceful_shutdown();
            }
        }
        while requests.try_join_next().is_some() {}
    }
}

/// Answers one request, unless the peer gives it up.
async fn answer(
    from: NodeId,
    request: http::Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Shared>,
    handed: Handed,
) {
    // One that was reset before it could start isn't started; afterwards the handler goes first, so that
    // it sees how its request's body ended.
    let given_up = poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await;
    if given_up {
        return;
    }
    let reply = tokio::select! {
        biased;
        reply = handle(from, request, &shared) => reply,
        _ = poll_fn(|cx| respond.poll_reset(cx)) => return,
    };
    let Reply { head, response } = reply;
    let (mut parts, body) = response.into_parts();
    headers::write_reply_head(&head, &mut parts.headers);
    let response = http::Response::from_parts(parts, ());
    let empty = body.is_end_stream();
    handed.add();
    // Refused only if the stream has ended already, or a header is too large for any frame.
    let Ok(mut stream) = respond.send_response(response, empty) else {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    };
    match body.into_in_hand() {
        _ if empty => {}
        Ok((data, None)) => {
            let _ = stream.send_data(data, true);
        }
        Ok((data, Some(trailers))) => {
            if !data.is_empty() {
                let _ = stream.send_data(data, false);
            }
            let _ = stream.send_trailers(trailers);
        }
        // It resets the stream if the body fails; nobody else has to know.
        Err(body) => {
            let _ = Pump::new(body, stream).await;
        }
    }
}

async fn handle(from: NodeId, request: http::Request<RecvStream>, shared: &Shared) -> Reply {
    let (mut parts, mut stream) = request.into_parts();
    parts.uri = parts.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    let head = match headers::read_head(&mut parts.headers) {
        Ok(head) => head,
        Err(error) => return Reply::of(Outcome::Refused, error.to_string()),
    };
    let little = is_little(&mut stream);
    let body = Incoming::request(stream);
    let body = if little { body.gathered(LITTLE) } else { body };
    let request = http::Request::from_parts(parts, body);
    serve(&*shared.handler, from, head, request, &shared.limits).await
}
