use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use homing_transport::{Body, BoxFuture, LITTLE};
use homing_types::Execution;
use http_body::Body as HttpBody;
use tokio::time::Instant;
use tower_service::Service as TowerService;

use crate::{Declined, Granted, Service};

/// Makes a tower service over HTTP, so any tonic server or router, a [`Service`].
///
/// The request's extensions bear its [`Grant`](homing_types::Grant), its [`Access`](homing_types::Access), its
/// [`Deadline`], [`ReplyBy`], and its [`IdempotencyKey`](homing_types::IdempotencyKey) and [`MaxAge`] if it has them. A handler that can't execute now
/// calls [`decline`].
#[derive(Debug, Clone)]
pub struct HttpService<S> {
    inner: S,
    dedupes: bool,
}

impl<S> HttpService<S> {
    /// The service over `inner`, which is cloned for each request.
    #[must_use]
    pub const fn new(inner: S) -> Self {
        Self { inner, dedupes: false }
    }

    /// Says that a write with an idempotency key is executed once, however often it arrives.
    #[must_use]
    pub fn deduping(self) -> Self {
        Self { dedupes: true, ..self }
    }
}

/// When the answer to a request must be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(pub Instant);

/// When the answer to a request must have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyBy(pub Instant);

/// The oldest answer of a replica that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge(pub Duration);

/// Where a handler leaves word that it declines.
#[derive(Debug, Clone, Default)]
struct Word(Arc<OnceLock<Declined>>);

/// Declines a request from inside a tower handler: whatever response it returns is dropped, and Homing does with the
/// call what the [`Declined`] allows. Without effect on requests that Homing didn't bring.
pub fn decline(extensions: &http::Extensions, declined: Declined) {
    if let Some(word) = extensions.get::<Word>() {
        let _ = word.0.set(declined);
    }
}

impl<S, B> Service for HttpService<S>
where
    S: TowerService<http::Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        let mut inner = self.inner.clone();
        Box::pin(async move {
            let word = Word::default();
            let Granted { grant, access, deadline, reply_by, idempotency_key, max_age, mut request } =
                granted;
            let extensions = request.extensions_mut();
            extensions.insert(grant);
            extensions.insert(access);
            extensions.insert(Deadline(deadline));
            extensions.insert(ReplyBy(reply_by));
            if let Some(key) = idempotency_key {
                extensions.insert(key);
            }
            if let Some(max_age) = max_age {
                extensions.insert(MaxAge(max_age));
            }
            extensions.insert(word.clone());
            let answered = match poll_fn(|cx| inner.poll_ready(cx)).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            if let Some(declined) = word.0.get() {
                return Err(declined.clone());
            }
            match answered {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    Ok(http::Response::from_parts(parts, Body::new(body).gathered(LITTLE).await))
                }
                Err(error) => Err(Declined {
                    execution: Execution::Maybe,
                    retry_after: Duration::ZERO,
                    reason: format!("the service failed: {}", error.into()),
                }),
            }
        })
    }

    fn dedupes(&self) -> bool {
        self.dedupes
    }
}
