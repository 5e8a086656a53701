use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use thiserror::Error;

use crate::TooLarge;

/// The body of a request or a response: streams frames and then, maybe, trailers.
///
/// A body that is in hand already ([`Body::from`] bytes) is not boxed. Dropping a body before its end cancels its stream.
pub struct Body(Inner);

enum Inner {
    Full(Bytes),
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
}

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
        Self(Inner::Full(Bytes::new()))
    }

    /// A body that streams.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        Self(Inner::Stream(Box::pin(http_body_util::BodyExt::map_err(body, BodyError::from_source))))
    }

    /// The same body, which keeps `held` until it has ended or is dropped. One that is in hand keeps nothing.
    #[must_use]
    pub fn holding<T: Send + Unpin + 'static>(self, held: T) -> Self {
        if self.bytes().is_some() { self } else { Self::new(Holding { body: self, held: Some(held) }) }
    }

    /// The bytes, if all are in hand.
    #[must_use]
    pub const fn bytes(&self) -> Option<&Bytes> {
        match &self.0 {
            Inner::Full(bytes) => Some(bytes),
            Inner::Stream(_) => None,
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
        Self(Inner::Full(bytes))
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
            Inner::Full(bytes) => write!(f, "Body({} bytes)", bytes.len()),
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
            Inner::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Inner::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Inner::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Full(bytes) => bytes.is_empty(),
            Inner::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(stream) => stream.size_hint(),
        }
    }
}
