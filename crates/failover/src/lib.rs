//! What to try next: plans, backoff, deadlines and the outcome table, as pure code.
//!
//! **Never knows** tokio, sockets, the routing table, clocks, or a randomness of its own. It is given
//! candidates, outcomes, the time and a generator, and answers with what to do. A thin driver does it; the same code runs in production, in the simulation and in the model check.
//!
//! The way of a call: a [`Policy`] puts the owners of a space in order ([`Nearest`], by [`Tier`] and by what each peer's
//! [`Health`] says); a [`Call`] walks that plan; after each attempt [`react()`] says what its outcome allows; a retry
//! is paid from the [`Budget`], a read that waits too long is asked of another node, too ([`HedgeTimer`]); between two
//! walks lies a gap from [`Backoff`]; and the deadline ends it all, so that every call ends in an answer.

mod admission;
mod backoff;
mod breaker;
mod budget;
mod call;
mod chance;
mod deadline;
mod health;
mod hedge;
mod latency;
mod limits;
mod nearest;
mod plan;
mod react;
mod rests;
mod shared;
mod tier;
mod trail;
mod walk;

pub use admission::{Admission, AdmissionLimits, Origin, Sample};
pub use backoff::Backoff;
pub use breaker::{BreakerLimits, Circuit, Sign};
pub use budget::{Budget, BudgetLimits};
pub use call::{Action, Backed, Call, MAX_FOLLOWS, Report, Terms, Verdict};
pub use deadline::shrink;
pub use health::{Health, Standing, Started};
pub use hedge::HedgeTimer;
pub use limits::Limits;
pub use nearest::Nearest;
pub use plan::{Candidate, MAX_PLAN, MAX_STRANGERS, PlanRequest, Planned, Policy};
pub use react::{Next, react};
pub use shared::Shared;
pub use tier::Tier;
pub use trail::{Attempted, MAX_TRAIL};
