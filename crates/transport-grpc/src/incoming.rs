use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use homing_transport::{Body, BodyError, LITTLE};
use http_body::{Body as HttpBody, Frame};

use crate::fault;
use crate::upload::Upload;

/// Whether so little of a body is there that it may be read before anybody asks for it: what is read gives the peer room for more.
pub(crate) fn is_little(stream: &mut RecvStream) -> bool {
    stream.flow_control().used_capacity() <= LITTLE
}

/// A body that comes in. It gives the peer room for more as it is read.
pub(crate) struct Incoming {
    stream: RecvStream,
    state: State,
    upload: Option<Upload>,
}

enum State {
    Data,
    Trailers,
    Ended,
}

impl Incoming {
    /// The body of a request.
    pub(crate) fn request(stream: RecvStream) -> Body {
        Self::body(stream, None)
    }

    /// The body of a reply. While it is held, the rest of the request is sent.
    pub(crate) fn reply(stream: RecvStream, upload: Upload) -> Body {
        Self::body(stream, Some(upload))
    }

    fn body(stream: RecvStream, upload: Option<Upload>) -> Body {
        let mut this = Self { stream, state: State::Data, upload };
        if this.stream.is_end_stream() {
            this.end();
            return Body::empty();
        }
        Body::new(this)
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        loop {
            let data = match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => data,
                end => return Poll::Ready(end),
            };
            // Can't be more than came in.
            let _ = self.stream.flow_control().release_capacity(data.len());
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(data)));
            }
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        if let Some(upload) = self.upload.take() {
            upload.reply_ended();
        }
    }

    /// A failed reply stops the request at once, since its reader may keep it.
    fn fail(&mut self, error: &h2::Error) -> BodyError {
        self.state = State::Ended;
        // If the stream was reset because the request's body failed, that is the reason, not the reset.
        self.upload.take().and_then(|upload| upload.failure()).unwrap_or_else(|| fault::body(error))
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let State::Data = this.state {
            match ready!(this.poll_data(cx)) {
                Some(Ok(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Err(error)) => return Poll::Ready(Some(Err(this.fail(&error)))),
                None => this.state = State::Trailers,
            }
        }
        if let State::Ended = this.state {
            return Poll::Ready(None);
        }
        match ready!(this.stream.poll_trailers(cx)) {
            Ok(Some(trailers)) => {
                this.end();
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Err(error) => Poll::Ready(Some(Err(this.fail(&error)))),
            Ok(None) => {
                this.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) || self.stream.is_end_stream()
    }
}
