//! The entry: one call, from its first plan to its answer.
//!
//! What to do next is decided by `homing_failover::Call`, which is pure; this drives it.

use std::sync::Arc;
use std::time::Duration;

use homing_failover::{Action, Candidate, PlanRequest, Planned, Verdict};
use homing_transport::{Body, Head, Kind, Lane, Reply, ReplyHead, Routed, SendError, SendErrorKind, Sent};
use homing_types::{Access, Epoch, IdempotencyKey, NodeId, Outcome, Space, SpaceKey};
use tokio::time::Instant;

use crate::error::{CallError, Trail};
use crate::receive::{Arrived, shrink};
use crate::replay::Replay;
use crate::router::Router;

/// The forwards that the receiver of an attempt may still make: a call has three hops, the attempt is one. Each correction
/// that was followed has cost one, too.
const HOPS_LEFT: u8 = 2;

const NOBODY: &str = "it knows no owner of the space and has nobody to ask";
const BODY_GONE: &str = "the request can't be sent again: too much of its streaming body is gone";
const LATE: &str = "the service gave no answer within the attempt's time";

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The space.
    pub space: Space,
    /// What to do with it.
    pub access: Access,
    /// By when there must be an answer; `None` for the router's default.
    pub deadline: Option<Instant>,
    /// Names a write, so that its retry is known.
    pub idempotency_key: Option<IdempotencyKey>,
    /// W3C Trace Context, carried along.
    pub traceparent: Option<String>,
}

/// The service's answer, and how it was reached.
#[derive(Debug)]
pub struct Answer {
    /// Who served the call, in which role, after how many hops, under which epoch.
    pub head: ReplyHead,
    /// The attempts it took.
    pub attempts: u32,
    /// The answer itself.
    pub response: http::Response<Body>,
}

impl Router {
    /// Brings a request to a node that owns its space and returns its answer.
    ///
    /// # Errors
    /// [`CallError`] with all that was tried, at the latest when the deadline passes.
    pub async fn call(
        self: &Arc<Self>,
        call: Call,
        request: http::Request<Body>,
    ) -> Result<Answer, CallError> {
        self.counters.called(call.access);
        let started = Instant::now();
        let deadline = call.deadline.unwrap_or_else(|| started + self.options.call.deadline);
        let mut driven = Driven {
            key: call.space.key(),
            plan: homing_failover::Call::new(
                self.options.call,
                call.access,
                call.idempotency_key.is_some() && self.service().is_some_and(|service| service.dedupes()),
                self.time_of(deadline),
            ),
            planned: None,
            trail: Trail::default(),
            replay: Replay::new(request),
            deadline,
            call,
        };
        let ended = match self.admit() {
            // The call is under way until its answer has been read, or its deadline has passed.
            Some(place) => self.drive(&mut driven).await.map(|Reply { head, response }| {
                let response = response.map(|body| body.holding(place).until(deadline));
                Reply { head, response }
            }),
            None => {
                driven.trail.push(&self.me, Outcome::Overloaded, self.overloaded_reason());
                Err(Verdict::Exhausted { last: Some(Outcome::Overloaded) })
            }
        };
        let attempts = driven.plan.attempts();
        match ended {
            Ok(Reply { head, response }) => Ok(Answer { head, attempts, response }),
            Err(verdict) => {
                self.counters.failed(driven.call.access);
                Err(CallError {
                    space: driven.call.space,
                    access: driven.call.access,
                    verdict,
                    attempts,
                    took: started.elapsed(),
                    tried: driven.trail.into_tried(),
                })
            }
        }
    }

    pub(crate) fn overloaded_reason(&self) -> String {
        format!("{} requests are under way at {} (max_in_flight)", self.options.max_in_flight, self.me)
    }

    async fn drive(self: &Arc<Self>, driven: &mut Driven) -> Result<Reply, Verdict> {
        let slot = driven.key.slot();
        loop {
            // What another call has learned counts for this one, too.
            if driven.planned.is_some_and(|planned| planned < self.epoch(slot)) {
                self.make_plan(driven);
            }
            let now = self.now();
            match self.with_random(|random| driven.plan.next(now, random)) {
                Action::Plan => self.make_plan(driven),
                Action::Attempt { candidate, timeout } => {
                    if let Some(reply) = self.attempt(driven, &candidate, timeout).await {
                        return Ok(reply);
                    }
                }
                Action::Wait { until } => self.wait(driven, self.instant_of(until)).await,
                Action::Finish(verdict) => return Err(verdict),
            }
        }
    }

    fn make_plan(self: &Arc<Self>, driven: &mut Driven) {
        driven.planned = Some(self.epoch(driven.key.slot()));
        let plan = self.plan(driven.key, driven.call.access);
        if plan.is_empty() {
            driven.trail.push(&self.me, Outcome::NotOwner, NOBODY.to_owned());
        }
        driven.plan.plan(plan);
    }

    /// A gap. It ends early if the authority knows newer owners than those that could not serve.
    async fn wait(self: &Arc<Self>, driven: &mut Driven, until: Instant) {
        let slot = driven.key.slot();
        let believed = self.epoch(slot);
        let _ = tokio::time::timeout_at(until, self.look_up(slot)).await;
        if self.epoch(slot) > believed {
            self.make_plan(driven);
        } else {
            tokio::time::sleep_until(until).await;
        }
    }

    /// Whom to try for a space, best first. Where nothing is known of it, any member may know.
    pub(crate) fn plan(&self, key: SpaceKey, access: Access) -> Vec<Planned> {
        let owners = self.table.load().lookup(key).map(|found| found.owners());
        let suspect = |id: &NodeId| self.directory.node(id).is_some_and(|node| self.pool.is_suspect(&node));
        let locality_of = |id: &NodeId| self.directory.node(id).map(|node| node.locality.clone());
        let (primary, others, access) = match owners {
            Some(owners) => (owners.primary().clone(), owners.in_sync().cloned().collect(), access),
            None => {
                let members = self.directory.nodes().into_iter().map(|node| node.id.clone());
                let mut others = members.filter(|id| *id != self.me);
                let Some(first) = others.next() else { return Vec::new() };
                (first, others.collect::<Vec<_>>(), Access::Read)
            }
        };
        let request = PlanRequest {
            me: Some(&self.me),
            locality: &self.locality,
            access,
            primary: &primary,
            in_sync: &others,
            locality_of: &locality_of,
            suspect: &suspect,
        };
        self.with_random(|random| self.policy.plan(&request, random))
    }

    /// One try of one candidate: the service's answer, or `None` after its outcome was noted.
    async fn attempt(
        self: &Arc<Self>,
        driven: &mut Driven,
        candidate: &Candidate,
        timeout: Duration,
    ) -> Option<Reply> {
        let Ok(Some(request)) = tokio::time::timeout(timeout, driven.replay.attempt()).await else {
            driven.plan.spent();
            driven.trail.push(&self.me, Outcome::NotSent, BODY_GONE.to_owned());
            return None;
        };
        let slot = driven.key.slot();
        let believed = self.epoch(slot);
        let routed = Routed {
            space: driven.call.space.clone(),
            access: driven.call.access,
            believed,
            hops_left: HOPS_LEFT.saturating_sub(u8::try_from(driven.plan.follows()).unwrap_or(u8::MAX)),
            relay: candidate.relay,
            attempt: driven.plan.attempts(),
            idempotency_key: driven.call.idempotency_key,
            group: bytes::Bytes::new(),
        };
        let node = &candidate.node;
        let traceparent = driven.call.traceparent.clone();
        let sent = if *node == self.me {
            // What a wire does for a request that crosses it.
            let request = request.map(|body| body.until(driven.deadline));
            let arrived = Arrived { routed, deadline: Some(driven.deadline), traceparent };
            let executed = Box::pin(self.execute_or_explain(arrived, request));
            let executed = tokio::time::timeout(timeout, executed).await;
            Ok(executed.unwrap_or_else(|_| Reply::of(Outcome::MaybeSent, LATE)))
        } else {
            self.send_routed(node, routed, request, traceparent, driven.deadline, timeout).await
        };
        let reply = match sent {
            Ok(reply) => reply,
            Err(error) => outcome_of(error),
        };
        let taught = self.learn_from_reply(node, slot, believed, &reply.head, driven.deadline).await;
        let Some(outcome) = reply.head.outcome else {
            self.counters.answers.increment(1);
            return Some(reply);
        };
        // Of what this attempt has taught, its own reaction takes care, unless that is to wait.
        if !matches!(outcome, Outcome::NotReady | Outcome::Overloaded) {
            driven.planned = driven.planned.map(|planned| planned.max(self.epoch(slot)));
        }
        self.counters.attempted(outcome);
        tracing::debug!(space = %driven.call.space, %node, %outcome, reason = reply.head.reason, "attempt");
        driven.plan.attempted(node, outcome, reply.head.retry_after, taught, self.now());
        driven.trail.push(node, outcome, reply.head.reason);
        None
    }

    /// Sends a routed request one hop further. The reply's head must come within `timeout`, its body before `deadline`.
    pub(crate) async fn send_routed(
        self: &Arc<Self>,
        to: &NodeId,
        routed: Routed,
        request: http::Request<Body>,
        traceparent: Option<String>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Reply, SendError> {
        let Some(node) = self.directory.node(to) else {
            let message = format!("{to} is no node that {} knows", self.me);
            return Err(SendError::not_sent(SendErrorKind::Unreachable, message));
        };
        let remaining = shrink(deadline.saturating_duration_since(Instant::now()));
        let head = Head { kind: Kind::Routed(routed), remaining: Some(remaining), traceparent };
        let mut reply = self.pool.send(&node, Lane::Payload, head, request, timeout).await?;
        reply.head.hops = reply.head.hops.saturating_add(1);
        Ok(reply)
    }
}

/// One call under way.
struct Driven {
    call: Call,
    key: SpaceKey,
    plan: homing_failover::Call,
    /// The epoch that the plan rests on, or the newest that an attempt of this call has brought.
    planned: Option<Epoch>,
    trail: Trail,
    replay: Replay,
    deadline: Instant,
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
