//! A plan: whom to try, in which order, and why.
//!
//! The order is a matter of taste (nearest, fastest, cheapest), so it is a trait; what may be retried is
//! not, and stands in the outcome table.

use std::borrow::Cow;

use homing_types::{Access, Locality, MAX_REPLICAS, NodeId};
use rand_core::Rng;

use crate::{Standing, Tier};

/// The most nodes that a plan names beside the owners, since they may know better who those are.
pub const MAX_STRANGERS: usize = 2;

/// The most candidates a [`Call`](crate::Call) takes from one plan: as many as a space can have owners, and strangers.
pub const MAX_PLAN: usize = MAX_REPLICAS + 1 + MAX_STRANGERS;

/// A node that a call may try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// How far it is from the entry node.
    pub tier: Tier,
    /// Whether it is a replica that is tried for what only the primary does. It executes only if its own
    /// newer table says that it is the primary, and else passes the request on once.
    pub relay: bool,
}

/// A candidate and the reason for its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Whom to try.
    pub candidate: Candidate,
    /// What was known of it.
    pub standing: Standing,
    /// Why it stands where it stands, for the eyes of an operator (`homing route`).
    pub why: Cow<'static, str>,
}

/// What a [`Policy`] is told.
#[derive(Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The entry node, or `None` where a client embeds it and can't own anything.
    pub me: Option<&'a NodeId>,
    /// Where the entry node stands.
    pub locality: &'a Locality,
    /// What the call wants of the space.
    pub access: Access,
    /// The space's primary.
    pub primary: &'a NodeId,
    /// The space's replicas that are in sync: all different, and without the primary.
    pub in_sync: &'a [NodeId],
    /// Where a node stands, if that is known.
    pub locality_of: &'a dyn Fn(&NodeId) -> Option<Locality>,
    /// How a node has done lately.
    pub standing: &'a dyn Fn(&NodeId) -> Standing,
}

/// Puts the owners of a space in the order in which a call tries them.
///
/// A policy names each owner that can serve the access exactly once, and leaves none out because it looks bad:
/// the last owner standing must still be tried.
pub trait Policy: Send + Sync {
    /// The candidates, best first. A call tries the first [`MAX_PLAN`] of them.
    fn plan(&self, request: &PlanRequest<'_>, rng: &mut dyn Rng) -> Vec<Planned>;
}
