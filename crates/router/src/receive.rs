//! The receiving end: execute, forward once, or say who owns the space.
//!
//! What to do is decided by the receive rule of `homing-routing-table`, which is pure; this drives it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use homing_failover::Origin;
use homing_routing_table::{Decision, Known, Pull, Received, receive};
use homing_transport::wire::headers::{self, ATTEMPT, TRACEPARENT};
use homing_transport::{Body, BoxFuture, Handler, Head, Kind, Reply, ReplyHead, Routed};
use homing_types::{Epoch, Execution, Grant, NodeId, Outcome, Role, SpaceKey, Twin};
use http::HeaderValue;
use tokio::time::Instant;

use crate::attempt::{outcome_of, routed_reply};
use crate::router::Router;
use crate::service::{Declined, Granted};

const LATE: &str =
    "nobody waits for the reply any more: the deadline has passed, or the time of this attempt";

/// How soon to ask a node again that only just starts, or is at its limit.
const SOON: Duration = Duration::from_millis(50);

/// A routed request at this node.
pub(crate) struct Arrived {
    pub(crate) routed: Routed,
    pub(crate) deadline: Option<Instant>,
    /// By when the reply must have begun, if that is before the deadline.
    pub(crate) reply_by: Option<Instant>,
    pub(crate) traceparent: Option<String>,
}

struct Receiver(Arc<Router>);

/// How a request that was received is answered.
enum Answering<H, E> {
    Here(H),
    Elsewhere(Pin<Box<E>>),
    Now(Box<Reply>),
}

impl Handler for Receiver {
    fn handle(&self, from: NodeId, head: Head, request: http::Request<Body>) -> BoxFuture<'_, Reply> {
        let router = &self.0;
        let now = Instant::now();
        let [deadline, reply_by] =
            [head.remaining, head.reply_within].map(|left| left.and_then(|left| now.checked_add(left)));
        let routed = match head.kind {
            Kind::Direct(to) => {
                return Box::pin(async move { router.answer_direct(from, &to, request).await });
            }
            Kind::Routed(routed) => routed,
        };
        let has = head.remaining.unwrap_or(router.options.call.deadline);
        let within = head.reply_within.map_or(has, |within| within.min(has));
        let arrived = Arrived { routed, deadline, reply_by, traceparent: head.traceparent };
        match router.admit_now(Origin::Member, has) {
            Some(place) => Box::pin(router.receive(from, arrived, request).map(|reply| reply.holding(place))),
            None => Box::pin(async move {
                match router.admit(Origin::Member, has, within).await {
                    Ok(place) => router.receive(from, arrived, request).await.holding(place),
                    Err(reason) => retry_later(Outcome::Overloaded, SOON, reason),
                }
            }),
        }
    }
}

impl Router {
    /// What a wire's listener hands the requests of members to.
    #[must_use]
    pub fn handler(self: &Arc<Self>) -> Arc<dyn Handler> {
        Arc::new(Receiver(Arc::clone(self)))
    }

    /// Takes a routed request of the member `from`. What can be done at once is done when this is called.
    fn receive(
        self: &Arc<Self>,
        from: NodeId,
        arrived: Arrived,
        request: http::Request<Body>,
    ) -> impl Future<Output = Reply> + Send + use<'_> {
        let key = arrived.routed.space.key();
        let believed = arrived.routed.believed;
        let answering = match self.learn_from_request(key, &arrived.routed) {
            Err(reply) => Answering::Now(reply),
            Ok(shown) => match self.decide(key, &arrived.routed, shown, Pull::NotTried) {
                // These are seldom, and large: what is executed here need not have room for them.
                Decision::Pull | Decision::Forward { .. } => {
                    Answering::Elsewhere(Box::pin(self.receive_elsewhere(from, key, arrived, request, shown)))
                }
                decision => Answering::Here(self.answer(decision, key, arrived, request)),
            },
        };
        async move {
            let reply = match answering {
                Answering::Here(answering) => answering.await,
                Answering::Elsewhere(answering) => answering.await,
                Answering::Now(reply) => return *reply,
            };
            self.teach(reply, key, believed)
        }
    }

    /// Answers a request for which this node has to ask somebody, or which it passes on.
    async fn receive_elsewhere(
        self: &Arc<Self>,
        from: NodeId,
        key: SpaceKey,
        arrived: Arrived,
        request: http::Request<Body>,
        shown: Option<Epoch>,
    ) -> Reply {
        let believed = arrived.routed.believed;
        let mut pull = Pull::NotTried;
        let mut looked_up = false;
        loop {
            match self.decide(key, &arrived.routed, shown, pull) {
                Decision::Pull => pull = self.catch_up(&from, key.slot(), believed).await,
                // The last hop is kept for after a lookup at the authority.
                Decision::Forward { hops_left: 0, .. } if !looked_up => {
                    looked_up = true;
                    self.look_up_once(key.slot()).await;
                }
                Decision::Forward { epoch, hops_left } => {
                    if arrived.routed.relay {
                        self.counters.relayed.increment(1);
                    }
                    let relay = arrived.routed.relay && Twin::RelayFlagNotCleared.is_on();
                    let routed = Routed { believed: epoch, hops_left, relay, ..arrived.routed };
                    return self.forward(key, Arrived { routed, ..arrived }, request).await;
                }
                decision => return self.answer(decision, key, arrived, request).await,
            }
        }
    }

    /// Executes a request at the very node where it entered, or says why not.
    pub(crate) fn execute_or_explain(
        &self,
        arrived: Arrived,
        request: http::Request<Body>,
    ) -> impl Future<Output = Reply> + use<'_> {
        let key = arrived.routed.space.key();
        let decision = self.decide(key, &arrived.routed, None, Pull::Failed);
        self.answer(decision, key, arrived, request)
    }

    fn decide(&self, key: SpaceKey, routed: &Routed, shown: Option<Epoch>, pull: Pull) -> Decision {
        let table = self.table.load();
        let lookup = table.lookup(key);
        let known =
            Known { me: &self.me, lookup: lookup.as_ref(), closed: &|role| self.gate.closed(key, role) };
        let received = Received {
            believed: routed.believed,
            access: routed.access,
            hops_left: routed.hops_left,
            relay: routed.relay,
            shown,
            pull,
        };
        receive(&received, &known)
    }

    /// Executes a request if that was decided, and else says why not.
    fn answer(
        &self,
        decision: Decision,
        key: SpaceKey,
        arrived: Arrived,
        request: http::Request<Body>,
    ) -> impl Future<Output = Reply> + use<'_> {
        let begun = self.begin(decision, key, arrived, request);
        async move {
            match begun {
                Ok(executed) => executed.await,
                Err(reply) => *reply,
            }
        }
    }

    /// The execution of a request, or the reply to one that isn't executed here.
    fn begin(
        &self,
        decision: Decision,
        key: SpaceKey,
        arrived: Arrived,
        request: http::Request<Body>,
    ) -> Result<impl Future<Output = Reply> + use<'_>, Box<Reply>> {
        Err(Box::new(match decision {
            Decision::Execute { role, epoch } => {
                self.counters.executed.increment(1);
                let space = arrived.routed.space.clone();
                let grant = Grant { space, role, epoch, valid_until: None };
                return self.execute(grant, arrived, request);
            }
            Decision::NotReady { retry_after, reason } => {
                retry_later(Outcome::NotReady, retry_after, reason.to_string())
            }
            Decision::Phantom => {
                self.counters.phantoms.increment(1);
                let claimed = arrived.routed.believed;
                let reason = format!(
                    "nobody shows the epoch {claimed} that this request claims for slot {}",
                    key.slot()
                );
                Reply::of(Outcome::Refused, reason)
            }
            Decision::NotOwner | Decision::Forward { .. } | Decision::Pull => {
                self.counters.misrouted.increment(1);
                Reply::of(Outcome::NotOwner, format!("{} does not own the space", self.me))
            }
        }))
    }

    /// What can be done at once is done when this is called (docs/ARCHITECTURE.md).
    fn execute(
        &self,
        grant: Grant,
        arrived: Arrived,
        mut request: http::Request<Body>,
    ) -> Result<impl Future<Output = Reply> + use<'_>, Box<Reply>> {
        let now = Instant::now();
        let deadline = arrived.deadline.unwrap_or_else(|| self.default_deadline(now));
        let reply_by = arrived.reply_by.unwrap_or(deadline).min(deadline);
        if reply_by <= now {
            return Err(Box::new(Reply::of(Outcome::Expired, LATE)));
        }
        let Some(service) = self.service() else {
            let reason = format!("{} is starting", self.me);
            return Err(Box::new(retry_later(Outcome::NotReady, SOON, reason)));
        };
        let (role, epoch, max_age) = (grant.role, grant.epoch, arrived.routed.max_age);
        let traceparent = arrived.traceparent.and_then(|value| HeaderValue::try_from(value).ok());
        if let Some(traceparent) = traceparent {
            request.headers_mut().insert(TRACEPARENT, traceparent);
        }
        // A service that calls on passes both on, so that traces hang together and retries don't multiply.
        if arrived.routed.attempt > 1 {
            request.headers_mut().insert(ATTEMPT, headers::number_value(arrived.routed.attempt.into()));
        }
        let granted = Granted {
            grant,
            access: arrived.routed.access,
            deadline: now + homing_failover::shrink(deadline - now),
            reply_by: now + homing_failover::shrink(reply_by - now),
            idempotency_key: arrived.routed.idempotency_key,
            max_age,
            request,
        };
        let called = service.call(granted);
        Ok(async move {
            match called.await {
                // What broke off with the request's body is no answer to it.
                Ok(_) if deadline <= Instant::now() => Reply::of(Outcome::MaybeSent, LATE),
                Ok(response) => {
                    let served_by = Some(self.me.clone());
                    let head = ReplyHead { served_by, role: Some(role), epoch, ..ReplyHead::default() };
                    match role {
                        Role::Primary => Reply { head, response },
                        Role::Replica => of_replica(head, response, max_age),
                    }
                }
                Err(Declined { execution: Execution::No, retry_after, reason }) => {
                    retry_later(Outcome::NotReady, retry_after, reason)
                }
                Err(Declined { execution: Execution::Maybe, reason, .. }) => {
                    Reply::of(Outcome::MaybeSent, reason)
                }
            }
        })
    }

    /// Passes a request on, once: whoever forwards never retries.
    async fn forward(
        self: &Arc<Self>,
        key: SpaceKey,
        arrived: Arrived,
        request: http::Request<Body>,
    ) -> Reply {
        let Arrived { routed, deadline, reply_by, traceparent } = arrived;
        let plan = self.plan(key, routed.access);
        let mut candidates = plan.into_iter().map(|planned| planned.candidate);
        // With the flag cleared a relay could only say no, so the owner itself is tried, suspect or not.
        let Some(next) = candidates.find(|next| next.node != self.me && !next.relay) else {
            return Reply::of(Outcome::NotOwner, format!("{} knows no other node of the space", self.me));
        };
        let slot = key.slot();
        let routed = Routed { group: self.carried_group(slot), ..routed };
        let now = Instant::now();
        let deadline = deadline.unwrap_or_else(|| self.default_deadline(now));
        let reply_by = reply_by.unwrap_or(deadline).min(deadline);
        if reply_by <= now {
            return Reply::of(Outcome::Expired, LATE);
        }
        self.counters.forwarded.increment(1);
        let mut observed = self.observe(&next.node, &routed);
        let sending = self.send_routed(&next.node, routed, request, traceparent, deadline, reply_by);
        let sent = routed_reply(sending, reply_by, || observed.sent()).await;
        observed.ended(&sent);
        let (mut reply, who) = match sent {
            Ok(reply) => (reply, Some(&next.node)),
            Err(error) => (outcome_of(error), None),
        };
        if let Some(pull) = who.and_then(|node| self.learn_from_reply(node, slot, &reply.head)) {
            let _ = tokio::time::timeout_at(reply_by, pull).await;
        }
        if reply.head.outcome.is_some() {
            let who = who.map(|node| format!("{node} ")).unwrap_or_default();
            reply.head.reason = cut(format!("{who}by way of {}: {}", self.me, reply.head.reason));
        }
        if reply.head.outcome == Some(Outcome::MaybeSent) && Twin::MaybeSentWeakened.is_on() {
            reply.head.outcome = Some(Outcome::NotSent);
        }
        reply
    }

    /// Applies the group that came along, and says which epoch it shows.
    fn learn_from_request(&self, key: SpaceKey, routed: &Routed) -> Result<Option<Epoch>, Box<Reply>> {
        if routed.group.is_empty() {
            return Ok(None);
        }
        match self.learn(key.slot(), &routed.group) {
            Ok(epoch) => Ok(Some(epoch)),
            Err(problem) => {
                let reason = format!("the group that came along can't be applied: {problem}");
                Err(Box::new(Reply::of(Outcome::Refused, reason)))
            }
        }
    }

    /// Sends the newest group back with a reply, where the sender believed an older one, or another one of that epoch.
    fn teach(&self, mut reply: Reply, key: SpaceKey, believed: Epoch) -> Reply {
        let slot = key.slot();
        let epoch = self.epoch(slot);
        let disagrees = reply.head.outcome == Some(Outcome::NotOwner);
        reply.head.correction =
            if epoch > believed || disagrees { self.carried_group(slot) } else { bytes::Bytes::new() };
        reply.head.epoch = reply.head.epoch.max(epoch);
        reply
    }
}

/// The answer of a replica, with how old it may be; or that it is too old.
fn of_replica(head: ReplyHead, mut response: http::Response<Body>, max_age: Option<Duration>) -> Reply {
    let age = headers::read_age(response.headers_mut()).unwrap_or_default();
    match (age, max_age) {
        (Some(age), Some(max_age)) if age > max_age => {
            let reason =
                format!("the replica last heard from its primary {age:.1?} ago, max-age is {max_age:.1?}");
            retry_later(Outcome::NotReady, SOON, reason)
        }
        (None, Some(_)) => {
            let reason = "the replica doesn't know how old its answer is, and there is a max-age";
            retry_later(Outcome::NotReady, SOON, reason.to_owned())
        }
        _ => Reply { head: ReplyHead { age, ..head }, response },
    }
}

/// Reasons travel in headers, and grow on their way.
fn cut(mut reason: String) -> String {
    reason.truncate(ReplyHead::cut(&reason).len());
    reason
}

fn retry_later(outcome: Outcome, retry_after: Duration, reason: String) -> Reply {
    Reply::without_answer(ReplyHead { retry_after: Some(retry_after), ..ReplyHead::of(outcome, reason) })
}
