use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_router::{Declined, DirectService, Granted, Service};
use homing_transport::wire::headers::write_age;
use homing_transport::{Body, BoxFuture};
use homing_types::{Access, Execution, IdempotencyKey, NodeId, Role};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::wire::number;

/// What a test service does with a request.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// Reads the whole body and answers with it.
    Answer,
    /// Sends the body back as it comes in, trailers included.
    Stream,
    /// Leaves the body unread and declines.
    Decline(Declined),
    /// Declines when it has read the body.
    ReadAndDecline(Declined),
    /// Answers with an error of its own.
    Fail,
    /// Waits for a permit, then answers.
    Hold(Arc<Semaphore>),
    /// Waits for some time, then answers.
    Slow(Duration),
    /// Declines just when its answer must have begun.
    DeclineInTime,
    /// Answers, and says that this is so old.
    Aged(Duration),
}

impl Behaviour {
    pub(crate) fn hang() -> Self {
        Self::Hold(Arc::new(Semaphore::new(0)))
    }

    pub(crate) fn decline(execution: Execution, retry_after: Duration) -> Self {
        Self::Decline(declined(execution, retry_after))
    }

    pub(crate) fn read_and_decline(execution: Execution, retry_after: Duration) -> Self {
        Self::ReadAndDecline(declined(execution, retry_after))
    }
}

fn declined(execution: Execution, retry_after: Duration) -> Declined {
    Declined { execution, retry_after, reason: "declined on purpose".to_owned() }
}

/// One request at a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Executed {
    pub(crate) node: NodeId,
    pub(crate) request: Option<u64>,
    pub(crate) access: Access,
    pub(crate) role: Role,
    pub(crate) epoch: u64,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) traceparent: Option<String>,
    /// Which attempt of its call the service is told it is, if not the first.
    pub(crate) attempt: Option<String>,
}

/// What all services of a cluster saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    /// All requests, in order.
    pub(crate) executed: Vec<Executed>,
    /// The writes among them that changed something: those that were not known by their key.
    pub(crate) effects: usize,
    /// Those whose caller gave up in the middle.
    pub(crate) given_up: usize,
    keys: HashSet<IdempotencyKey>,
}

pub(crate) struct TestService {
    node: NodeId,
    dedupes: bool,
    always: Mutex<Behaviour>,
    first: Mutex<VecDeque<Behaviour>>,
    log: watch::Sender<Log>,
}

impl TestService {
    pub(crate) fn new(node: NodeId, dedupes: bool, log: watch::Sender<Log>) -> Arc<Self> {
        let always = Mutex::new(Behaviour::Answer);
        Arc::new(Self { node, dedupes, always, first: Mutex::default(), log })
    }

    pub(crate) fn always(&self, behaviour: Behaviour) {
        *self.always.lock() = behaviour;
    }

    /// Does this once, before what it always does.
    pub(crate) fn first(&self, behaviour: Behaviour) {
        self.first.lock().push_back(behaviour);
    }

    fn note(&self, granted: &Granted) {
        let executed = Executed {
            node: self.node.clone(),
            request: number(&granted.request),
            access: granted.access,
            role: granted.grant.role,
            epoch: granted.grant.epoch.number(),
            key: granted.idempotency_key,
            traceparent: header(granted, "traceparent"),
            attempt: header(granted, "homing-attempt"),
        };
        self.log.send_modify(|log| {
            let known = self.dedupes && executed.key.is_some_and(|key| !log.keys.insert(key));
            log.effects += usize::from(executed.access == Access::Write && !known);
            log.executed.push(executed);
        });
    }

    async fn execute(&self, granted: Granted) -> Result<http::Response<Body>, Declined> {
        let behaviour = self.first.lock().pop_front().unwrap_or_else(|| self.always.lock().clone());
        if !matches!(behaviour, Behaviour::Decline(_) | Behaviour::ReadAndDecline(_)) {
            self.note(&granted);
        }
        match behaviour {
            Behaviour::Answer => Ok(answer(granted).await),
            Behaviour::Stream => Ok(http::Response::new(granted.request.into_body())),
            Behaviour::Decline(declined) => Err(declined),
            Behaviour::ReadAndDecline(declined) => {
                answer(granted).await;
                Err(declined)
            }
            Behaviour::Fail => Ok(own_error()),
            Behaviour::Aged(age) => {
                let mut response = answer(granted).await;
                write_age(age, response.headers_mut());
                Ok(response)
            }
            Behaviour::DeclineInTime => {
                tokio::time::sleep_until(granted.reply_by).await;
                Err(declined(Execution::No, Duration::ZERO))
            }
            Behaviour::Slow(time) => {
                let mut given_up = GivenUp(Some(&self.log));
                tokio::time::sleep(time).await;
                given_up.0 = None;
                Ok(answer(granted).await)
            }
            Behaviour::Hold(permits) => {
                let mut given_up = GivenUp(Some(&self.log));
                let _permit = permits.acquire().await;
                given_up.0 = None;
                Ok(answer(granted).await)
            }
        }
    }
}

impl Service for TestService {
    fn call(&self, granted: Granted) -> BoxFuture<'_, Result<http::Response<Body>, Declined>> {
        Box::pin(self.execute(granted))
    }

    fn dedupes(&self) -> bool {
        self.dedupes
    }
}

fn header(granted: &Granted, name: &str) -> Option<String> {
    granted.request.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
}

async fn answer(granted: Granted) -> http::Response<Body> {
    match granted.request.into_body().collect().await {
        Ok(body) => http::Response::new(Body::from(body.to_bytes())),
        Err(_) => own_error(),
    }
}

fn own_error() -> http::Response<Body> {
    let mut response = http::Response::new(Body::from("no such key"));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response.headers_mut().insert("grpc-status", HeaderValue::from_static("14"));
    response
}

/// Notes that a request was given up, unless it was disarmed before.
struct GivenUp<'a>(Option<&'a watch::Sender<Log>>);

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(log) = self.0 {
            log.send_modify(|log| log.given_up += 1);
        }
    }
}

/// Answers a direct message with who got what from whom; `fail` is an error.
pub(crate) struct Echo(pub(crate) NodeId);

impl DirectService for Echo {
    fn call(&self, from: NodeId, message: Bytes) -> BoxFuture<'_, Result<Bytes, String>> {
        let message = String::from_utf8_lossy(&message).into_owned();
        let answer = match message.as_str() {
            "fail" => Err("failed on purpose".to_owned()),
            _ => Ok(format!("{} got {message} from {from}", self.0).into()),
        };
        Box::pin(std::future::ready(answer))
    }
}
