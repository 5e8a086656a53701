use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use homing_transport::{Body, BodyError};
use http_body::Body as _;

/// Moves a body into a stream, as fast as the peer reads.
///
/// It ends well when the body has ended or the peer wants no more of it. If the body's source fails it
/// resets the stream, so that a body that was cut short never looks complete.
pub(crate) struct Pump {
    body: Body,
    stream: SendStream<Bytes>,
    waiting: Option<Chunk>,
}

/// A piece of the body that waits for room in the peer's window.
struct Chunk {
    data: Bytes,
    last: bool,
}

impl Pump {
    pub(crate) const fn new(body: Body, stream: SendStream<Bytes>) -> Self {
        Self { body, stream, waiting: None }
    }

    /// Sends the waiting piece once there is room for its first byte; h2 keeps the rest until there is more.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let Some(chunk) = self.waiting.take() else {
            return Poll::Ready(Progress::More);
        };
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Progress::Ended),
                Poll::Pending => {
                    self.waiting = Some(chunk);
                    return Poll::Pending;
                }
            }
        }
        let sent = self.stream.send_data(chunk.data, chunk.last).is_ok();
        Poll::Ready(if sent && !chunk.last { Progress::More } else { Progress::Ended })
    }

    /// Takes the next piece of the body. What h2 refuses to send belongs to a stream that has ended.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Progress, BodyError>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.stream.send_reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(Err(error));
            }
            None => {
                let _ = self.stream.send_data(Bytes::new(), true);
                return Poll::Ready(Ok(Progress::Ended));
            }
        };
        match frame.into_data() {
            // h2 closes a connection that brings more than 100 empty frames.
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                // One byte: asking for more would hold back window that other streams can use.
                self.stream.reserve_capacity(1);
                self.waiting = Some(Chunk { data, last: self.body.is_end_stream() });
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    self.stream.reserve_capacity(0);
                    let _ = self.stream.send_trailers(trailers);
                    return Poll::Ready(Ok(Progress::Ended));
                }
            }
        }
        Poll::Ready(Ok(Progress::More))
    }
}

enum Progress {
    More,
    Ended,
}

impl Future for Pump {
    type Output = Result<(), BodyError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            // Ready means that the peer reset the stream, or that the connection is lost.
            if this.stream.poll_reset(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if let Progress::Ended = ready!(this.poll_waiting(cx)) {
                return Poll::Ready(Ok(()));
            }
            if let Progress::Ended = ready!(this.poll_body(cx))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
