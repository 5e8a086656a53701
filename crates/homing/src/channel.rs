use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use homing_router::Router;
use homing_transport::{Body, BoxFuture, is_grpc};
use http::{Request, Response};
use http_body::Body as HttpBody;
use tokio::time::Instant;
use tower_service::Service;

use crate::{caller, failure};

/// Enters calls at the node in this very process: a tower service, so any tonic client works on it.
///
/// A request says with its headers what a caller over the network would: `homing-space`, `homing-access`, its timeout,
/// its idempotency key. What can't be answered comes back as a gRPC status or an HTTP status, never as an error.
#[derive(Clone)]
pub struct Channel {
    router: Arc<Router>,
}

impl Channel {
    pub(crate) const fn new(router: Arc<Router>) -> Self {
        Self { router }
    }

    /// Brings one request to a node that owns its space.
    pub(crate) async fn enter(router: Arc<Router>, mut request: Request<Body>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        // A node that can't keep up must not spend on a refusal what an answer needs.
        if let Err(reason) = router.has_room() {
            return failure::overloaded(grpc, &reason);
        }
        let response = match caller::read(request.headers_mut(), Instant::now()) {
            Ok(call) => match router.call(call, request).await {
                Ok(answer) => caller::answer(answer),
                Err(error) => {
                    tracing::debug!(%error, "a call failed");
                    failure::failed(grpc, &error)
                }
            },
            Err(error) => failure::wrong_input(grpc, &error),
        };
        if grpc { response.map(failure::explain_cut) } else { response }
    }
}

impl<B> Service<Request<B>> for Channel
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (router, request) = (Arc::clone(&self.router), request.map(Body::new));
        // Made where it is awaited: one that is moved into another future is held there twice.
        Box::pin(async move { Ok(Self::enter(router, request).await) })
    }
}
