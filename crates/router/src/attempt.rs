//! One try of one candidate, to its outcome, and the hedge that may run beside it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::Either;
use homing_failover::{Candidate, Origin};
use homing_transport::Body;
use homing_transport::{
    BoxFuture, Head, Kind, Lane, Reply, ReplyHead, Routed, SendError, SendErrorKind, Sent,
};
use homing_types::{Epoch, NodeId, Outcome};
use http_body_util::{BodyExt, Limited};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::pool::Sending;
use crate::receive::Arrived;
use crate::router::Router;

const LATE: &str = "the service gave no answer within the attempt's time";

/// The most of an answer that is read though nobody wants it any more, in bytes.
const MAX_UNWANTED: usize = 64 << 10;

/// For how long such an answer is read.
const MAX_UNWANTED_TIME: Duration = Duration::from_secs(1);

/// All that an attempt needs, so that it can go on when its call has ended.
pub(crate) struct Attempt {
    pub(crate) candidate: Candidate,
    /// Which attempt of its call it is, from 1.
    pub(crate) number: u32,
    pub(crate) routed: Routed,
    pub(crate) request: http::Request<Body>,
    pub(crate) traceparent: Option<String>,
    pub(crate) deadline: Instant,
    /// When the reply must have begun, at most the deadline.
    pub(crate) reply_by: Instant,
}

/// How an attempt ended.
pub(crate) struct Ended {
    pub(crate) node: NodeId,
    /// The service's answer, or an outcome.
    pub(crate) reply: Reply,
    /// Whether this node now knows more than it did when the attempt began.
    pub(crate) taught: bool,
    /// From when the request was handed over to the reply's head.
    pub(crate) took: Duration,
}

/// The attempts of a call that are under way: one, and maybe a hedge.
pub(crate) struct UnderWay {
    attempts: Vec<(Candidate, BoxFuture<'static, Ended>)>,
}

impl UnderWay {
    pub(crate) fn new(router: &Arc<Router>, attempt: Attempt) -> Self {
        Self { attempts: vec![(attempt.candidate.clone(), router.start(attempt))] }
    }

    pub(crate) fn add(&mut self, router: &Arc<Router>, attempt: Attempt) {
        self.attempts.push((attempt.candidate.clone(), router.start(attempt)));
    }

    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.attempts.iter().map(|(candidate, _)| candidate)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.is_empty()
    }

    /// The next of them to end.
    pub(crate) async fn next(&mut self) -> Ended {
        poll_fn(|cx| {
            let ended = self.attempts.iter_mut().enumerate().find_map(|(index, (_, attempt))| match attempt
                .as_mut()
                .poll(cx)
            {
                Poll::Ready(ended) => Some((index, ended)),
                Poll::Pending => None,
            });
            let Some((index, ended)) = ended else { return Poll::Pending };
            drop(self.attempts.swap_remove(index));
            Poll::Ready(ended)
        })
        .await
    }

    /// Lets those that nobody waits for go on to their end: what they learn counts for all, and a peer that sees many
    /// streams reset may take it for an attack and close the connection (h2's limit on resets). Each takes a place of its own among
    /// the requests under way; where there is none, it ends.
    pub(crate) fn let_finish(self, router: &Arc<Router>) {
        for (_, attempt) in self.attempts {
            let Some(place) = router.place(Origin::Client) else { return };
            tokio::spawn(async move {
                let _place = place;
                let unwanted = attempt.await.reply.response.into_body();
                let reading = Limited::new(unwanted, MAX_UNWANTED).collect();
                let _ = tokio::time::timeout(MAX_UNWANTED_TIME, reading).await;
            });
        }
    }
}

impl Router {
    fn start(self: &Arc<Self>, attempt: Attempt) -> BoxFuture<'static, Ended> {
        let span = tracing::debug_span!(
            "attempt",
            node = %attempt.candidate.node,
            attempt = attempt.number,
            relay = attempt.candidate.relay,
            outcome = tracing::field::Empty,
            served_by = tracing::field::Empty,
            role = tracing::field::Empty,
            hops = tracing::field::Empty,
            epoch = tracing::field::Empty,
        );
        if attempt.candidate.relay {
            self.counters.relays.increment(1);
        }
        let attempting = span.in_scope(|| self.attempt(attempt, span.clone()));
        Box::pin(attempting.instrument(span))
    }

    /// What can be done at once is done when this is called (docs/ARCHITECTURE.md).
    fn attempt(self: &Arc<Self>, attempt: Attempt, span: Span) -> impl Future<Output = Ended> + Send + use<> {
        let Attempt { candidate, routed, request, traceparent, deadline, reply_by, .. } = attempt;
        let router = Arc::clone(self);
        let node = candidate.node;
        let slot = routed.space.key().slot();
        let believed = routed.believed;
        let mut observed = self.observe(&node, &routed);
        let mut handed_over = Instant::now();
        let sending = if node == self.me {
            Either::Left(Box::pin(Arc::clone(self).execute_in_place(
                routed,
                request,
                traceparent,
                deadline,
                reply_by,
            )))
        } else {
            Either::Right(self.send_routed(&node, routed, request, traceparent, deadline, reply_by))
        };
        async move {
            let reply = {
                let sent = match sending {
                    Either::Left(executing) => Ok(executing.await),
                    Either::Right(sending) => {
                        let dialled = || {
                            observed.sent();
                            handed_over = Instant::now();
                        };
                        routed_reply(sending, reply_by, dialled).await
                    }
                };
                observed.ended(&sent);
                sent.unwrap_or_else(outcome_of)
            };
            let took = handed_over.elapsed();
            router.counters.attempted(reply.head.outcome);
            if let Some(pull) = router.learn_from_reply(&node, slot, &reply.head) {
                let _ = tokio::time::timeout_at(reply_by, pull).await;
            }
            let taught = router.epoch(slot) > believed;
            record(&span, &reply.head);
            Ended { node, reply, taught, took }
        }
    }

    async fn execute_in_place(
        self: Arc<Self>,
        routed: Routed,
        request: http::Request<Body>,
        traceparent: Option<String>,
        deadline: Instant,
        reply_by: Instant,
    ) -> Reply {
        // What a wire does for a request that crosses it.
        let request = request.map(|body| body.until(deadline));
        let arrived = Arrived { routed, deadline: Some(deadline), reply_by: Some(reply_by), traceparent };
        let executed = self.execute_or_explain(arrived, request);
        let executed = tokio::time::timeout_at(reply_by, executed).await;
        executed.unwrap_or_else(|_| Reply::of(Outcome::MaybeSent, LATE))
    }

    /// Sends a routed request one hop further. The reply's head must come by `reply_by`, its body by `deadline`; [`routed_reply`] waits for it.
    pub(crate) fn send_routed(
        &self,
        to: &NodeId,
        routed: Routed,
        request: http::Request<Body>,
        traceparent: Option<String>,
        deadline: Instant,
        reply_by: Instant,
    ) -> Result<Sending, SendError> {
        let Some(node) = self.directory.node(to) else {
            let message = format!("{to} is no node that {} knows", self.me);
            return Err(SendError::not_sent(SendErrorKind::Unreachable, message));
        };
        let now = Instant::now();
        let [remaining, within] =
            [deadline, reply_by].map(|end| homing_failover::shrink(end.saturating_duration_since(now)));
        let reply_within = Some(within).filter(|within| *within < remaining);
        let head = Head { kind: Kind::Routed(routed), remaining: Some(remaining), reply_within, traceparent };
        Ok(self.pool.hand_over(node, Lane::Payload, head, request, reply_by))
    }
}

/// The reply to a routed request, which has crossed between nodes once more.
pub(crate) async fn routed_reply(
    sending: Result<Sending, SendError>,
    reply_by: Instant,
    dialled: impl FnOnce(),
) -> Result<Reply, SendError> {
    let mut reply = sending?.reply(reply_by, dialled).await?;
    reply.head.hops = reply.head.hops.saturating_add(1);
    Ok(reply)
}

/// What an attempt without a reply means for routing.
pub(crate) fn outcome_of(error: SendError) -> Reply {
    let outcome = match (error.sent, error.kind) {
        (Sent::NotSent, SendErrorKind::Limit | SendErrorKind::Body) => Outcome::Refused,
        (Sent::NotSent, _) => Outcome::NotSent,
        (Sent::MaybeSent, _) => Outcome::MaybeSent,
    };
    Reply::without_answer(ReplyHead { epoch: Epoch::ZERO, ..ReplyHead::of(outcome, error.message) })
}

/// Tells a span how its request went.
pub(crate) fn record(span: &Span, head: &ReplyHead) {
    if span.is_disabled() {
        return;
    }
    span.record("outcome", head.outcome.map_or("answer", Outcome::as_str));
    if let Some(served_by) = &head.served_by {
        span.record("served_by", served_by.as_str());
    }
    if let Some(role) = head.role {
        span.record("role", role.as_str());
    }
    span.record("hops", head.hops);
    span.record("epoch", head.epoch.number());
}
