//! A connection as the one who dialled sees it.

use std::future::{self, Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use homing_transport::wire::binary;
use homing_transport::{
    Body, BoxFuture, Connection, Handed, Head, Limits, Peer, Reply, SendError, SendErrorKind, prepare,
};
use quinn::{ConnectionError, ConnectionStats};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::body::{Incoming, Reading, Upload};
use crate::config::max_block;
use crate::frame::{Batch, Frame, FrameError};
use crate::gate::{Gate, Pass};
use crate::probe;
use crate::stream::{Code, ReceiveError, Receiver, Sender, explain};

/// How often a connection is looked after.
const TICK: Duration = Duration::from_millis(250);

/// The handle of a connection. Without it, quinn closes the connection with the last of its streams.
pub(crate) struct QuicConnection {
    link: Arc<Link>,
    watch: AbortHandle,
}

struct Link {
    peer: Peer,
    connection: quinn::Connection,
    limits: Limits,
    handed: Handed,
    gate: Arc<Gate>,
    /// The peer shows no stream of this index or above to its handler.
    refused_from: AtomicU64,
    /// Each request that waits for a place has a clone.
    waiting: Arc<()>,
    /// The peer's port was found closed.
    died: AtomicBool,
}

impl QuicConnection {
    /// A connection whose peer has said HELLO on `control`.
    pub(crate) fn new(
        peer: Peer,
        connection: quinn::Connection,
        control: Receiver,
        limits: Limits,
        handed: Handed,
    ) -> Self {
        let link = Arc::new(Link {
            peer,
            connection,
            limits,
            handed,
            gate: Gate::new(),
            refused_from: AtomicU64::new(u64::MAX),
            waiting: Arc::new(()),
            died: AtomicBool::new(false),
        });
        let watch = tokio::spawn(watch(Arc::clone(&link), control)).abort_handle();
        Self { link, watch }
    }
}

impl Connection for QuicConnection {
    /// What can be done at once is done when this is called (docs/ARCHITECTURE.md).
    fn send(
        &self,
        mut head: Head,
        request: http::Request<Body>,
    ) -> BoxFuture<'static, Result<Reply, SendError>> {
        let link = Arc::clone(&self.link);
        let begun = prepare(&head, request, binary::head_len(&head), &link.limits)
            .and_then(|(request, outgoing)| Ok((request, outgoing, link.enter()?)));
        let (request, outgoing, pass) = match begun {
            Ok(begun) => begun,
            Err(error) => return Box::pin(future::ready(Err(error))),
        };
        match link.open_now() {
            Some(Ok(streams)) => {
                outgoing.count_down(&mut head);
                let mut exchange = link.begin(&head, request, streams, pass);
                Box::pin(async move {
                    let block = outgoing.run(pin!(poll_fn(|cx| exchange.poll_head(&link, cx)))).await;
                    outgoing.guard(block.and_then(|block| exchange.reply(&link, block)))
                })
            }
            Some(Err(error)) => Box::pin(future::ready(Err(error))),
            None => Box::pin(async move {
                let streams = outgoing.place(link.open()).await??;
                outgoing.count_down(&mut head);
                let mut exchange = link.begin(&head, request, streams, pass);
                let block = outgoing.run(pin!(poll_fn(|cx| exchange.poll_head(&link, cx)))).await;
                outgoing.guard(block.and_then(|block| exchange.reply(&link, block)))
            }),
        }
    }

    fn is_open(&self) -> bool {
        self.link.gate.is_open()
    }

    fn closed(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.link.gate.closed())
    }
}

impl Drop for QuicConnection {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Closes the gate when the peer says GOAWAY or is lost, and the connection once the last exchange has left:
/// only this side knows when it has read all replies.
async fn watch(link: Arc<Link>, mut control: Receiver) {
    let drained = async {
        tokio::select! {
            index = go_away(&mut control) => link.refused_from.store(index, Ordering::Release),
            () = link.gate.closed() => (),
        }
        link.gate.close();
        link.gate.left().await;
    };
    tokio::select! {
        () = drained => (),
        () = look_after(&link) => {
            link.died.store(true, Ordering::Release);
            link.gate.close();
        }
    }
    link.connection.close(Code::Done.into(), b"");
}

/// From which stream on the peer shows none to its handler, once it says so or is lost.
async fn go_away(control: &mut Receiver) -> u64 {
    loop {
        match control.frame().await {
            Ok(Frame::GoAway(index)) => return index,
            Ok(_) => (),
            Err(_) => return u64::MAX,
        }
    }
}

/// Ends when the peer has died: with exchanges inside, the connection is silent and the peer's port closed.
///
/// And a quinn connection has been seen stuck at its limit of streams for good: one on which nothing moves
/// while a request waits for a place takes no more of them, so that another is opened instead.
async fn look_after(link: &Link) {
    let mut before = link.connection.stats();
    let mut pause = TICK;
    let mut stuck = Duration::ZERO;
    loop {
        sleep(pause).await;
        let now = link.connection.stats();
        let silent = now.udp_rx.datagrams == before.udp_rx.datagrams && !link.gate.is_empty();
        if silent && timeout(TICK, probe::refused(link.connection.remote_address())).await.is_ok() {
            return;
        }
        let moved = streamed(&now) != streamed(&before);
        let waiting = Arc::strong_count(&link.waiting) > 1;
        stuck = if waiting && !moved { stuck + pause } else { Duration::ZERO };
        if stuck >= link.limits.keepalive_timeout {
            link.gate.close();
        }
        // Between two keepalives a quiet connection is silent in good health.
        pause =
            if moved || link.gate.is_empty() { TICK } else { link.limits.keepalive_interval.min(pause * 2) };
        before = now;
    }
}

/// How many pieces of streams have come and gone.
const fn streamed(stats: &ConnectionStats) -> u64 {
    stats.frame_rx.stream + stats.frame_tx.stream
}

/// A request on its way.
struct Exchange {
    /// Of its stream.
    index: u64,
    reading: Reading,
    upload: Upload,
    pass: Pass,
}

impl Exchange {
    /// The block of the reply's head.
    fn poll_head(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<Result<Bytes, SendError>> {
        Poll::Ready(match ready!(self.reading.with(|receiver| receiver.poll_frame(cx))) {
            Ok(Frame::Head(block)) => Ok(block),
            Ok(_) => Err(link.maybe_sent(SendErrorKind::Protocol, "its reply doesn't begin with a head")),
            Err(error) => Err(link.no_reply(&error, self.index)),
        })
    }

    fn reply(self, link: &Link, block: Bytes) -> Result<Reply, SendError> {
        let limit = link.limits.max_header_block;
        let (head, response) = binary::decode_reply(block, limit)
            .map_err(|error| link.maybe_sent(SendErrorKind::Protocol, &error.to_string()))?;
        let body = Incoming::of_reply(self.reading, limit, self.upload, self.pass);
        Ok(Reply { head, response: response.map(|()| body) })
    }
}

impl Link {
    fn enter(&self) -> Result<Pass, SendError> {
        self.gate.enter().ok_or_else(|| self.closed())
    }

    /// A stream, if there is a place for it now.
    fn open_now(&self) -> Option<Result<(Sender, Receiver), SendError>> {
        match pin!(self.connection.open_bi()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(opened) => Some(self.opened(opened)),
            Poll::Pending => None,
        }
    }

    /// A stream, once there is a place for it.
    async fn open(&self) -> Result<(Sender, Receiver), SendError> {
        let _waiting = Arc::clone(&self.waiting);
        tokio::select! {
            biased;
            opened = self.connection.open_bi() => self.opened(opened),
            () = self.gate.closed() => Err(self.closed()),
        }
    }

    fn opened(
        &self,
        opened: Result<(quinn::SendStream, quinn::RecvStream), ConnectionError>,
    ) -> Result<(Sender, Receiver), SendError> {
        match opened {
            Ok((send, receive)) => Ok((Sender::new(send), Receiver::new(receive, max_block(&self.limits)))),
            Err(error) => {
                self.lost();
                Err(self.not_sent(&self.explain(&error)))
            }
        }
    }

    /// What this learns first, all others know at once: to ask the connection itself before each request would make them all wait for
    /// who sends on it.
    fn lost(&self) {
        self.gate.close();
    }

    /// Hands a request to quinn.
    fn begin(
        &self,
        head: &Head,
        request: http::Request<Body>,
        (sender, receiver): (Sender, Receiver),
        pass: Pass,
    ) -> Exchange {
        self.handed.add();
        let index = sender.index();
        let mut batch = Batch::with_room(request.body().bytes());
        batch.head(|out| binary::encode_request(head, &request, out));
        let (upload, reading) = Upload::start(sender, batch, request.into_body(), &pass, receiver);
        Exchange { index, reading, upload, pass }
    }

    /// What it means that a stream ended before the head of its reply.
    fn no_reply(&self, error: &ReceiveError, index: u64) -> SendError {
        let why = error.to_string();
        if let ReceiveError::Lost(_) = error {
            self.lost();
        }
        match error {
            ReceiveError::Reset(code) if Code::Refused.is(*code) => self.closed(),
            ReceiveError::Reset(_) => self.maybe_sent(SendErrorKind::Lost, &why),
            ReceiveError::Lost(_) if index >= self.refused_from.load(Ordering::Acquire) => self.closed(),
            ReceiveError::Lost(error) => self.maybe_sent(SendErrorKind::Lost, &self.explain(error)),
            ReceiveError::Frame(FrameError::TooLarge { .. }) => self.maybe_sent(SendErrorKind::Limit, &why),
            ReceiveError::Frame(_) | ReceiveError::CutShort => self.maybe_sent(SendErrorKind::Protocol, &why),
            ReceiveError::Failed(_) => self.maybe_sent(SendErrorKind::Body, &why),
        }
    }

    fn closed(&self) -> SendError {
        match self.connection.close_reason() {
            Some(error) => self.not_sent(&self.explain(&error)),
            None => self.not_sent("it takes no new requests on this connection"),
        }
    }

    fn explain(&self, error: &ConnectionError) -> String {
        match error {
            ConnectionError::LocallyClosed if self.died.load(Ordering::Acquire) => {
                "connection refused: its port is closed".to_owned()
            }
            error => explain(error),
        }
    }

    fn not_sent(&self, why: &str) -> SendError {
        SendError::not_sent(SendErrorKind::Unreachable, format!("{}: {why}", self.peer))
    }

    fn maybe_sent(&self, kind: SendErrorKind, why: &str) -> SendError {
        SendError::maybe_sent(kind, format!("{}: {why}", self.peer))
    }
}
