use std::future::Future;
use std::sync::Arc;

use homing_types::NodeId;

use crate::{Body, BoxFuture, Handler, Head, Reply, ReplyHead};

/// What a handler was given.
pub(super) struct Call {
    pub(super) from: NodeId,
    pub(super) head: Head,
    pub(super) request: http::Request<Body>,
}

impl Call {
    pub(super) fn is_to(&self, path: &str) -> bool {
        self.request.uri().path() == path
    }
}

/// A handler from a closure.
pub(super) fn handler<F, R>(answer: F) -> Arc<dyn Handler>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    Arc::new(Closure(answer))
}

/// Sends every request's body back as it comes in, trailers included.
pub(super) fn echo() -> Arc<dyn Handler> {
    handler(|call| async { ok(call.request.into_body()) })
}

/// The service's own answer, with this body.
pub(super) fn ok(body: impl Into<Body>) -> Reply {
    Reply { head: ReplyHead::default(), response: http::Response::new(body.into()) }
}

struct Closure<F>(F);

impl<F, R> Handler for Closure<F>
where
    F: Fn(Call) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    fn handle(&self, from: NodeId, head: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        Box::pin((self.0)(Call { from, head, request }))
    }
}
