use std::time::Duration;

use homing_router::{Declined, Granted, Service};
use homing_transport::wire::headers;
use homing_transport::{Body, BoxFuture};
use homing_types::{Access, Execution, Grant};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::{Client, ClientError};

/// When to try again a service that isn't there.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A service in another process beside the node, in any language: HTTP/2 without TLS (prior knowledge).
///
/// Each request bears its grant: `homing-space`, `homing-access`, `homing-role`, `homing-epoch` and, if it has one,
/// `homing-idempotency-key`. The service compares the epoch with the highest it has seen for the space, and refuses
/// a lower one.
#[derive(Clone)]
pub struct Upstream {
    client: Client,
    dedupes: bool,
}

impl Upstream {
    /// The service at `address`, `host:port`. `dedupes` says that it executes a write with an idempotency key once.
    ///
    /// # Errors
    /// [`ClientError::Address`] if that is no address.
    pub fn new(address: &str, dedupes: bool) -> Result<Self, ClientError> {
        Ok(Self { client: Client::of_service(address)?, dedupes })
    }
}

impl Service for Upstream {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(async move {
            let Granted { grant, access, idempotency_key, mut request, .. } = granted;
            let map = request.headers_mut();
            bear(map, &grant, access);
            if let Some(key) = idempotency_key {
                put(map, headers::IDEMPOTENCY_KEY, &key.to_string());
            }
            self.client.send(request).await.map_err(|error| Declined {
                execution: match error {
                    ClientError::Address { .. } | ClientError::Unreachable { .. } => Execution::No,
                    ClientError::Lost { .. } => Execution::Maybe,
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

fn bear(map: &mut HeaderMap, grant: &Grant, access: Access) {
    if let Ok(space) = HeaderValue::from_bytes(grant.space.as_str().as_bytes()) {
        map.insert(headers::SPACE, space);
    }
    put(map, headers::ACCESS, access.as_str());
    put(map, headers::ROLE, grant.role.as_str());
    put(map, headers::EPOCH, &grant.epoch.to_string());
}

fn put(map: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        map.insert(name, value);
    }
}
