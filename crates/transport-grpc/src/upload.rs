use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::SendStream;
use homing_transport::{Body, BodyError};
use tokio::task::AbortHandle;

use crate::pump::Pump;

/// A request's body on its way.
///
/// Dropping it before [`Upload::reply_ended`] stops the body. Together with the drop of the receiving side
/// this makes h2 reset the stream, which is how the peer learns that the call was cancelled.
pub(crate) enum Upload {
    /// All of the body is with h2, or nobody wants more of it.
    Done,
    /// The body's source failed, and the stream was reset.
    Failed(BodyError),
    /// The call moves the body until its reply's head is there.
    InCall(Pump),
    /// From then on the body has a task of its own.
    InTask(Task),
}

/// The task of a body that is still sent when the reply's head has come.
pub(crate) struct Task {
    abort: Option<AbortHandle>,
    failure: Arc<OnceLock<BodyError>>,
}

impl Upload {
    /// What is in hand goes to h2 whole.
    pub(crate) fn new(body: Body, mut stream: SendStream<Bytes>) -> Self {
        match body.bytes() {
            Some(bytes) => {
                // Refused only if the stream has ended already; the reply tells why.
                let _ = stream.send_data(bytes.clone(), true);
                Self::Done
            }
            None => Self::InCall(Pump::new(body, stream)),
        }
    }

    /// Moves the body on while the call waits for its reply.
    pub(crate) fn advance(&mut self, cx: &mut Context<'_>) {
        if let Self::InCall(pump) = self
            && let Poll::Ready(result) = Pin::new(pump).poll(cx)
        {
            *self = result.map_or_else(Self::Failed, |()| Self::Done);
        }
    }

    /// The reply's head is there, and the call ends: what is left of the body goes on by itself.
    pub(crate) fn outlive_call(self) -> Self {
        let Self::InCall(pump) = self else {
            return self;
        };
        let failure: Arc<OnceLock<BodyError>> = Arc::default();
        let noted = Arc::clone(&failure);
        let task = tokio::spawn(async move {
            if let Err(error) = pump.await {
                let _ = noted.set(error);
            }
        });
        Self::InTask(Task { abort: Some(task.abort_handle()), failure })
    }

    /// Why the source of the request's body failed, if it did.
    pub(crate) fn failure(&self) -> Option<BodyError> {
        match self {
            Self::Done | Self::InCall(_) => None,
            Self::Failed(error) => Some(error.clone()),
            Self::InTask(task) => task.failure.get().cloned(),
        }
    }

    /// The reply has ended. A peer that still reads the request gets the rest of it.
    pub(crate) fn reply_ended(self) {
        if let Self::InTask(mut task) = self {
            task.abort = None;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(task) = &self.abort {
            task.abort();
        }
    }
}
