use std::future::{Future, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::SendRequest;
use homing_transport::wire::headers;
use homing_transport::{
    Body, BoxFuture, Connection, Deferred, Handed, Head, LITTLE, Limits, Peer, Reply, SendError,
    SendErrorKind, prepare,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{StatusCode, Uri, uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, watch};

use crate::fault::{self, End};
use crate::incoming::{Incoming, is_little};
use crate::keepalive::Keepalive;
use crate::nudge::Nudge;
use crate::upload::Upload;

/// One HTTP/2 connection to one peer.
pub(crate) struct GrpcConnection {
    link: Arc<Link>,
    /// Tells the driver that nobody holds this connection any more. Dropped after `link`.
    _held: mpsc::Sender<()>,
}

struct Link {
    peer: Peer,
    authority: Authority,
    limits: Limits,
    h2: SendRequest<Bytes>,
    handed: Handed,
    /// Places for requests without a reply yet; closed when the connection takes no more. What waits here is
    /// certainly not sent. A reply whose body still comes counts for h2 alone, which makes later requests
    /// wait too: whoever collects replies before it reads them must not wait for itself.
    places: Arc<Semaphore>,
    /// Why the connection takes no new requests, when it doesn't.
    end: watch::Receiver<Option<End>>,
}

impl GrpcConnection {
    /// A connection over a handshake that is complete, and the task that drives it.
    pub(crate) fn start<T>(
        peer: Peer,
        authority: Authority,
        limits: Limits,
        h2: SendRequest<Bytes>,
        wire: h2::client::Connection<T, Bytes>,
        keepalive: Keepalive,
    ) -> Self
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let max = (limits.max_streams as usize).min(wire.max_concurrent_send_streams());
        let places = Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)));
        let (end_sender, end) = watch::channel(None);
        let (held_sender, held) = mpsc::channel(1);
        let driver = Driver {
            wire,
            keepalive,
            nudge: Nudge::new(),
            all_places: places.available_permits(),
            h2: Some(h2.clone()),
            places: Arc::clone(&places),
            end: end_sender,
            held,
        };
        let handed = Handed::default();
        tokio::spawn(Deferred::new(Box::pin(driver.run()), handed.clone()));
        let link = Arc::new(Link { peer, authority, limits, h2, handed, places, end });
        Self { link, _held: held_sender }
    }
}

impl Link {
    /// A place on the connection, if one is free.
    fn place_now(&self) -> Result<Option<OwnedSemaphorePermit>, SendError> {
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Ok(Some(place)),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(self.takes_none()),
        }
    }

    /// Hands a request to h2.
    fn begin(
        &self,
        mut request: http::Request<Body>,
        place: OwnedSemaphorePermit,
    ) -> Result<Exchange, SendError> {
        *request.uri_mut() = self.absolute(request.uri());
        let (parts, body) = request.into_parts();
        let empty = http_body::Body::is_end_stream(&body);
        let request = http::Request::from_parts(parts, ());
        self.handed.add();
        let (response, stream) = self.h2.clone().send_request(request, empty).map_err(|error| {
            // h2 refuses what it has not queued.
            SendError::not_sent(SendErrorKind::Unreachable, format!("{}: {error}", self.peer))
        })?;
        let upload = if empty { Upload::Done } else { Upload::new(body, stream) };
        Ok(Exchange { response, upload, _place: place })
    }

    fn reply(&self, response: http::Response<h2::RecvStream>, upload: Upload) -> Result<Reply, SendError> {
        let upload = upload.outlive_call();
        let (mut parts, mut stream) = response.into_parts();
        if parts.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            && !parts.headers.contains_key(headers::HOPS)
        {
            // The peer's h2 answered in place of its handler.
            let message =
                format!("{}: the request's header block is over the peer's max_header_block", self.peer);
            return Err(SendError::not_sent(SendErrorKind::Limit, message));
        }
        let head = headers::read_reply_head(&mut parts.headers).map_err(|error| {
            SendError::maybe_sent(SendErrorKind::Protocol, format!("{}: {error}", self.peer))
        })?;
        let little = is_little(&mut stream);
        let body = Incoming::reply(stream, upload);
        let body = if little { body.gathered(LITTLE) } else { body };
        Ok(Reply { head, response: http::Response::from_parts(parts, body) })
    }

    fn explain(&self, error: &h2::Error, upload: &Upload) -> SendError {
        match upload.failure() {
            Some(failure) => SendError::maybe_sent(SendErrorKind::Body, failure.to_string()),
            None => fault::send(&self.peer, error, *self.end.borrow()),
        }
    }

    fn takes_none(&self) -> SendError {
        let end = self.end.borrow().unwrap_or(End::GoingAway);
        SendError::not_sent(SendErrorKind::Unreachable, format!("{}: {end}", self.peer))
    }

    /// HTTP/2 has no request without scheme and authority. The peer's handler sees the path alone.
    fn absolute(&self, uri: &Uri) -> Uri {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        let path = uri.path_and_query().cloned();
        parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).unwrap_or_default()
    }
}

impl Connection for GrpcConnection {
    /// What can be done at once is done when this is called (docs/ARCHITECTURE.md).
    fn send(
        &self,
        mut head: Head,
        mut request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, SendError>> {
        let link = Arc::clone(&self.link);
        headers::write_head(&head, request.headers_mut());
        let begun = prepare(&head, request, 0, &link.limits)
            .and_then(|(request, outgoing)| Ok((request, outgoing, link.place_now()?)));
        let (mut request, outgoing, place) = match begun {
            Ok(begun) => begun,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let Some(place) = place else {
            return Box::pin(async move {
                let place = outgoing.place(Arc::clone(&link.places).acquire_owned()).await?;
                let place = place.map_err(|_closed| link.takes_none())?;
                outgoing.count_down(&mut head);
                headers::write_time_left(&head, request.headers_mut());
                let mut exchange = link.begin(request, place)?;
                let response = outgoing.run(pin!(poll_fn(|cx| exchange.poll_response(&link, cx)))).await;
                outgoing.guard(response.and_then(|response| link.reply(response, exchange.upload)))
            });
        };
        match link.begin(request, place) {
            Ok(mut exchange) => Box::pin(async move {
                let response = outgoing.run(pin!(poll_fn(|cx| exchange.poll_response(&link, cx)))).await;
                outgoing.guard(response.and_then(|response| link.reply(response, exchange.upload)))
            }),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }

    fn is_open(&self) -> bool {
        !self.link.places.is_closed()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        let mut end = self.link.end.clone();
        Box::pin(async move {
            // An error means that the driver has ended: closed too.
            let _ = end.wait_for(Option::is_some).await;
        })
    }
}

/// A request that h2 has, and its place.
struct Exchange {
    response: h2::client::ResponseFuture,
    upload: Upload,
    _place: OwnedSemaphorePermit,
}

impl Exchange {
    /// The head of the reply. Until it is there, this moves the request's body, too.
    fn poll_response(
        &mut self,
        link: &Link,
        cx: &mut Context<'_>,
    ) -> Poll<Result<http::Response<h2::RecvStream>, SendError>> {
        self.upload.advance(cx);
        let response = Pin::new(&mut self.response).poll(cx);
        response.map_err(|error| link.explain(&error, &self.upload))
    }
}

/// What moves a connection's bytes, for as long as somebody holds the connection or an exchange runs.
struct Driver<T> {
    wire: h2::client::Connection<T, Bytes>,
    keepalive: Keepalive,
    nudge: Nudge,
    /// How many places there are; if one is taken, a reply is awaited.
    all_places: usize,
    /// Held only as long as the connection is: h2 closes when nobody can send.
    h2: Option<SendRequest<Bytes>>,
    places: Arc<Semaphore>,
    end: watch::Sender<Option<End>>,
    held: mpsc::Receiver<()>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    async fn run(mut self) {
        let end = poll_fn(|cx| {
            if self.h2.is_some() && self.held.poll_recv(cx).is_ready() {
                self.h2 = None;
            }
            if Pin::new(&mut self.wire).poll(cx).is_ready() {
                return Poll::Ready(End::Lost);
            }
            if self.keepalive.poll_lost(cx).is_ready() {
                return Poll::Ready(End::Silent);
            }
            let waiting = self.places.available_permits() < self.all_places;
            if self.nudge.poll_due(waiting, self.keepalive.heard(), cx).is_ready() {
                self.keepalive.probe(cx);
                // Its timer runs on.
                cx.waker().wake_by_ref();
            }
            // A GOAWAY shows nowhere else while requests are running.
            if self.h2.as_mut().is_some_and(|h2| matches!(h2.poll_ready(cx), Poll::Ready(Err(_)))) {
                self.close(End::GoingAway);
            }
            Poll::Pending
        })
        .await;
        self.close(end);
    }

    /// The reason stands before the wire is dropped and its requests fail.
    fn close(&self, end: End) {
        self.places.close();
        self.end.send_if_modified(|last| last.replace(end) != Some(end));
    }
}
