//! Bodies: what pumps one into a stream, and what reads one from a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use homing_transport::wire::binary;
use homing_transport::{Body, BodyError};
use http_body::{Body as HttpBody, Frame as BodyFrame};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use crate::frame::{Batch, Frame};
use crate::gate::Pass;
use crate::stream::{Code, Receiver, Sender};

/// Writes what `batch` holds and then `body` to its end. What is ready together leaves together.
///
/// That the peer reads no more, or is lost, is no error: the half that receives says so.
///
/// # Errors
/// That of the body. What was gathered before is in `batch` then.
pub(crate) async fn pump(sender: &mut Sender, batch: &mut Batch, mut body: Body) -> Result<(), BodyError> {
    loop {
        let gathered = poll_fn(|cx| poll_gather(&mut body, batch, cx));
        let Some(more) = sender.unless_stopped(pin!(gathered)).await.transpose()? else { return Ok(()) };
        if sender.write(batch).await.is_err() {
            return Ok(());
        }
        if let More::No = more {
            sender.finish();
            return Ok(());
        }
    }
}

/// Writes what `batch` holds and then `body`, if that is in hand, as far as it goes without waiting. Tells whether nothing is left to do: all is written, or the
/// peer reads no more or is lost.
pub(crate) fn write_in_hand(sender: &mut Sender, batch: &mut Batch, body: &Body) -> bool {
    let Some(bytes) = body.bytes() else { return false };
    batch.data(bytes.clone());
    batch.end();
    match sender.write_now(batch) {
        Ok(true) => {
            sender.finish();
            true
        }
        // The windows are full: what is left waits in the batch, and nothing follows it.
        Ok(false) => false,
        Err(_) => true,
    }
}

/// Whether more of a body follows.
enum More {
    Yes,
    No,
}

/// Adds what is ready of `body` to `batch`, and waits only if that leaves it empty.
fn poll_gather(body: &mut Body, batch: &mut Batch, cx: &mut Context<'_>) -> Poll<Result<More, BodyError>> {
    if batch.has_ended() {
        return Poll::Ready(Ok(More::No));
    }
    while !batch.is_full() {
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => batch.data(data),
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    batch.trailers(|out| binary::encode_trailers(&trailers, out));
                    return Poll::Ready(Ok(More::No));
                }
            },
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(None) => {
                batch.end();
                return Poll::Ready(Ok(More::No));
            }
            Poll::Pending if batch.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Ok(More::Yes))
}

/// A request's body on its way, in a task of its own unless it was in hand and is all written at once: the reply may come
/// and be read meanwhile. Dropping it cuts the body short.
#[derive(Debug)]
pub(crate) struct Upload(Option<AbortHandle>);

impl Upload {
    /// Writes what is in hand as far as that goes without waiting. If the body fails, so does the reply.
    pub(crate) fn start(
        mut sender: Sender,
        mut batch: Batch,
        body: Body,
        pass: &Pass,
        reply: Receiver,
    ) -> (Self, Reading) {
        if write_in_hand(&mut sender, &mut batch, &body) {
            return (Self(None), Reading::Alone(reply));
        }
        let (pass, reply) = (pass.clone(), Arc::new(Mutex::new(reply)));
        let failing = Arc::clone(&reply);
        let uploading = async move {
            if let Err(error) = pump(&mut sender, &mut batch, body).await {
                sender.reset(Code::of(&error));
                failing.lock().fail(error);
            }
            drop(pass);
        };
        (Self(Some(tokio::spawn(uploading).abort_handle())), Reading::Shared(reply))
    }

    /// Lets the body go on although the reply is complete: the peer stops it if it wants no more.
    fn go_on(&mut self) {
        self.0 = None;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Who reads what arrives: its reader alone, or with an upload that may make it fail.
#[derive(Debug)]
pub(crate) enum Reading {
    Alone(Receiver),
    Shared(Arc<Mutex<Receiver>>),
}

impl Reading {
    pub(crate) fn with<T>(&mut self, read: impl FnOnce(&mut Receiver) -> T) -> T {
        match self {
            Self::Alone(receiver) => read(receiver),
            Self::Shared(receiver) => read(&mut receiver.lock()),
        }
    }
}

/// A body that arrives. Dropping it before its end cancels the exchange.
#[derive(Debug)]
pub(crate) struct Incoming {
    reading: Reading,
    max_header_block: usize,
    /// Of a reply: the request's body that may still be on its way.
    upload: Option<Upload>,
    pass: Option<Pass>,
    ended: bool,
}

impl Incoming {
    /// The body of a request. One that is all here already is no stream.
    pub(crate) fn of_request(mut receiver: Receiver, max_header_block: usize) -> Body {
        match receiver.whole_body(max_header_block) {
            Some(body) => body,
            None => Body::new(Self {
                reading: Reading::Alone(receiver),
                max_header_block,
                upload: None,
                pass: None,
                ended: false,
            }),
        }
    }

    /// The body of a reply. One that is all here already is no stream.
    pub(crate) fn of_reply(
        mut reading: Reading,
        max_header_block: usize,
        mut upload: Upload,
        pass: Pass,
    ) -> Body {
        match reading.with(|receiver| receiver.whole_body(max_header_block)) {
            Some(body) => {
                upload.go_on();
                body
            }
            None => Body::new(Self {
                reading,
                max_header_block,
                upload: Some(upload),
                pass: Some(pass),
                ended: false,
            }),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.pass = None;
        if let Some(mut upload) = self.upload.take() {
            upload.go_on();
        }
    }

    /// Frees the stream at once: a reader may keep a failed body for long.
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        self.ended = true;
        self.reading.with(|receiver| receiver.stop(Code::Cancelled));
        self.upload = None;
        self.pass = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match ready!(this.reading.with(|receiver| receiver.poll_frame(cx))) {
            Ok(Frame::Data(data)) => Poll::Ready(Some(Ok(BodyFrame::data(data)))),
            Ok(Frame::End) => {
                this.end();
                Poll::Ready(None)
            }
            Ok(Frame::Trailers(block)) => match binary::decode_trailers(block, this.max_header_block) {
                Ok(trailers) => {
                    this.end();
                    Poll::Ready(Some(Ok(BodyFrame::trailers(trailers))))
                }
                Err(error) => this.fail(BodyError::Protocol(error.to_string())),
            },
            Ok(_) => this.fail(BodyError::Protocol("a frame stands where it can't".to_owned())),
            Err(error) => this.fail(error.into()),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
