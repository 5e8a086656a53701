use std::error::Error as StdError;
use std::future::poll_fn;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use homing_transport::{Body, BoxFuture, LITTLE};
use homing_types::{Access, Execution, Grant, IdempotencyKey};
use http_body::Body as HttpBody;
use tokio::time::Instant;
use tower_service::Service as TowerService;

use crate::{Declined, Granted, Service};

/// Makes a tower service over HTTP, so any tonic server or router, a [`Service`].
///
/// The request's extensions bear its [`CallInfo`]. A handler that can't execute now calls [`CallInfo::decline`].
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

/// What a tower handler is told of its request, as an extension.
#[derive(Debug, Clone)]
pub struct CallInfo {
    /// The right to execute it: for which space, in which role, under which epoch.
    pub grant: Grant,
    /// What the request wants of the space.
    pub access: Access,
    /// When the answer must be ready.
    pub deadline: Instant,
    /// When it must have begun.
    pub reply_by: Instant,
    /// Names the write.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The oldest answer of a replica that will do.
    pub max_age: Option<Duration>,
    declined: Arc<OnceLock<Declined>>,
}

impl CallInfo {
    /// Declines the request: whatever response the handler returns is dropped, and Homing does with the call what the [`Declined`]
    /// allows.
    pub fn decline(&self, declined: Declined) {
        let _ = self.declined.set(declined);
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
        let Granted { grant, access, deadline, reply_by, idempotency_key, max_age, mut request } = granted;
        let declined = Arc::default();
        let info = CallInfo {
            grant,
            access,
            deadline,
            reply_by,
            idempotency_key,
            max_age,
            declined: Arc::clone(&declined),
        };
        request.extensions_mut().insert(info);
        Box::pin(async move {
            let answered = match poll_fn(|cx| inner.poll_ready(cx)).await {
                Ok(()) => inner.call(request).await,
                Err(error) => Err(error),
            };
            if let Some(declined) = declined.get() {
                return Err(declined.clone());
            }
            match answered {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    Ok(http::Response::from_parts(parts, Body::new(body).gathered(LITTLE)))
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
