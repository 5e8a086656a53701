//! The two halves of a stream. Each tells the peer when it is dropped before its end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use homing_transport::wire::binary;
use homing_transport::{Body, BodyError};
use quinn::{ConnectionError, ReadError, VarInt, WriteError};
use thiserror::Error;

use crate::frame::{Batch, Decoder, Frame, FrameError};

/// Why a stream or a connection ends early: application error codes (RFC 9000, section 20.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Nothing is wrong.
    Done = 0,
    /// One side gave up the exchange, or the source of its body failed.
    Cancelled = 1,
    /// The request was not shown to the handler, and will not be.
    Refused = 2,
    /// The deadline passed.
    Late = 3,
    /// The listener doesn't take who dialled for a member.
    Stranger = 4,
    /// The listener shuts down.
    Shutdown = 5,
}

impl Code {
    pub(crate) fn is(self, code: VarInt) -> bool {
        VarInt::from(self) == code
    }

    /// What ends a stream whose body failed.
    pub(crate) const fn of(error: &BodyError) -> Self {
        match error {
            BodyError::Deadline => Self::Late,
            _ => Self::Cancelled,
        }
    }
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}

/// The half that sends. A quinn stream that is dropped *finishes* itself, and what was cut short would look
/// complete; this one is reset.
#[derive(Debug)]
pub(crate) struct Sender {
    stream: quinn::SendStream,
    finished: bool,
}

impl Sender {
    pub(crate) const fn new(stream: quinn::SendStream) -> Self {
        Self { stream, finished: false }
    }

    /// Which of the connection's streams this is, in the order in which they were opened.
    pub(crate) fn index(&self) -> u64 {
        self.stream.id().index()
    }

    pub(crate) async fn write(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        let written = self.stream.write_all_chunks(batch.chunks()).await;
        batch.clear();
        written
    }

    /// As much as the windows let through now. Whether that was all; if not, the rest stays in the batch.
    pub(crate) fn write_now(&mut self, batch: &mut Batch) -> Result<bool, WriteError> {
        let written =
            pin!(self.stream.write_all_chunks(batch.chunks())).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(written) = written else { return Ok(false) };
        batch.clear();
        written.map(|()| true)
    }

    /// Nothing follows, and what was written is meant to be read. Without an END before, it reads as cut short.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
        // It can be closed already, if the peer has stopped it: then there is nothing to finish.
        let _ = self.stream.finish();
    }

    pub(crate) fn reset(&mut self, code: Code) {
        self.finished = true;
        let _ = self.stream.reset(code.into());
    }

    /// Does some work, unless the peer reads no more, or is lost, before it is done. That is asked only once the work has to wait: the answer costs
    /// more than most work that hasn't to. The work is pinned by who calls: a future that it is moved into holds it twice.
    pub(crate) async fn unless_stopped<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        if let Poll::Ready(done) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return Some(done);
        }
        tokio::select! {
            biased;
            _ = self.stream.stopped() => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.finished {
            self.reset(Code::Cancelled);
        }
    }
}

/// The half that receives. Dropped before its end it tells the peer to stop.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: quinn::RecvStream,
    decoder: Decoder,
    ended: bool,
    failure: Option<BodyError>,
    /// Who waits for a frame.
    waker: Option<Waker>,
}

/// Why there is no next frame.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ReceiveError {
    /// The peer reset its half.
    #[error("the peer gave up the exchange")]
    Reset(VarInt),
    /// The connection is gone.
    #[error("{}", explain(.0))]
    Lost(ConnectionError),
    /// The stream ended without END or TRAILERS.
    #[error("the stream ended without its END")]
    CutShort,
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It was [failed](Receiver::fail) on this side.
    #[error(transparent)]
    Failed(BodyError),
}

impl Receiver {
    /// The half, for heads and trailers of at most `max_block` bytes.
    pub(crate) fn new(stream: quinn::RecvStream, max_block: u64) -> Self {
        Self { stream, decoder: Decoder::new(max_block), ended: false, failure: None, waker: None }
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, ReceiveError>> {
        if let Some(error) = &self.failure {
            return Poll::Ready(Err(ReceiveError::Failed(error.clone())));
        }
        loop {
            if let Some(frame) = self.decoder.next()? {
                if matches!(frame, Frame::End | Frame::Trailers(_)) {
                    self.end();
                }
                return Poll::Ready(Ok(frame));
            }
            match self.poll_chunk(cx)? {
                Poll::Ready(chunk) => self.decoder.feed(chunk),
                Poll::Pending => {
                    self.waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
        }
    }

    pub(crate) async fn frame(&mut self) -> Result<Frame, ReceiveError> {
        poll_fn(|cx| self.poll_frame(cx)).await
    }

    /// The whole body, with trailers of at most `max_header_block` bytes, if it is here already. Then the stream has ended.
    pub(crate) fn whole_body(&mut self, max_header_block: usize) -> Option<Body> {
        let body = match self.decoder.whole_body()? {
            (data, None) => data.into(),
            // What is no block of trailers is an error for who reads it.
            (data, Some(block)) => {
                Body::with_trailers(data, binary::decode_trailers(block, max_header_block).ok()?)
            }
        };
        self.end();
        Some(body)
    }

    /// Tells the peer that nothing more is read.
    pub(crate) fn stop(&mut self, code: Code) {
        self.ended = true;
        let _ = self.stream.stop(code.into());
    }

    /// Ends the stream on both sides, with this error for who reads it here.
    pub(crate) fn fail(&mut self, error: BodyError) {
        self.stop(Code::Cancelled);
        self.failure = Some(error);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ReceiveError>> {
        let chunk = ready!(pin!(self.stream.read_chunk(usize::MAX, true)).poll(cx));
        Poll::Ready(match chunk {
            Ok(Some(chunk)) => Ok(chunk.bytes),
            Ok(None) | Err(ReadError::ClosedStream) => Err(ReceiveError::CutShort),
            Err(ReadError::Reset(code)) => Err(ReceiveError::Reset(code)),
            Err(ReadError::ConnectionLost(error)) => Err(ReceiveError::Lost(error)),
            // Neither unordered reads nor 0-RTT are used.
            Err(ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected) => Err(ReceiveError::CutShort),
        })
    }

    /// Takes note of the FIN that comes with an END, so that quinn lets go of the stream without another word
    /// to the peer.
    fn end(&mut self) {
        self.ended = true;
        let _ = self.poll_chunk(&mut Context::from_waker(Waker::noop()));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !self.ended {
            self.stop(Code::Cancelled);
        }
    }
}

impl From<ReceiveError> for BodyError {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Reset(code) if Code::Late.is(code) => Self::Deadline,
            ReceiveError::Reset(_) | ReceiveError::CutShort => Self::Aborted,
            ReceiveError::Lost(_) => Self::Lost,
            ReceiveError::Frame(error) => Self::Protocol(error.to_string()),
            ReceiveError::Failed(error) => error,
        }
    }
}

/// What became of a connection, in plain words.
pub(crate) fn explain(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) if Code::Shutdown.is(close.error_code) => {
            "it shut down".to_owned()
        }
        ConnectionError::ApplicationClosed(_) => "it closed the connection".to_owned(),
        ConnectionError::Reset => "it has started again, and knows the connection no more".to_owned(),
        ConnectionError::TimedOut => "it fell silent (keepalive_timeout)".to_owned(),
        ConnectionError::LocallyClosed => "the connection is over".to_owned(),
        error => error.to_string(),
    }
}
