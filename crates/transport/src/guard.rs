//! What stands between a body and its reader: the deadline of the exchange and the limit of a message.
//!
//! gRPC's own `grpc-timeout` is enforced by most stacks only until the response head, and a limit on
//! messages only where they are decoded. Homing decodes nothing and streams bodies, so both stand here,
//! once for all wires.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{Unconstrained, unconstrained};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{Body, BodyError};

/// A gRPC message over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a message of {size} bytes is over the limit of {limit} bytes (max_message)")]
pub struct TooLarge {
    /// The message's length in bytes.
    pub size: u64,
    /// The limit in bytes.
    pub limit: u64,
}

/// Follows gRPC's length-prefixed messages through a body without copying or keeping anything
/// (gRPC over HTTP/2, "Length-Prefixed-Message": one byte of flags, four of length, big-endian).
#[derive(Debug, Clone)]
pub(crate) struct MessageMeter {
    limit: u64,
    prefix: [u8; 5],
    prefix_len: usize,
    message_left: usize,
}

impl MessageMeter {
    /// A meter for messages of at most `limit` bytes.
    #[must_use]
    pub(crate) const fn new(limit: u64) -> Self {
        Self { limit, prefix: [0; 5], prefix_len: 0, message_left: 0 }
    }

    /// Follows the next bytes of the body.
    ///
    /// # Errors
    /// [`TooLarge`] as soon as the length of a message over the limit was seen, before its bytes.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), TooLarge> {
        loop {
            let skipped = self.message_left.min(bytes.len());
            self.message_left -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let wanted = (self.prefix.len() - self.prefix_len).min(bytes.len());
            self.prefix[self.prefix_len..self.prefix_len + wanted].copy_from_slice(&bytes[..wanted]);
            self.prefix_len += wanted;
            bytes = &bytes[wanted..];
            if self.prefix_len == self.prefix.len() {
                let [_, a, b, c, d] = self.prefix;
                let size = u32::from_be_bytes([a, b, c, d]);
                if u64::from(size) > self.limit {
                    return Err(TooLarge { size: size.into(), limit: self.limit });
                }
                self.prefix_len = 0;
                self.message_left = size as usize;
            }
        }
    }
}

/// Remembers that a guarded body broke its limit, for the one who must answer for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tripwire(Arc<Tripped>);

#[derive(Debug, Default)]
struct Tripped {
    error: Mutex<Option<TooLarge>>,
    notify: Notify,
}

impl Tripwire {
    fn trip(&self, error: TooLarge) {
        *self.0.error.lock() = Some(error);
        self.0.notify.notify_one();
    }

    pub(crate) fn tripped(&self) -> Option<TooLarge> {
        *self.0.error.lock()
    }

    /// One for a body whose limit can still be broken: one that is not in hand.
    pub(crate) fn of(body: &Body) -> Option<Self> {
        body.in_hand().is_none().then(Self::default)
    }

    /// Ends when the limit was broken.
    pub(crate) async fn wait(&self) -> TooLarge {
        loop {
            if let Some(error) = self.tripped() {
                return error;
            }
            self.0.notify.notified().await;
        }
    }
}

/// What guards a body.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) deadline: Option<Instant>,
    pub(crate) meter: Option<MessageMeter>,
    pub(crate) tripwire: Option<Tripwire>,
}

impl Guard {
    /// The guarded body. One that is in hand is checked here, once, and stays unboxed.
    pub(crate) fn over(mut self, body: Body) -> Result<Body, TooLarge> {
        if let Some(bytes) = body.in_hand() {
            if let Some(meter) = &mut self.meter {
                meter.feed(bytes)?;
            }
            return Ok(body);
        }
        if self.deadline.is_none() && self.meter.is_none() {
            return Ok(body);
        }
        Ok(Body::new(Guarded {
            body: match self.deadline {
                Some(at) => Held::Until(Expiring::new(body, at)),
                None => Held::Forever(body),
            },
            meter: self.meter,
            tripwire: self.tripwire,
            ended: false,
        }))
    }
}

impl Body {
    /// The same body, cut at a deadline with [`BodyError::Deadline`], also if nobody reads it. One that is in hand stays
    /// as it is. Called within a tokio runtime.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        if self.in_hand().is_some() {
            return self;
        }
        let body = Held::Until(Expiring::new(self, deadline));
        Self::new(Guarded { body, meter: None, tripwire: None, ended: false })
    }
}

/// A body, and for how long it is held.
enum Held {
    Forever(Body),
    Until(Expiring),
}

/// A body that is dropped at its deadline, whether somebody reads it or not: a reader that stands still would else hold the
/// stream under it, and with it the window of the connection that all streams share.
struct Expiring {
    cell: Arc<Cell>,
    /// Wakes the cell. A task of its own for each body would cost more than all else that a call does here.
    _timer: Pin<Box<Unconstrained<Sleep>>>,
}

/// Where a body stands until its deadline.
struct Cell {
    deadline: Instant,
    shared: Mutex<Shared>,
}

struct Shared {
    /// `None` from the deadline on.
    body: Option<Body>,
    reader: Option<Waker>,
}

impl Expiring {
    fn new(body: Body, deadline: Instant) -> Self {
        let shared = Mutex::new(Shared { body: Some(body), reader: None });
        let cell = Arc::new(Cell { deadline, shared });
        // Whatever the task that calls this has left of its turn, the timer is set now.
        let mut timer = Box::pin(unconstrained(sleep_until(deadline)));
        let waker = Waker::from(Arc::clone(&cell));
        if timer.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            cell.expire();
        }
        Self { cell, _timer: timer }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut shared = self.cell.shared.lock();
        if Instant::now() >= self.cell.deadline {
            shared.body = None;
        }
        let Some(body) = &mut shared.body else { return Poll::Ready(Some(Err(BodyError::Deadline))) };
        let polled = Pin::new(body).poll_frame(cx);
        if polled.is_pending() {
            shared.reader = Some(cx.waker().clone());
        }
        polled
    }
}

impl Cell {
    fn expire(&self) {
        let (body, reader) = {
            let mut shared = self.shared.lock();
            (shared.body.take(), shared.reader.take())
        };
        drop(body);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The timer calls. A runtime that shuts down does, too.
impl Wake for Cell {
    fn wake(self: Arc<Self>) {
        if Instant::now() < self.deadline {
            return;
        }
        // A body may do anything when it is dropped, and all timers and sockets stand still meanwhile where this runs.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move { self.expire() })),
            Err(_) => self.expire(),
        }
    }
}

impl Held {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Forever(body) => Pin::new(body).poll_frame(cx),
            Self::Until(body) => body.poll_frame(cx),
        }
    }

    /// What is asked of the body. One that met its deadline has an error left to tell.
    fn ask<T>(&self, ask: impl FnOnce(&Body) -> T, met: T) -> T {
        match self {
            Self::Forever(body) => ask(body),
            Self::Until(body) => body.cell.shared.lock().body.as_ref().map_or(met, ask),
        }
    }
}

struct Guarded {
    body: Held,
    meter: Option<MessageMeter>,
    tripwire: Option<Tripwire>,
    ended: bool,
}

impl Guarded {
    /// Frees the stream under it at once: a reader may keep a failed body for long.
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.end();
        Poll::Ready(Some(Err(error)))
    }

    fn end(&mut self) {
        self.ended = true;
        self.body = Held::Forever(Body::empty());
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return this.fail(error),
            None => {
                this.end();
                return Poll::Ready(None);
            }
        };
        if let (Some(meter), Some(data)) = (&mut this.meter, frame.data_ref())
            && let Err(error) = meter.feed(data)
        {
            if let Some(tripwire) = &this.tripwire {
                tripwire.trip(error);
            }
            return this.fail(error.into());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.ask(HttpBody::is_end_stream, false)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.ask(HttpBody::size_hint, SizeHint::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A body that says when it is dropped.
    fn endless() -> (Body, tokio::sync::oneshot::Receiver<()>) {
        let (held, dropped) = tokio::sync::oneshot::channel();
        let frames = futures_util::stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, BodyError>(Frame::data(Bytes::from_static(b"x")))
        });
        (Body::new(StreamBody::new(frames)), dropped)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_nobody_reads_is_dropped_at_its_deadline() {
        let (body, dropped) = endless();
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut body = body.until(deadline);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(dropped.await.is_err(), "it only goes with its body");
        assert_eq!(Instant::now(), deadline);
        assert_eq!(body.frame().await.unwrap().unwrap_err(), BodyError::Deadline);
        assert!(body.frame().await.is_none());
    }

    /// A task that has had its turn gets nothing from tokio until its next one, no timer either.
    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_kept_whatever_its_task_has_left_of_its_turn() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        (0..1_000).for_each(|_| sender.send(()).unwrap());
        std::future::poll_fn(|cx| {
            while receiver.poll_recv(cx).is_ready() {}
            Poll::Ready(())
        })
        .await;
        assert!(!receiver.is_empty());
        let (body, dropped) = endless();
        let _unread = body.until(Instant::now() + Duration::from_secs(5));
        let dropped = tokio::time::timeout(Duration::from_secs(60), dropped).await;
        assert!(dropped.is_ok_and(|ended| ended.is_err()), "it only goes with its body");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_hears_of_the_deadline() {
        let pending = futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>();
        let mut body = Body::new(StreamBody::new(pending)).until(Instant::now() + Duration::from_secs(5));
        assert_eq!(body.frame().await.unwrap().unwrap_err(), BodyError::Deadline);
    }

    fn message(len: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend(len.to_be_bytes());
        bytes.resize(5 + len as usize, 7);
        bytes
    }

    #[test]
    fn a_stream_may_be_longer_than_a_message_however_it_is_cut() {
        let stream: Vec<u8> = [10, 0, 9, 10].into_iter().flat_map(message).collect();
        for cut in 1..stream.len() {
            let mut meter = MessageMeter::new(10);
            for piece in stream.chunks(cut) {
                assert_eq!(meter.feed(piece), Ok(()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_seen_by_its_length_alone() {
        for cut in 1..20 {
            let mut stream = message(3);
            stream.extend(&message(11)[..5]);
            let mut meter = MessageMeter::new(10);
            let seen: Result<Vec<()>, TooLarge> = stream.chunks(cut).map(|piece| meter.feed(piece)).collect();
            assert_eq!(seen, Err(TooLarge { size: 11, limit: 10 }), "cut at {cut}");
        }
    }
}
