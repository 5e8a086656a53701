//! A body on its way from one side to the other, held back where its reader is slow.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::host::Host;
use crate::{Body, BodyError, Limits};

/// The longest piece that a frame is cut to.
const MAX_PIECE: u32 = 64 << 10;

/// The unread bytes that one direction of a connection may hold.
pub(super) struct Window {
    connection: Arc<Semaphore>,
    stream_window: u32,
    piece: u32,
}

impl Window {
    /// The windows of one who reads with these limits.
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            connection: Arc::new(Semaphore::new(limits.connection_window as usize)),
            stream_window: limits.stream_window,
            piece: MAX_PIECE.min(limits.stream_window).min(limits.connection_window).max(1),
        }
    }

    /// Whether a body may pass as a whole: it is in hand and fits the window of its stream.
    pub(super) fn holds(&self, body: &Body) -> bool {
        body.bytes().is_some_and(|bytes| bytes.len() <= self.stream_window as usize)
    }

    /// The two ends of a pipe. It breaks when its [`Source`] is dropped before the end.
    pub(super) fn pipe(&self, host: Arc<Host>) -> (Source, Sink) {
        // What the channel holds is bounded by the window: every piece takes at least one byte of it.
        let (sender, receiver) = mpsc::unbounded_channel();
        let source = Source {
            stream: Arc::new(Semaphore::new(self.stream_window.max(1) as usize)),
            connection: Arc::clone(&self.connection),
            piece: self.piece,
            sender,
        };
        (source, Sink { receiver, host, ended: false })
    }
}

enum Item {
    /// Some bytes, and the room in both windows that they give back when they are read.
    Data { bytes: Bytes, _room: Option<[OwnedSemaphorePermit; 2]> },
    /// The end, with trailers.
    Trailers(Frame<Bytes>),
    /// The end.
    End,
}

/// The end of a pipe that bytes go into.
pub(super) struct Source {
    stream: Arc<Semaphore>,
    connection: Arc<Semaphore>,
    piece: u32,
    sender: mpsc::UnboundedSender<Item>,
}

impl Source {
    /// Moves a body through the pipe, until its end or until nobody reads it any more.
    ///
    /// # Errors
    /// The body's own; then the pipe breaks.
    pub(super) async fn pump(self, mut body: Body) -> Result<(), BodyError> {
        tokio::select! {
            biased;
            () = self.sender.closed() => Ok(()),
            result = self.push_all(&mut body) => result,
        }
    }

    async fn push_all(&self, body: &mut Body) -> Result<(), BodyError> {
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) => self.push_data(data).await,
                Err(trailers) => {
                    self.push(Item::Trailers(trailers));
                    return Ok(());
                }
            }
        }
        self.push(Item::End);
        Ok(())
    }

    async fn push_data(&self, mut data: Bytes) {
        while !data.is_empty() {
            let len = u32::try_from(data.len()).unwrap_or(u32::MAX).min(self.piece);
            let room = async {
                let stream = Arc::clone(&self.stream).acquire_many_owned(len).await.ok()?;
                let connection = Arc::clone(&self.connection).acquire_many_owned(len).await.ok()?;
                Some([stream, connection])
            };
            let bytes = data.split_to(len as usize);
            self.push(Item::Data { bytes, _room: room.await });
        }
    }

    /// A reader that is gone stops the pump elsewhere.
    fn push(&self, item: Item) {
        let _ = self.sender.send(item);
    }
}

/// The end of a pipe that is read.
pub(super) struct Sink {
    receiver: mpsc::UnboundedReceiver<Item>,
    host: Arc<Host>,
    ended: bool,
}

impl Sink {
    fn broken(&self) -> BodyError {
        if self.host.is_lost() { BodyError::Lost } else { BodyError::Aborted }
    }
}

impl HttpBody for Sink {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = ready!(self.receiver.poll_recv(cx));
        self.ended = !matches!(item, Some(Item::Data { .. }));
        Poll::Ready(match item {
            Some(Item::Data { bytes, .. }) => Some(Ok(Frame::data(bytes))),
            Some(Item::Trailers(trailers)) => Some(Ok(trailers)),
            Some(Item::End) => None,
            None => Some(Err(self.broken())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
