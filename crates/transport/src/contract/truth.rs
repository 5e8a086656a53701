//! An error that says *not sent* is right: whoever relies on it may execute a write elsewhere.
//!
//! Each call bears a number, and the handler notes the numbers that it sees. Whatever goes wrong, no
//! number is both seen and reported as not sent.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use homing_types::{Epoch, Execution};
use http::HeaderValue;
use tokio::task::JoinSet;

use super::Fixture;
use super::handler::{handler, ok};
use super::stage::{Stage, head, post, send};
use super::wait::Watched;
use crate::{Body, Connection, Handler, Head, Kind, Limits, Sent};

/// Calls come in a crowd when the peer is killed.
pub async fn not_sent_is_true_when_the_peer_is_killed(fixture: &dyn Fixture) {
    let seen = Seen::new(BTreeSet::new());
    let Stage { listener, connection, .. } = Stage::with_limits(fixture, crowded(), noting(&seen)).await;
    let calls = Calls::start(&connection);
    seen.until("the crowd to gather", |seen| seen.len() >= 200).await;
    fixture.kill(listener);
    calls.check(&seen).await;
}

/// Calls come in a crowd when the peer shuts down, and some outlast the drain.
pub async fn not_sent_is_true_when_the_peer_shuts_down(fixture: &dyn Fixture) {
    let seen = Seen::new(BTreeSet::new());
    let Stage { listener, connection, .. } = Stage::with_limits(fixture, crowded(), noting(&seen)).await;
    let calls = Calls::start(&connection);
    seen.until("the crowd to gather", |seen| seen.len() >= 200).await;
    listener.shutdown(Duration::from_millis(200)).await;
    calls.check(&seen).await;
}

/// Calls that break a limit or come too late go among others.
pub async fn not_sent_is_true_of_refusals(fixture: &dyn Fixture) {
    let seen = Seen::new(BTreeSet::new());
    let stage = Stage::with_limits(fixture, crowded(), noting(&seen)).await;
    let mut calls = Calls::default();
    for number in 0..400 {
        let (mut head, mut request) = numbered(number, number % 8 == 0);
        match number % 8 {
            // Stuck, until its deadline; it holds a place that others then don't get.
            0 => head.remaining = Some(Duration::from_millis(500)),
            1 => head.remaining = Some(Duration::ZERO),
            2 => {
                request.headers_mut().insert("x-big", big());
            }
            3 => head.remaining = Some(Duration::from_millis(1)),
            _ => head.remaining = Some(Duration::from_millis(250)),
        }
        calls.send(&stage.connection, number, head, request);
    }
    calls.check(&seen).await;
}

/// The numbers that a handler has seen.
type Seen = Watched<BTreeSet<u64>>;

/// Calls in flight, and what those that got no answer were told.
#[derive(Default)]
struct Calls(JoinSet<Vec<Told>>);

/// Whether a call was sent, by its number, and why it failed.
struct Told {
    number: u64,
    sent: Sent,
    why: String,
}

impl Calls {
    /// Starts calls that are stuck in the handler, and more callers than the connection has places left,
    /// who come and go until it takes no more.
    fn start(connection: &Arc<dyn Connection>) -> Self {
        let mut calls = Self::default();
        for number in 0..u64::from(PLACES / 2) {
            let (head, request) = numbered(number, true);
            calls.send(connection, number, head, request);
        }
        for caller in 1..=200 {
            let connection = Arc::clone(connection);
            calls.0.spawn(async move { come_and_go(&*connection, caller << 32).await });
        }
        calls
    }

    fn send(
        &mut self,
        connection: &Arc<dyn Connection>,
        number: u64,
        head: Head,
        request: http::Request<Body>,
    ) {
        let connection = Arc::clone(connection);
        self.0.spawn(async move { call(&*connection, number, head, request).await.into_iter().collect() });
    }

    /// Waits for all and compares what they were told with what was seen.
    async fn check(self, seen: &Seen) {
        let all: Vec<_> = self.0.join_all().await.into_iter().flatten().collect();
        let seen = seen.now();
        for Told { number, sent, why } in &all {
            let wrong = *sent == Sent::NotSent && seen.contains(number);
            assert!(!wrong, "call {number:#x} is said to be not sent, but the handler saw it: {why}");
        }
        for sent in [Sent::NotSent, Sent::MaybeSent] {
            assert!(all.iter().any(|told| told.sent == sent), "no call was {sent:?}: nothing was tested");
        }
    }
}

/// Calls and calls, until told that a call was not sent.
async fn come_and_go(connection: &dyn Connection, first: u64) -> Vec<Told> {
    let mut all = Vec::new();
    for number in first.. {
        let (head, request) = numbered(number, false);
        all.extend(call(connection, number, head, request).await);
        if all.last().is_some_and(|told| told.sent == Sent::NotSent) {
            break;
        }
    }
    all
}

/// What a call was told, if it got no answer.
async fn call(
    connection: &dyn Connection,
    number: u64,
    head: Head,
    request: http::Request<Body>,
) -> Option<Told> {
    match send(connection, head, request).await {
        Ok(reply) => {
            let sent = match reply.head.outcome?.execution() {
                Execution::No => Sent::NotSent,
                Execution::Maybe => Sent::MaybeSent,
            };
            Some(Told { number, sent, why: reply.head.reason })
        }
        Err(error) => Some(Told { number, sent: error.sent, why: error.message }),
    }
}

const PLACES: u32 = 64;

fn crowded() -> Limits {
    Limits { max_streams: PLACES, ..Limits::default() }
}

/// Notes each number at once; then a stuck call stays.
fn noting(seen: &Seen) -> Arc<dyn Handler> {
    let seen = seen.clone();
    handler(move |call| {
        let Kind::Routed(routed) = &call.head.kind else { unreachable!("all calls here are routed") };
        let (number, stuck) = (routed.believed.number(), routed.relay);
        seen.change(|seen| {
            seen.insert(number);
        });
        async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            ok(Bytes::new())
        }
    })
}

fn numbered(number: u64, stuck: bool) -> (Head, http::Request<Body>) {
    let mut head = head();
    if let Kind::Routed(routed) = &mut head.kind {
        routed.believed = Epoch::new(number);
        routed.relay = stuck;
    }
    (head, post("numbered"))
}

fn big() -> HeaderValue {
    HeaderValue::from_str(&"x".repeat(64 << 10)).expect("a header value")
}
