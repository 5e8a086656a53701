use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use thiserror::Error;

use crate::TooLarge;

/// The body of a request or a response: streams frames and then, maybe, trailers.
///
/// A body that is in hand already ([`Body::from`] bytes) is not boxed. Dropping a body before its end cancels its stream.
pub struct Body(Inner);

enum Inner {
    InHand { data: Bytes, trailers: Option<Box<HeaderMap>> },
    Stream(Stream),
}

/// What is copied at little cost, in bytes.
const SMALL: usize = 1 << 10;

/// So much of a body that comes in or goes out is taken at once, if it is there: it holds no more memory than a body that waits in the buffers of
/// its connection.
pub const LITTLE: usize = 32 << 10;

type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>;

/// Why a body ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The peer gave up: it cancelled, or its own source failed.
    #[error("the peer cut the body short")]
    Aborted,
    /// The connection was lost.
    #[error("the connection was lost in the middle of the body")]
    Lost,
    /// The deadline of the exchange passed.
    #[error("the deadline passed in the middle of the body")]
    Deadline,
    /// A gRPC message in the body is over the limit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The peer broke the protocol.
    #[error("the body breaks the protocol: {0}")]
    Protocol(String),
    /// The source of the body failed.
    #[error("the source of the body failed: {0}")]
    Source(String),
}

impl Body {
    /// A body without bytes or trailers.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Inner::InHand { data: Bytes::new(), trailers: None })
    }

    /// A body that is in hand with what follows it.
    #[must_use]
    pub fn with_trailers(data: Bytes, trailers: HeaderMap) -> Self {
        Self(Inner::InHand { data, trailers: Some(Box::new(trailers)) })
    }

    /// A body that streams. One that is a [`Body`] already stays as it is.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let mut any = Some(body);
        if let Some(ours) = (&mut any as &mut dyn Any).downcast_mut::<Option<Self>>() {
            return ours.take().unwrap_or_default();
        }
        let Some(body) = any else { return Self::empty() };
        Self(Inner::Stream(Box::pin(http_body_util::BodyExt::map_err(body, BodyError::from_source))))
    }

    /// The same body, in hand if it is one piece of at most so many bytes that is there already, and what follows it, too. It waits for nothing: whoever
    /// reads on asks again for what has not come. A small piece is copied: it may hold much more memory than it has bytes.
    #[must_use]
    pub fn gathered(self, most: usize) -> Self {
        let Inner::Stream(mut rest) = self.0 else { return self };
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = None;
        let second = loop {
            match rest.as_mut().poll_frame(&mut cx) {
                Poll::Ready(None) => return first.map_or_else(Self::empty, Self::from),
                Poll::Ready(Some(Ok(frame))) if first.is_none() && frame.is_data() => {
                    first = frame
                        .into_data()
                        .ok()
                        .map(|data| if data.len() <= SMALL { Bytes::copy_from_slice(&data) } else { data });
                    if first.as_ref().is_some_and(|data: &Bytes| data.len() > most) {
                        break None;
                    }
                }
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    return Self::with_trailers(first.unwrap_or_default(), trailers);
                }
                Poll::Ready(other) => break other,
                Poll::Pending => break None,
            }
        };
        Self(Inner::Stream(Box::pin(Begun { first, second, rest })))
    }

    /// The same body, which keeps `held` until it has ended or is dropped. One that is in hand keeps nothing.
    #[must_use]
    pub fn holding<T: Send + Unpin + 'static>(self, held: T) -> Self {
        if self.in_hand().is_some() { self } else { Self::new(Holding { body: self, held: Some(held) }) }
    }

    /// The bytes, if all are in hand, whatever follows them.
    #[must_use]
    pub const fn in_hand(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::InHand { data, .. } => Some(data),
            Inner::Stream(_) => None,
        }
    }

    /// The bytes, if all are in hand and nothing follows them.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::InHand { data, trailers: None } => Some(data),
            _ => None,
        }
    }

    /// The bytes and what follows them, if all is in hand; else the body itself.
    ///
    /// # Errors
    /// The body, if it streams.
    pub fn into_in_hand(self) -> Result<(Bytes, Option<HeaderMap>), Self> {
        match self.0 {
            Inner::InHand { data, trailers } => Ok((data, trailers.map(|trailers| *trailers))),
            stream @ Inner::Stream(_) => Err(Self(stream)),
        }
    }
}

impl BodyError {
    /// What an error of some source body says, if it is one of ours; else [`BodyError::Source`].
    pub fn from_source(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let error = error.into();
        let mut source: Option<&(dyn StdError + 'static)> = Some(&*error);
        while let Some(this) = source {
            if let Some(ours) = this.downcast_ref::<Self>() {
                return ours.clone();
            }
            source = this.source();
        }
        Self::Source(error.to_string())
    }
}

/// A stream, and what was read of it ahead.
struct Begun {
    first: Option<Bytes>,
    second: Option<Result<Frame<Bytes>, BodyError>>,
    rest: Stream,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take().map(|data| Ok(Frame::data(data))).or_else(|| self.second.take()) {
            Some(frame) => Poll::Ready(Some(frame)),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.second.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let second = self.second.as_ref().and_then(|second| second.as_ref().ok()?.data_ref());
        let ahead = self.first.iter().chain(second).map(|data| data.len() as u64).sum::<u64>();
        let rest = self.rest.size_hint();
        let mut hint = at_least(rest.lower() + ahead);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + ahead);
        }
        hint
    }
}

fn at_least(bytes: u64) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(bytes);
    hint
}

struct Holding<T> {
    body: Body,
    held: Option<T>,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(&frame, Some(Ok(frame)) if frame.is_data()) {
            self.held = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::InHand { data: bytes, trailers: None })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::InHand { data, .. } => write!(f, "Body({} bytes)", data.len()),
            Inner::Stream(_) => f.write_str("Body(stream)"),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::InHand { data, trailers } if data.is_empty() => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(*trailers))))
            }
            Inner::InHand { data, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(data))))),
            Inner::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::InHand { data, trailers } => data.is_empty() && trailers.is_none(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::InHand { data, trailers: None } => SizeHint::with_exact(data.len() as u64),
            // HTTP/1.1 sends no trailers after a body whose length it tells.
            Inner::InHand { data, trailers: Some(_) } => at_least(data.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Frames = Vec<Result<Frame<Bytes>, BodyError>>;

    fn data(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
        Ok(Frame::data(text.into()))
    }

    fn told(frames: &Frames) -> Vec<String> {
        frames.iter().map(|frame| format!("{frame:?}")).collect()
    }

    async fn read(mut body: Body) -> Frames {
        let mut frames = Vec::new();
        while let Some(frame) = body.frame().await {
            frames.push(frame);
        }
        frames
    }

    #[tokio::test]
    async fn what_is_there_in_one_piece_is_gathered_and_all_else_streams_as_before() {
        let streams: [(bool, fn() -> Frames); 7] = [
            (true, || vec![]),
            (true, || vec![data("a")]),
            (false, || vec![data("a"), data("b"), data("c")]),
            (true, || vec![data("a"), Ok(Frame::trailers(HeaderMap::new()))]),
            (true, || vec![Ok(Frame::trailers(HeaderMap::new()))]),
            (false, || vec![data("a"), Err(BodyError::Aborted)]),
            (false, || vec![Err(BodyError::Aborted)]),
        ];
        for (in_hand, frames) in streams {
            let body = Body::new(StreamBody::new(stream::iter(frames())));
            let gathered = body.gathered(LITTLE);
            assert_eq!(gathered.in_hand().is_some(), in_hand, "{:?}", frames());
            let trailed = frames().iter().any(|frame| matches!(frame, Ok(frame) if frame.is_trailers()));
            assert!(
                !(trailed && gathered.size_hint().exact().is_some()),
                "a length leaves no room for trailers"
            );
            assert_eq!(told(&read(gathered).await), told(&frames()));
        }
    }

    #[tokio::test]
    async fn what_is_large_is_not_gathered_and_its_length_is_told_as_before() {
        let body = Body::new(http_body_util::Full::new(Bytes::from_static(b"abc")));
        let gathered = body.gathered(2);
        assert!(gathered.in_hand().is_none());
        assert_eq!(gathered.size_hint().exact(), Some(3));
        assert_eq!(told(&read(gathered).await), told(&vec![data("abc")]));
    }

    #[tokio::test]
    async fn what_has_not_come_yet_is_not_waited_for() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let frames = stream::poll_fn(move |cx| receiver.poll_recv(cx));
        sender.send(data("a")).unwrap();
        let body = Body::new(StreamBody::new(frames)).gathered(LITTLE);
        assert!(body.in_hand().is_none() && !body.is_end_stream());
        sender.send(data("b")).unwrap();
        drop(sender);
        assert_eq!(told(&read(body).await), told(&vec![data("a"), data("b")]));
    }

    #[test]
    fn a_body_of_a_body_is_that_body() {
        assert_eq!(Body::new(Body::from("a")).bytes().map(|bytes| &bytes[..]), Some(&b"a"[..]));
    }
}
