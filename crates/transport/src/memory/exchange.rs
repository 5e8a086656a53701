//! One request and its reply: the tasks that carry it, and how they end together.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::AbortHandle;

use super::connection::Link;
use super::pipe::{Source, Window};
use crate::{Body, BodyError, Handler, Head, Reply, SendError, SendErrorKind, serve};

/// An exchange. It holds its place on the connection until the last who takes part has dropped it.
pub(super) struct Exchange {
    id: u64,
    link: Arc<Link>,
    _place: OwnedSemaphorePermit,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    cancelled: bool,
    /// Why the request's own body failed.
    failure: Option<BodyError>,
}

impl Exchange {
    /// Sends a request and waits for its reply. Dropping this future or the reply's body cancels.
    pub(super) async fn run(
        link: &Arc<Link>,
        place: OwnedSemaphorePermit,
        head: Head,
        request: http::Request<Body>,
    ) -> Result<Reply, SendError> {
        let begin =
            |id| Arc::new(Self { id, link: Arc::clone(link), _place: place, tasks: Mutex::default() });
        let (exchange, handler) = link.host.begin(begin).ok_or_else(|| link.not_sent())?;
        let cancel = CancelOnDrop(Some(Arc::clone(&exchange)));
        let (mut parts, body) = request.into_parts();
        // Real wires carry no extensions.
        parts.extensions.clear();
        let body = exchange.receive(body);
        let (sender, receiver) = oneshot::channel();
        let request = http::Request::from_parts(parts, body);
        let answering = Arc::clone(&exchange).answer(handler, head, request, sender);
        exchange.spawn(link.host.runtime(), answering);
        let reply = receiver.await.map_err(|_| exchange.why_no_reply())?;
        Ok(cancel.over(reply))
    }

    /// Stops all that is done for the exchange, on both sides.
    pub(super) fn cancel(&self) {
        let handles = {
            let mut tasks = self.tasks.lock();
            tasks.cancelled = true;
            std::mem::take(&mut tasks.handles)
        };
        handles.iter().for_each(AbortHandle::abort);
    }

    /// The request's body as the handler reads it, while a task of its own moves it there.
    fn receive(self: &Arc<Self>, body: Body) -> Body {
        match self.pass(&self.link.up, body) {
            Passage::Whole(body) => body,
            Passage::Piped { body, source, sink } => {
                let exchange = Arc::clone(self);
                self.spawn(&Handle::current(), async move {
                    if let Err(failure) = source.pump(body).await {
                        exchange.tasks.lock().failure = Some(failure);
                        exchange.cancel();
                    }
                });
                sink
            }
        }
    }

    /// Lets the handler answer, and moves the reply's body to its reader.
    async fn answer(
        self: Arc<Self>,
        handler: Arc<dyn Handler>,
        head: Head,
        request: http::Request<Body>,
        sender: oneshot::Sender<Reply>,
    ) {
        let link = &self.link;
        let Reply { head, response } =
            serve(&*handler, link.from.clone(), head, request, link.host.limits()).await;
        let (mut parts, body) = response.into_parts();
        parts.extensions.clear();
        let reply = |body| Reply { head, response: http::Response::from_parts(parts, body) };
        match self.pass(&link.down, body) {
            Passage::Whole(body) => {
                // Nobody waits for it any more: the exchange was cancelled.
                let _ = sender.send(reply(body));
            }
            Passage::Piped { body, source, sink } => {
                if sender.send(reply(sink)).is_ok() && source.pump(body).await.is_err() {
                    self.cancel();
                }
            }
        }
    }

    fn pass(&self, window: &Window, body: Body) -> Passage {
        if window.holds(&body) {
            return Passage::Whole(body);
        }
        let (source, sink) = window.pipe(Arc::clone(&self.link.host));
        Passage::Piped { body, source, sink: Body::new(sink) }
    }

    fn spawn(&self, runtime: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock();
        if !tasks.cancelled {
            tasks.handles.push(runtime.spawn(task).abort_handle());
        }
    }

    fn why_no_reply(&self) -> SendError {
        let failure = self.tasks.lock().failure.take();
        if let Some(failure) = failure {
            return self.link.maybe_sent(SendErrorKind::Body, &failure.to_string());
        }
        let lost = self.link.host.is_lost();
        let why = if lost { "the connection was lost" } else { "it gave the request up" };
        self.link.maybe_sent(SendErrorKind::Lost, &format!("{why} before the reply came"))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.link.host.end(self.id);
    }
}

/// How a body gets to the other side.
enum Passage {
    Whole(Body),
    Piped { body: Body, source: Source, sink: Body },
}

/// Cancels the exchange if the one who sent the request loses interest before the end of the reply.
struct CancelOnDrop(Option<Arc<Exchange>>);

impl CancelOnDrop {
    /// The reply, whose body now stands for the sender's interest.
    fn over(mut self, reply: Reply) -> Reply {
        if reply.response.body().bytes().is_some() {
            self.0 = None;
            return reply;
        }
        let Reply { head, response } = reply;
        Reply { head, response: response.map(|body| Body::new(Reading { body, cancel: self })) }
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            exchange.cancel();
        }
    }
}

/// The reply's body as it is read.
struct Reading {
    body: Body,
    cancel: CancelOnDrop,
}

impl HttpBody for Reading {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.body.is_end_stream() {
            self.cancel.0 = None;
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
