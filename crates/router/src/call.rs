//! The entry: one call, from its first plan to its answer.
//!
//! What to do next is decided by `homing_failover::Call`, which is pure; this drives it.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use homing_failover::{Action, Candidate, Origin, Report, Terms, Verdict};
use homing_transport::{Body, Reply, ReplyHead, Routed};
use homing_types::{Access, Epoch, IdempotencyKey, NodeId, Outcome, Space, SpaceKey};
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::admission::Place;
use crate::attempt::{Attempt, Ended, UnderWay, record};
use crate::error::CallError;
use crate::replay::Replay;
use crate::router::Router;

/// The forwards that the receiver of an attempt may still make: a call has three hops, the attempt is one. Each correction
/// that was followed has cost one, too.
const HOPS_LEFT: u8 = 2;

const NOBODY: &str = "it knows no owner of the space and has nobody to ask";
const BODY_GONE: &str = "the request can't be sent again: too much of its streaming body is gone";
const OVERTAKEN: &str = "given up: the space has other owners now";

/// What a caller asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The space.
    pub space: Space,
    /// What to do with it.
    pub access: Access,
    /// By when there must be an answer; `None` for the router's default.
    pub deadline: Option<Instant>,
    /// By when its answer must have begun, if that is before the deadline: an attempt of the router before this one waits no longer.
    pub reply_by: Option<Instant>,
    /// Names a write, so that its retry is known.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The oldest answer of a replica that will do; `None` for any.
    pub max_age: Option<Duration>,
    /// Whether this is somebody's retry already. The budget pays for it as for one, and it gets none here, or layers of retries would
    /// multiply.
    pub retry: bool,
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
    /// Brings a request to a node that owns its space and returns its answer. The call begins when this is called, not when it is awaited: from then on it
    /// has its place among the requests under way, and its deadline runs.
    ///
    /// # Errors
    /// [`CallError`] with all that was tried, at the latest when the deadline passes.
    pub fn call(
        self: &Arc<Self>,
        call: Call,
        request: http::Request<Body>,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<'_> {
        let span = tracing::debug_span!(
            "call",
            space = call.space.as_str(),
            access = call.access.as_str(),
            traceparent = call.traceparent,
            attempts = tracing::field::Empty,
            outcome = tracing::field::Empty,
            served_by = tracing::field::Empty,
            role = tracing::field::Empty,
            hops = tracing::field::Empty,
            epoch = tracing::field::Empty,
        );
        self.counters.called(call.access);
        let started = Instant::now();
        let deadline = call.deadline.unwrap_or_else(|| self.default_deadline(started));
        let reply_by = call.reply_by.unwrap_or(deadline).min(deadline);
        let times = Times { started, deadline, reply_by };
        let [has, within] = [deadline, reply_by].map(|end| end.saturating_duration_since(started));
        // What can be done at once is done now (docs/ARCHITECTURE.md).
        let entered = match self.admit_now(Origin::Client, has) {
            Some(place) => Either::Left(ready((Ok(place), self.driven(call, gathered(request), times)))),
            None => Either::Right(Box::pin(async move {
                let place = self.admit(Origin::Client, has, within).await;
                let request = if place.is_ok() { gathered(request) } else { request };
                (place, self.driven(call, request, times))
            })),
        };
        // It is large, and moved about until somebody awaits it.
        Box::pin({
            let span = span.clone();
            async move {
                let (place, driven) = entered.await;
                self.run(place, driven, span).await
            }
        })
        .instrument(span)
    }

    fn driven(&self, call: Call, request: http::Request<Body>, times: Times) -> Box<Driven> {
        let terms = Terms {
            access: call.access,
            keyed: call.idempotency_key.is_some() && self.service().is_some_and(|service| service.dedupes()),
            retry: call.retry,
            started: self.time_of(times.started),
            deadline: self.time_of(times.reply_by),
        };
        Box::new(Driven {
            key: call.space.key(),
            plan: homing_failover::Call::new(self.options.call, terms),
            planned: None,
            replay: Replay::new(request),
            times,
            call,
        })
    }

    async fn run(
        self: &Arc<Self>,
        place: Result<Place, String>,
        mut driven: Box<Driven>,
        span: Span,
    ) -> Result<Answer, CallError> {
        if let Err(reason) = &place {
            let reason = reason.clone();
            driven.plan.give_up(self.me.clone(), Outcome::Overloaded, reason, self.now());
        }
        let ended = self.drive(&mut driven).await;
        let attempts = driven.plan.attempts();
        span.record("attempts", attempts);
        let Times { started, deadline, .. } = driven.times;
        match ended {
            Ok(Reply { head, response }) => {
                record(&span, &head);
                // The call is under way until its answer has been read, or its deadline has passed.
                let response = response.map(|body| body.holding(place.ok()).until(deadline));
                Ok(Answer { head, attempts, response })
            }
            Err(verdict) => {
                self.counters.failed(driven.call.access);
                span.record("outcome", verdict.as_str());
                let epoch = self.epoch(driven.key.slot());
                let Driven { call: Call { space, access, .. }, plan, .. } = *driven;
                Err(CallError::new(space, access, verdict, epoch, plan, started.elapsed()))
            }
        }
    }

    async fn drive(self: &Arc<Self>, driven: &mut Driven) -> Result<Reply, Verdict> {
        let slot = driven.key.slot();
        loop {
            // What another call has learned counts for this one, too.
            if driven.planned.is_some_and(|planned| planned < self.epoch(slot)) {
                driven.plan.renew();
                self.make_plan(driven);
            }
            let now = self.now();
            let retries = driven.plan.retries();
            let action = self.with_shared(|shared, random| driven.plan.next(now, shared, random));
            self.counters.retries.increment((driven.plan.retries() - retries).into());
            match action {
                Action::Plan => self.make_plan(driven),
                Action::Attempt { candidate, timeout, hedge_after } => {
                    if let Some(reply) = self.try_one(driven, candidate, timeout, hedge_after).await {
                        return Ok(reply);
                    }
                }
                Action::Wait { until, starved, backoff } => {
                    let left = driven.times.deadline.saturating_duration_since(Instant::now());
                    let [gap_ns, drawn_ns, left_ns] =
                        [until.since(now), backoff.drawn, left].map(|time| time.as_nanos() as u64);
                    let nth = backoff.nth;
                    if starved {
                        self.counters.starved.increment(1);
                    }
                    // It is seldom, and large.
                    let whole = Box::pin(self.wait(driven, self.instant_of(until))).await;
                    let waited_ns = self.now().since(now).as_nanos() as u64;
                    let space = driven.call.space.as_str();
                    tracing::debug!(
                        space, starved, gap_ns, nth, drawn_ns, left_ns, whole, waited_ns, "waited"
                    );
                }
                Action::Finish(verdict) => return Err(verdict),
            }
        }
    }

    fn make_plan(self: &Arc<Self>, driven: &mut Driven) {
        driven.planned = Some(self.epoch(driven.key.slot()));
        let mut plan = self.plan(driven.key, driven.call.access);
        if driven.plan.is_lost() {
            self.add_strangers(&mut plan);
        }
        if plan.is_empty() {
            driven.plan.remark(self.me.clone(), Outcome::NotOwner, NOBODY.to_owned(), self.now());
        }
        driven.plan.plan(plan);
    }

    /// A gap. It ends early if this node learns of newer owners than those that could not serve; the authority may know. Tells whether it was a
    /// whole one.
    async fn wait(self: &Arc<Self>, driven: &mut Driven, until: Instant) -> bool {
        let slot = driven.key.slot();
        let believed = self.epoch(slot);
        let mut looking_up = pin!(self.look_up_once(slot));
        let mut looked_up = false;
        loop {
            let mut changed = pin!(self.changes.next(slot));
            changed.as_mut().enable();
            if self.epoch(slot) > believed {
                return false;
            }
            tokio::select! {
                biased;
                () = &mut looking_up, if !looked_up => looked_up = true,
                () = changed => {}
                () = tokio::time::sleep_until(until) => return true,
            }
        }
    }

    /// One try of one candidate, and of another beside it if it takes long: the service's answer, or `None` after each
    /// outcome was noted.
    async fn try_one(
        self: &Arc<Self>,
        driven: &mut Driven,
        candidate: Candidate,
        timeout: Duration,
        hedge_after: Option<Duration>,
    ) -> Option<Reply> {
        let slot = driven.key.slot();
        let believed = self.epoch(slot);
        let Some(attempt) = self.prepare(driven, candidate, believed, timeout).await else {
            let reason = BODY_GONE.to_owned();
            driven.plan.give_up(self.me.clone(), Outcome::NotSent, reason, self.now());
            return None;
        };
        let watched = driven.plan.may_be_sent_again() && !believed.is_zero();
        // The body may have been waited for meanwhile.
        if watched && self.epoch(slot) > believed && self.is_overtaken(driven, [&attempt.candidate]) {
            driven.plan.overtaken(attempt.candidate.node, OVERTAKEN.to_owned(), self.now());
            return None;
        }
        let mut under_way = UnderWay::new(self, attempt);
        let mut hedge_at = hedge_after.map(|after| Instant::now() + after);
        let mut hedge = None;
        while !under_way.is_empty() {
            let mut changed = pin!(self.changes.next(slot));
            if watched {
                // What changed before this is seen below, and the bell rings for what changes after it.
                changed.as_mut().enable();
                if self.epoch(slot) > believed && self.is_overtaken(driven, under_way.candidates()) {
                    self.overtake(driven, under_way);
                    return None;
                }
            }
            tokio::select! {
                biased;
                ended = under_way.next() => {
                    let answer = self.settle(driven, ended, hedge.as_ref());
                    if answer.is_some() || !driven.plan.is_walking() {
                        under_way.let_finish(self);
                        return answer;
                    }
                }
                () = tokio::time::sleep_until(hedge_at.unwrap_or_else(Instant::now)), if hedge_at.is_some() => {
                    hedge_at = None;
                    let now = self.now();
                    if driven.replay.is_in_hand()
                        && let Some(other) = self.with_shared(|shared, _| driven.plan.hedge(now, shared))
                        && let Some(attempt) = self.prepare(driven, other.clone(), believed, timeout).await
                    {
                        self.counters.hedges.increment(1);
                        hedge = Some(other.node);
                        under_way.add(self, attempt);
                    }
                }
                () = changed, if watched => {}
            }
        }
        None
    }

    /// The next attempt, as soon as the one before has let go of the body; `None` if too much of that is gone.
    async fn prepare(
        &self,
        driven: &Driven,
        candidate: Candidate,
        believed: Epoch,
        timeout: Duration,
    ) -> Option<Attempt> {
        let Driven { call, plan, replay, times, .. } = driven;
        let deadline = times.deadline;
        let reply_by = (Instant::now() + timeout).min(deadline);
        let request = match replay.attempt_now() {
            Some(request) => request,
            None => Box::pin(tokio::time::timeout_at(reply_by, replay.attempt())).await.ok()??,
        };
        let routed = Routed {
            space: call.space.clone(),
            access: call.access,
            believed,
            hops_left: HOPS_LEFT.saturating_sub(u8::try_from(plan.follows()).unwrap_or(u8::MAX)),
            relay: candidate.relay,
            attempt: 1_u32.saturating_add(plan.retries()).saturating_add(call.retry.into()),
            idempotency_key: call.idempotency_key,
            max_age: call.max_age,
            group: bytes::Bytes::new(),
        };
        let (number, traceparent) = (plan.attempts(), call.traceparent.clone());
        Some(Attempt { candidate, number, routed, request, traceparent, deadline, reply_by })
    }

    /// The answer that an attempt brought, or nothing after its outcome was noted.
    fn settle(&self, driven: &mut Driven, ended: Ended, hedge: Option<&NodeId>) -> Option<Reply> {
        let Ended { node, reply, taught, took } = ended;
        let Some(outcome) = reply.head.outcome else {
            if hedge == Some(&node) {
                self.counters.hedges_won.increment(1);
            }
            if driven.call.access.any_replica() {
                self.with_shared(|shared, _| shared.timer.observe(took));
            }
            return Some(reply);
        };
        // Of what this attempt has taught, its own reaction takes care, unless that is to wait.
        if taught && !matches!(outcome, Outcome::NotReady | Outcome::Overloaded) {
            driven.planned = driven.planned.map(|planned| planned.max(self.epoch(driven.key.slot())));
        }
        let ReplyHead { retry_after, reason, .. } = reply.head;
        tracing::debug!(space = %driven.call.space, %node, %outcome, reason, "attempt");
        driven.plan.attempted(Report { node, outcome, retry_after, taught, reason }, self.now());
        None
    }

    /// Whether none of these nodes owns the space any more, as this node has learned meanwhile.
    fn is_overtaken<'a>(
        self: &Arc<Self>,
        driven: &Driven,
        tried: impl IntoIterator<Item = &'a Candidate>,
    ) -> bool {
        let plan = self.plan(driven.key, driven.call.access);
        tried.into_iter().all(|candidate| {
            let now = plan.iter().find(|planned| planned.candidate.node == candidate.node);
            now.is_none_or(|now| now.candidate.relay && !candidate.relay)
        })
    }

    /// Gives up attempts for the new owners.
    fn overtake(self: &Arc<Self>, driven: &mut Driven, under_way: UnderWay) {
        for candidate in under_way.candidates() {
            driven.plan.overtaken(candidate.node.clone(), OVERTAKEN.to_owned(), self.now());
        }
        if driven.replay.is_in_hand() {
            under_way.let_finish(self);
        }
    }
}

/// The same request. A body that is there already need not be kept while it is read, and may be sent twice at a time.
fn gathered(request: http::Request<Body>) -> http::Request<Body> {
    let (parts, body) = request.into_parts();
    http::Request::from_parts(parts, body.gathered(usize::MAX))
}

/// One call under way.
struct Driven {
    call: Call,
    key: SpaceKey,
    plan: homing_failover::Call,
    /// The epoch that the plan rests on, or the newest that an attempt of this call has brought.
    planned: Option<Epoch>,
    replay: Replay,
    times: Times,
}

/// When a call began, and by when its answer must have ended and must have begun.
#[derive(Debug, Clone, Copy)]
struct Times {
    started: Instant,
    deadline: Instant,
    reply_by: Instant,
}
