use std::time::Duration;

use bytes::Bytes;
use homing_types::{Access, Epoch, IdempotencyKey, NodeId, Outcome, Role, Space};

use crate::Body;

/// What Homing says about a request that crosses between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Whether the request is routed by its space or meant for one node.
    pub kind: Kind,
    /// The time left for the whole exchange, bodies included; `None` for no limit. It is a duration,
    /// since clocks differ: the receiver counts from the arrival of the head.
    pub remaining: Option<Duration>,
    /// The time for which its sender waits for the reply to begin, where that is shorter; `None` for all that remains.
    /// Whoever is still at it then works for nobody, and its explanation is read by nobody.
    pub reply_within: Option<Duration>,
    /// W3C Trace Context (`traceparent`), carried along unread.
    pub traceparent: Option<String>,
}

impl Head {
    /// A head that says no more than whom its request is for.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self { kind, remaining: None, reply_within: None, traceparent: None }
    }

    /// Takes what was spent waiting off the time left, before the head is sent.
    pub fn count_down(&mut self, waited: Duration) {
        for left in [&mut self.remaining, &mut self.reply_within] {
            *left = left.map(|left| left.saturating_sub(waited));
        }
    }
}

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// For whoever owns its space.
    Routed(Routed),
    /// For this node, between members only: replication, gossip, pulls. Never retried elsewhere.
    Direct(NodeId),
}

/// What routing needs to know of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// The space.
    pub space: Space,
    /// What the request wants of it.
    pub access: Access,
    /// The epoch that the sender believes in; zero if it knows nothing.
    pub believed: Epoch,
    /// How often the request may still be forwarded.
    pub hops_left: u8,
    /// Set on a detour: the receiver may forward once although it knows no newer epoch.
    pub relay: bool,
    /// 1, and one more for each retry before: an attempt after one that somebody may have worked on. From 2 on, nobody downstream
    /// retries it.
    pub attempt: u32,
    /// Names the write, so that a retry of it is known.
    pub idempotency_key: Option<IdempotencyKey>,
    /// The oldest answer of a replica that will do; `None` for any.
    pub max_age: Option<Duration>,
    /// The group that a forward rests on, as the table encodes it. Empty if none came along.
    pub group: Bytes,
}

/// What Homing says about a reply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplyHead {
    /// What became of the request; `None` for the service's own answer.
    pub outcome: Option<Outcome>,
    /// When to try again, with [`Outcome::NotReady`] and [`Outcome::Overloaded`].
    pub retry_after: Option<Duration>,
    /// Why there is an outcome, for people: one line of at most [`ReplyHead::MAX_REASON`] bytes.
    pub reason: String,
    /// Who executed the request.
    pub served_by: Option<NodeId>,
    /// In which role.
    pub role: Option<Role>,
    /// How old a replica's answer may be: the time since it last heard from its primary. `None` if it doesn't say.
    pub age: Option<Duration>,
    /// How often the request crossed between nodes.
    pub hops: u8,
    /// The epoch under which it was executed, or that the replier believes in.
    pub epoch: Epoch,
    /// A newer group for the sender, as the table encodes it. Empty if there is nothing to teach.
    pub correction: Bytes,
}

impl ReplyHead {
    /// The longest reason, in bytes.
    pub const MAX_REASON: usize = 512;

    /// As much of a reason as may be sent.
    #[must_use]
    pub fn cut(reason: &str) -> &str {
        &reason[..reason.floor_char_boundary(Self::MAX_REASON)]
    }

    /// A head that says what became of the request, and why.
    #[must_use]
    pub fn of(outcome: Outcome, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(Self::cut(&reason).len());
        Self { outcome: Some(outcome), reason, ..Self::default() }
    }
}

/// A reply: what Homing says of it, and the HTTP response.
#[derive(Debug)]
pub struct Reply {
    /// What Homing says.
    pub head: ReplyHead,
    /// The response; empty where the head has an outcome.
    pub response: http::Response<Body>,
}

impl Reply {
    /// A reply without a service's answer.
    #[must_use]
    pub fn without_answer(head: ReplyHead) -> Self {
        Self { head, response: http::Response::new(Body::empty()) }
    }

    /// The same reply, whose body keeps `held` as [`Body::holding`] says.
    #[must_use]
    pub fn holding<T: Send + Unpin + 'static>(self, held: T) -> Self {
        let Self { head, response } = self;
        Self { head, response: response.map(|body| body.holding(held)) }
    }

    /// A reply that says what became of the request, and why.
    #[must_use]
    pub fn of(outcome: Outcome, reason: impl Into<String>) -> Self {
        Self::without_answer(ReplyHead::of(outcome, reason))
    }
}
