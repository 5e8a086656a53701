//! A request that can be sent again.
//!
//! A body in hand is cloned. A streaming one is sent as it comes, and a copy of its beginning is kept: as long
//! as all that was read is kept, another attempt can begin with the copy and go on with the stream (the idea of
//! linkerd2-proxy's `ReplayBody`). Once the whole stream was read and kept, two attempts may even run at a time. Past [`MAX_KEPT`] bytes it can't, and only a body of which little was read may
//! be sent again.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use homing_transport::{Body, BodyError};
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The most of a streaming body that is kept for another attempt, in bytes.
pub(crate) const MAX_KEPT: usize = 64 << 10;

/// A request from which attempts are made.
pub(crate) struct Replay {
    parts: http::request::Parts,
    source: Source,
}

enum Source {
    InHand(Bytes),
    Stream(Arc<Shared>),
}

/// A stream, and word for the next attempt that the one before has let go of it.
struct Shared {
    stream: Mutex<Stream>,
    let_go: Notify,
}

/// The stream and what was read of it.
struct Stream {
    rest: Rest,
    /// Copied: a piece of a stream may hold much more memory than it has bytes.
    kept: Vec<u8>,
    read: usize,
    trailers: Option<http::HeaderMap>,
    ended: bool,
}

/// What nobody has read yet.
enum Rest {
    Here(Body),
    /// An attempt reads it. A wire lets go of a body in its own time, maybe after the attempt's outcome is known.
    Lent,
    /// Too much was read, or the source failed.
    Gone,
}

impl Replay {
    pub(crate) fn new(request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        let source = if let Some(bytes) = body.bytes() {
            Source::InHand(bytes.clone())
        } else {
            let rest = Rest::Here(body);
            let stream = Stream { rest, kept: Vec::new(), read: 0, trailers: None, ended: false };
            Source::Stream(Arc::new(Shared { stream: Mutex::new(stream), let_go: Notify::new() }))
        };
        Self { parts, source }
    }

    /// Whether the whole body is in hand, so that two attempts may run at a time.
    pub(crate) fn is_in_hand(&self) -> bool {
        match &self.source {
            Source::InHand(_) => true,
            Source::Stream(shared) => shared.stream.lock().is_in_hand(),
        }
    }

    /// The request for the next attempt, as soon as the one before has let go of it, or `None` if too much of its body
    /// is gone.
    pub(crate) async fn attempt(&self) -> Option<http::Request<Body>> {
        let Source::Stream(shared) = &self.source else { return self.attempt_now() };
        let in_hand = shared.stream.lock().is_in_hand();
        let rest = if in_hand { None } else { Some(shared.borrow().await?) };
        let kept = Bytes::copy_from_slice(&shared.stream.lock().kept);
        let shared = Arc::clone(shared);
        let body = Body::new(Attempt { shared, kept, rest, borrowed: !in_hand, trailed: false });
        Some(self.request(body))
    }

    /// The request of another attempt, if its body was in hand from the start.
    pub(crate) fn attempt_now(&self) -> Option<http::Request<Body>> {
        match &self.source {
            Source::InHand(bytes) => Some(self.request(Body::from(bytes.clone()))),
            Source::Stream(_) => None,
        }
    }

    fn request(&self, body: Body) -> http::Request<Body> {
        let mut request = http::Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        // A copy of an empty map asks for memory.
        if !self.parts.headers.is_empty() {
            *request.headers_mut() = self.parts.headers.clone();
        }
        request
    }
}

impl Stream {
    /// Whether all of it was read and kept.
    const fn is_in_hand(&self) -> bool {
        self.ended && self.read <= MAX_KEPT
    }
}

impl Shared {
    async fn borrow(&self) -> Option<Body> {
        loop {
            if let Ok(rest) = self.try_borrow() {
                return rest;
            }
            // Word that came before this waits here, too: there is one waiter at most.
            self.let_go.notified().await;
        }
    }

    /// The rest, `None` if it is gone, or an error while it is lent.
    fn try_borrow(&self) -> Result<Option<Body>, ()> {
        let mut stream = self.stream.lock();
        match std::mem::replace(&mut stream.rest, Rest::Lent) {
            Rest::Here(body) => Ok(Some(body)),
            Rest::Lent => Err(()),
            Rest::Gone => {
                stream.rest = Rest::Gone;
                Ok(None)
            }
        }
    }
}

/// The body of one attempt: first what was kept, then the stream itself.
struct Attempt {
    shared: Arc<Shared>,
    kept: Bytes,
    /// The stream, if this borrowed it and it has not failed.
    rest: Option<Body>,
    borrowed: bool,
    trailed: bool,
}

impl HttpBody for Attempt {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.kept.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.kept)))));
        }
        let Some(rest) = &mut this.rest else {
            return Poll::Ready(if this.borrowed { None } else { this.kept_trailers() });
        };
        match ready!(Pin::new(rest).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.keep(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.rest = None;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                this.shared.stream.lock().ended = true;
                Poll::Ready(this.kept_trailers())
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let trailed = self.trailed || self.shared.stream.lock().trailers.is_none();
        self.kept.is_empty() && trailed && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

impl Attempt {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let mut stream = self.shared.stream.lock();
        if let Some(trailers) = frame.trailers_ref() {
            stream.trailers = Some(trailers.clone());
            self.trailed = true;
        }
        stream.ended |= self.rest.as_ref().is_some_and(HttpBody::is_end_stream);
        let Some(data) = frame.data_ref() else { return };
        stream.read = stream.read.saturating_add(data.len());
        if stream.read <= MAX_KEPT {
            stream.kept.extend_from_slice(data);
        } else {
            stream.kept = Vec::new();
        }
    }

    /// The trailers that an earlier attempt read off the stream.
    fn kept_trailers(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if std::mem::replace(&mut self.trailed, true) {
            return None;
        }
        self.shared.stream.lock().trailers.clone().map(|trailers| Ok(Frame::trailers(trailers)))
    }
}

/// Gives the stream back for the next attempt, if all that was read of it is kept.
impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.borrowed {
            return;
        }
        let mut stream = self.shared.stream.lock();
        stream.rest = match self.rest.take() {
            Some(rest) if stream.read <= MAX_KEPT => Rest::Here(rest),
            _ => Rest::Gone,
        };
        self.shared.let_go.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn stream(frames: Vec<Frame<Bytes>>) -> Replay {
        let frames = futures_util::stream::iter(frames.into_iter().map(Ok::<_, BodyError>));
        Replay::new(http::Request::new(Body::new(StreamBody::new(frames))))
    }

    fn data(len: usize) -> Frame<Bytes> {
        Frame::data(vec![7; len].into())
    }

    async fn read(request: http::Request<Body>) -> (usize, Option<http::HeaderMap>) {
        let collected = request.into_body().collect().await.unwrap();
        let trailers = collected.trailers().cloned();
        (collected.to_bytes().len(), trailers)
    }

    #[tokio::test]
    async fn a_small_stream_is_sent_again_wherever_the_attempt_broke() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("end", "1".parse().unwrap());
        for frames_read in 0..=4 {
            let replay = stream(vec![data(10), data(20), Frame::trailers(trailers.clone())]);
            let mut broken = replay.attempt().await.unwrap().into_body();
            for _ in 0..frames_read {
                broken.frame().await;
            }
            let mut next = pin!(replay.attempt());
            let early = next.as_mut().now_or_never();
            assert_eq!(early.is_some(), replay.is_in_hand(), "two attempts at once would share one stream");
            drop(broken);
            let next = match early {
                Some(next) => next,
                None => next.await,
            };
            let (len, end) = read(next.unwrap()).await;
            assert_eq!((len, end), (30, Some(trailers.clone())), "after {frames_read} frames");
        }
    }

    #[tokio::test]
    async fn a_small_stream_that_was_read_may_be_sent_twice_at_a_time() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("end", "1".parse().unwrap());
        let replay = stream(vec![data(10), data(20), Frame::trailers(trailers.clone())]);
        let mut first = replay.attempt().await.unwrap().into_body();
        for in_hand in [false, false, false] {
            assert_eq!(replay.is_in_hand(), in_hand);
            first.frame().await;
        }
        assert!(first.frame().await.is_none());
        assert!(replay.is_in_hand());
        let second = replay.attempt().now_or_never().unwrap().unwrap();
        assert_eq!(read(second).await, (30, Some(trailers.clone())));
        drop(first);
        assert_eq!(read(replay.attempt().await.unwrap()).await, (30, Some(trailers)));
    }

    #[tokio::test]
    async fn a_large_stream_is_never_in_hand() {
        let replay = stream(vec![data(MAX_KEPT), data(1)]);
        let body = replay.attempt().await.unwrap().into_body();
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), MAX_KEPT + 1);
        assert!(!replay.is_in_hand());
    }

    #[tokio::test]
    async fn a_large_stream_is_sent_again_only_while_little_was_read() {
        let replay = stream(vec![data(MAX_KEPT), data(1)]);
        drop(replay.attempt().await.unwrap());
        let mut body = replay.attempt().await.unwrap().into_body();
        body.frame().await;
        drop(body);
        let mut body = replay.attempt().await.unwrap().into_body();
        body.frame().await;
        body.frame().await;
        drop(body);
        assert!(replay.attempt().await.is_none());
    }
}
