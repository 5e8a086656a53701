use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use bytes::Bytes;
use h2::SendStream;
use homing_transport::{Body, BodyError};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

use crate::pump::Pump;

/// The sending side of one exchange: its place on the connection, and its request's body on the way.
///
/// Dropping it before [`Exchange::ended`] stops the body. Together with the drop of the receiving side
/// this makes h2 reset the stream, which is how the peer learns that the call was cancelled.
pub(crate) struct Exchange {
    place: Arc<OwnedSemaphorePermit>,
    pump: Option<AbortHandle>,
    failure: Arc<OnceLock<BodyError>>,
}

impl Exchange {
    pub(crate) fn new(place: OwnedSemaphorePermit) -> Self {
        Self { place: Arc::new(place), pump: None, failure: Arc::default() }
    }

    /// Sends a body. What is in hand goes to h2 whole; a stream gets a task of its own, unless it has ended
    /// by the first look at it.
    pub(crate) async fn upload(&mut self, body: Body, mut stream: SendStream<Bytes>) {
        if let Some(bytes) = body.bytes() {
            // Refused only if the stream has ended already; the reply tells why.
            let _ = stream.send_data(bytes.clone(), true);
            return;
        }
        let failure = Arc::clone(&self.failure);
        let mut pump = Pump::new(body, stream);
        match poll_fn(|cx| Poll::Ready(Pin::new(&mut pump).poll(cx))).await {
            Poll::Ready(result) => note(&failure, result),
            Poll::Pending => {
                let place = Arc::clone(&self.place);
                let task = tokio::spawn(async move {
                    note(&failure, pump.await);
                    drop(place);
                });
                self.pump = Some(task.abort_handle());
            }
        }
    }

    /// Why the source of the request's body failed, if it did.
    pub(crate) fn failure(&self) -> Option<BodyError> {
        self.failure.get().cloned()
    }

    /// The reply has ended. A peer that still reads the request gets the rest of it.
    pub(crate) fn ended(mut self) {
        self.pump = None;
    }
}

fn note(failure: &OnceLock<BodyError>, result: Result<(), BodyError>) {
    if let Err(error) = result {
        let _ = failure.set(error);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }
}
