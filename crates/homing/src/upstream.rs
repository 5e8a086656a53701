use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use homing_router::{Declined, Granted, Service};
use homing_transport::wire::headers;
use homing_transport::{Body, BoxFuture, is_grpc};
use homing_types::Execution;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::{Client, ClientError};

/// When to try again a service that isn't there.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A service in another process beside the node, in any language: HTTP/2 without TLS (prior knowledge).
///
/// Each request bears its grant: `homing-space` (or `homing-space-bin`), `homing-access`, `homing-role`, `homing-epoch`
/// and, if it has one, `homing-idempotency-key`; and the time that is left for its answer: `homing-timeout-ms` and, for
/// gRPC, `grpc-timeout`. A retry bears `homing-attempt`: a service that calls on through another Homing passes that on, as
/// it does `traceparent`, and its calls are not retried there once more; and so it does with `homing-reply-within-us`, less
/// the time it has spent, since by then whoever asked gives up and asks another (it is missing where that is all of the
/// time). A read may bear `homing-max-age-ms`, and its
/// answer at a replica says how old it may be with `homing-age-ms`. The service compares the epoch with the highest it has seen for the space, and refuses
/// a lower one.
#[derive(Clone)]
pub struct Upstream {
    client: Client,
    dedupes: bool,
    abandoned: Arc<AtomicUsize>,
}

impl Upstream {
    /// The service at `address`, `host:port`. `dedupes` says that it executes a write with an idempotency key once.
    ///
    /// # Errors
    /// [`ClientError::Address`] if that is no address.
    pub fn new(address: &str, dedupes: bool) -> Result<Self, ClientError> {
        Ok(Self { client: Client::of_service(address)?, dedupes, abandoned: Arc::default() })
    }
}

impl Service for Upstream {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(async move {
            let (client, request) = (self.client.clone(), bear(granted));
            let sending = Box::pin(async move { client.send(request).await });
            let exchange = Exchange { sending: Some(sending), abandoned: Arc::clone(&self.abandoned) };
            exchange.await.map_err(|error| Declined {
                execution: match error {
                    ClientError::Lost { .. } => Execution::Maybe,
                    ClientError::Address { .. }
                    | ClientError::Unreachable { .. }
                    | ClientError::Untrusted { .. } => Execution::No,
                },
                retry_after: RETRY_AFTER,
                reason: format!("the upstream service: {error}"),
            })
        })
    }

    fn dedupes(&self) -> bool {
        self.dedupes
    }
}

/// A request on its way to the service. One that nobody waits for any more is left to finish, for a while: a service that sees
/// many streams reset before it has read them takes that for an attack and closes the connection, with all that is on it.
struct Exchange {
    sending: Option<BoxFuture<'static, Result<http::Response<Body>, ClientError>>>,
    /// How many are left to finish.
    abandoned: Arc<AtomicUsize>,
}

/// For how long an abandoned request is left to finish, and how many at a time. The service was told its deadline, too.
const FINISH: Duration = Duration::from_secs(30);
const MAX_ABANDONED: usize = 1_000;

impl Future for Exchange {
    type Output = Result<http::Response<Body>, ClientError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(sending) = &mut self.sending else { return Poll::Pending };
        let sent = std::task::ready!(sending.as_mut().poll(cx));
        self.sending = None;
        Poll::Ready(sent)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Some(sending) = self.sending.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let abandoned = Arc::clone(&self.abandoned);
        if abandoned.fetch_add(1, Ordering::Relaxed) >= MAX_ABANDONED {
            abandoned.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        runtime.spawn(async move {
            let _ = tokio::time::timeout(FINISH, sending).await;
            abandoned.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// The request with what the service has to know of it as headers.
fn bear(granted: Granted) -> http::Request<Body> {
    let Granted { grant, access, deadline, reply_by, idempotency_key, max_age, mut request } = granted;
    let now = Instant::now();
    let left = deadline.saturating_duration_since(now);
    let grpc = is_grpc(request.headers());
    let map = request.headers_mut();
    headers::write_space(&grant.space, map);
    put(map, headers::ACCESS, access.as_str());
    put(map, headers::ROLE, grant.role.as_str());
    put(map, headers::EPOCH, &grant.epoch.to_string());
    put(map, headers::TIMEOUT_MS, &left.as_millis().to_string());
    if grpc {
        put(map, headers::GRPC_TIMEOUT, &format!("{}m", left.as_millis().min(MAX_GRPC_TIMEOUT)));
    }
    if reply_by < deadline {
        headers::write_reply_within(reply_by.saturating_duration_since(now), map);
    }
    if let Some(key) = idempotency_key {
        put(map, headers::IDEMPOTENCY_KEY, &key.to_string());
    }
    if let Some(max_age) = max_age {
        headers::write_max_age(max_age, map);
    }
    request
}

/// gRPC's timeouts have 8 digits.
const MAX_GRPC_TIMEOUT: u128 = 99_999_999;

fn put(map: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use homing_types::{Access, Epoch, Grant, Role, Space};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_service_is_told_its_grant_and_its_time_whatever_the_space_is_called() {
        for name in ["acme", " acme", "a\tb", "größe"] {
            let mut request = http::Request::new(Body::empty());
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            let space = Space::new(name).unwrap();
            let grant =
                Grant { space: space.clone(), role: Role::Primary, epoch: Epoch::new(7), valid_until: None };
            let deadline = Instant::now() + Duration::from_millis(1_500);
            let reply_by = Instant::now() + Duration::from_millis(750);
            let max_age = Some(Duration::from_millis(250));
            let access = Access::Read;
            let granted =
                Granted { grant, access, deadline, reply_by, idempotency_key: None, max_age, request };
            let request = bear(granted);
            assert_eq!(headers::Said::of(request.headers()).required_space(), Ok(space));
            let whole = Grant {
                space: Space::new(name).unwrap(),
                role: Role::Primary,
                epoch: Epoch::new(7),
                valid_until: None,
            };
            let granted = Granted {
                grant: whole,
                access,
                deadline,
                reply_by: deadline,
                idempotency_key: None,
                max_age,
                request: http::Request::new(Body::empty()),
            };
            assert!(!bear(granted).headers().contains_key("homing-reply-within-us"), "all the time there is");
            for (header, value) in [
                ("homing-access", "read"),
                ("homing-role", "primary"),
                ("homing-epoch", "7"),
                ("homing-timeout-ms", "1500"),
                ("homing-reply-within-us", "750000"),
                ("homing-max-age-ms", "250"),
                ("grpc-timeout", "1500m"),
            ] {
                assert_eq!(request.headers()[header], value);
            }
        }
    }
}
