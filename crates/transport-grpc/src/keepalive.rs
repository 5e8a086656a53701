//! Finding out that a peer is gone although its socket says nothing: frozen, or behind a dead network.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong};
use homing_transport::Limits;
use homing_transport::tls::explain;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// As good as never, and short enough to be added to a time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Probes a silent connection, and calls it lost if it stays silent.
///
/// Every byte from the peer is a sign of life, so a busy connection is never probed, and of two sides that
/// both watch only one probes.
pub(crate) struct Keepalive {
    pings: PingPong,
    heard: Heard,
    timer: Pin<Box<Sleep>>,
    probed: Option<Instant>,
    interval: Duration,
    timeout: Duration,
}

impl Keepalive {
    pub(crate) fn new(pings: PingPong, heard: Heard, limits: &Limits) -> Self {
        let interval = limits.keepalive_interval.min(FOR_EVER);
        let timeout = limits.keepalive_timeout.min(FOR_EVER);
        let timer = Box::pin(tokio::time::sleep(interval));
        Self { pings, heard, timer, probed: None, interval, timeout }
    }

    /// Ends when the peer is lost.
    pub(crate) async fn lost(&mut self) {
        poll_fn(|cx| self.poll_lost(cx)).await;
    }

    /// Ready when the peer is lost.
    pub(crate) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let (now, heard) = (Instant::now(), self.heard.last());
            let probed = self.probed.filter(|probed| *probed > heard);
            if probed.is_some() && now >= heard + self.timeout {
                return Poll::Ready(());
            }
            let next = if now < heard + self.interval {
                heard + self.interval
            } else {
                self.probed = Some(probed.unwrap_or(now));
                self.probe(cx);
                (now + self.interval).min((heard + self.timeout).max(now + self.shortest_wait()))
            };
            self.timer.as_mut().reset(next);
        }
    }

    /// When the peer was heard last.
    pub(crate) fn heard(&self) -> Instant {
        self.heard.last()
    }

    /// h2 has one ping under way at a time; while the last is unanswered, there is nothing to add.
    pub(crate) fn probe(&mut self, cx: &mut Context<'_>) {
        let _ = self.pings.poll_pong(cx);
        let _ = self.pings.send_ping(Ping::opaque());
    }

    /// How long an answer is waited for at least, when this process itself stood still past the timeout.
    fn shortest_wait(&self) -> Duration {
        self.timeout.saturating_sub(self.interval).max(self.timeout / 4)
    }
}

/// When the peer was heard last.
#[derive(Clone)]
pub(crate) struct Heard {
    start: Instant,
    after: Arc<AtomicU64>,
}

impl Heard {
    fn now() -> Self {
        Self { start: Instant::now(), after: Arc::default() }
    }

    fn note(&self) {
        let after = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.after.store(after, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_nanos(self.after.load(Ordering::Relaxed))
    }
}

/// A connection's bytes, which notes when some came in.
pub(crate) struct Watched<T> {
    io: T,
    heard: Heard,
}

impl<T> Watched<T> {
    pub(crate) fn new(io: T) -> Self {
        Self { io, heard: Heard::now() }
    }

    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf).map_err(readable);
        if buf.filled().len() > before {
            self.heard.note();
        }
        read
    }
}

/// h2 keeps of an I/O error its kind and its text alone. This is where TLS says why it refuses a certificate.
fn readable(error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(tls) => io::Error::new(error.kind(), explain(tls)),
        None => error,
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
