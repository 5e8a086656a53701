//! The default order: near before far, unless far is measured to be faster.
//!
//! A request that stays in its rack is faster, cheaper, and lives through the loss of every other place. But a near
//! node can be slow, so distance is only the first guess: a tier that answers three times slower than the next one
//! gives way to it. Inside a tier two candidates are drawn and the one that costs less goes first: Mitzenmacher, "The
//! Power of Two Choices in Randomized Load Balancing" (2001). The least of all would be everybody's choice at once; two
//! choices spread the load and still avoid the slow. Who is in doubt is tried last instead of never: a wrong
//! suspicion then costs a detour and no failure.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::iter;
use std::time::Duration;

use homing_types::NodeId;
use rand_core::Rng;

use crate::chance::below;
use crate::{Candidate, PlanRequest, Planned, Policy, Tier};

/// How many times slower than the next a tier may be before it gives way.
const SLOWER: u32 = 3;

/// Orders owners by [`Tier`], by the power of two choices inside one, and by measure between two; those in doubt last.
///
/// - What any in-sync replica may serve goes to the primary and to these replicas alike.
/// - What only the primary does goes to the primary, then to the in-sync replicas as relays. The entry node
///   is never its own relay.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nearest;

impl Policy for Nearest {
    fn plan(&self, request: &PlanRequest<'_>, rng: &mut dyn Rng) -> Vec<Planned> {
        let owners = iter::once(request.primary).chain(request.in_sync);
        let mut ranked: Vec<_> = owners.filter_map(|node| rank(request, node)).collect();
        // What most spaces have: one that nobody stands before.
        if ranked.len() > 1 {
            let places = spill_over(&ranked);
            for ranked in &mut ranked {
                ranked.rank.place = places[ranked.planned.candidate.tier as usize];
            }
            ranked.sort_by_key(|ranked| ranked.rank);
            for group in ranked.chunk_by_mut(|a, b| a.rank == b.rank) {
                two_choices(group, rng);
            }
        }
        ranked.into_iter().map(|ranked| Planned { why: why(&ranked), ..ranked.planned }).collect()
    }
}

/// A candidate and its rank, within which costs decide.
struct Ranked {
    planned: Planned,
    primary: bool,
    rank: Rank,
}

/// What comes before cost, the weightiest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    in_doubt: bool,
    relay: bool,
    /// The place of its tier.
    place: usize,
}

/// The owner as a candidate; `None` if it would be its own relay.
fn rank(request: &PlanRequest<'_>, node: &NodeId) -> Option<Ranked> {
    let primary = node == request.primary;
    let relay = !primary && !request.access.any_replica();
    let tier = tier(request, node);
    let local = tier == Tier::Local;
    if relay && local {
        return None;
    }
    let standing = (request.standing)(node);
    // What only this very node can do is not left to others, who could only send it back.
    let in_doubt = standing.is_doubtful() && (!local || request.access.any_replica());
    let candidate = Candidate { node: node.clone(), tier, relay };
    let planned = Planned { candidate, standing, why: Cow::Borrowed("") };
    Some(Ranked { planned, primary, rank: Rank { in_doubt, relay, place: tier as usize } })
}

fn tier(request: &PlanRequest<'_>, node: &NodeId) -> Tier {
    if request.me == Some(node) {
        return Tier::Local;
    }
    (request.locality_of)(node).map_or(Tier::Far, |other| Tier::between(request.locality, &other))
}

/// The place of each tier: one that is known to be slower than a tier behind it stands after that.
fn spill_over(ranked: &[Ranked]) -> [usize; Tier::ALL.len()] {
    let latency = |tier: usize| {
        let of_tier =
            ranked.iter().filter(|ranked| ranked.rank == Rank { in_doubt: false, relay: false, place: tier });
        of_tier.filter_map(|ranked| ranked.planned.standing.latency).min()
    };
    // A tier of which nothing is known keeps its place; the others share out theirs.
    let known: Vec<(usize, Duration)> =
        (0..Tier::ALL.len()).filter_map(|tier| Some((tier, latency(tier)?))).collect();
    let mut order = known.clone();
    for _ in 1..order.len() {
        for next in 1..order.len() {
            if order[next - 1].1 > order[next].1 * SLOWER {
                order.swap(next - 1, next);
            }
        }
    }
    let mut places = std::array::from_fn(|tier| tier);
    for ((place, _), (tier, _)) in known.iter().zip(&order) {
        places[*tier] = *place;
    }
    places
}

/// Puts the cheaper of two drawn at random first, and so on with the rest.
fn two_choices(group: &mut [Ranked], rng: &mut dyn Rng) {
    let mut rest = group;
    while let [_, _, ..] = rest {
        let one = below(rest.len(), rng);
        let other = (one + 1 + below(rest.len() - 1, rng)) % rest.len();
        let cost = |index: usize| rest[index].planned.standing.cost;
        let better = if cost(other) < cost(one) { other } else { one };
        rest.swap(0, better);
        rest = &mut rest[1..];
    }
}

/// Why it stands where it stands.
fn why(ranked: &Ranked) -> Cow<'static, str> {
    let Ranked { planned, primary, rank: Rank { in_doubt, relay, place } } = ranked;
    let role = match (primary, relay) {
        (true, _) => "primary",
        (_, true) => "relay to the primary",
        (_, false) => "in-sync replica",
    };
    let moved = place.cmp(&(planned.candidate.tier as usize));
    match (in_doubt, moved) {
        (true, _) if planned.standing.suspect => format!("{role}, suspected: tried last").into(),
        (true, _) => format!("{role}, breaker {}: tried last", planned.standing.circuit.as_str()).into(),
        (_, Ordering::Greater) => format!("{role}, over {SLOWER} times slower than a farther one").into(),
        (_, Ordering::Less) => format!("{role}, over {SLOWER} times faster than a nearer one").into(),
        (_, Ordering::Equal) => role.into(),
    }
}

#[cfg(test)]
mod tests;
