//! What nodes begin with: who owned what before, and what each of them has heard of that.

use homing_router::Router;
use homing_routing_table::{Diff, Group};
use homing_types::{Epoch, NodeId, Owners};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::Plan;
use crate::authority::owners_of;
use crate::names::{node_id, slot_of};
use crate::plan::Beliefs;

/// How many epochs garbage is made of.
const GARBAGE_EPOCHS: usize = 2;

/// The owners that a space has had, the oldest first: each promotes a replica of the one before.
pub(crate) fn past_owners(rng: &mut StdRng, plan: &Plan) -> Vec<Owners> {
    let mut owners = draw_owners(rng, plan);
    let changes = if owners.len() > 1 { plan.past_changes } else { 0 };
    // The epochs of garbage are older than those that anybody still goes by.
    let before = if plan.beliefs == Beliefs::Garbage { GARBAGE_EPOCHS } else { 0 };
    let mut past = vec![owners_of(owners[0], &owners[1..], &[]); before + 1];
    for _ in 0..changes {
        match plan.beliefs {
            // One after the other, so that each one's belief is the next one.
            Beliefs::Ladder => owners.rotate_left(1),
            _ => {
                let next = rng.random_range(1..owners.len());
                owners.swap(0, next);
            }
        }
        past.push(owners_of(owners[0], &owners[1..], &[]));
    }
    past
}

fn draw_owners(rng: &mut StdRng, plan: &Plan) -> Vec<usize> {
    let mut owners: Vec<usize> = Vec::new();
    while owners.len() < (plan.replicas + 1).min(plan.nodes) {
        let node = rng.random_range(0..plan.nodes);
        if !owners.contains(&node) {
            owners.push(node);
        }
    }
    owners
}

/// What a node begins with.
pub(crate) fn remembered(rng: &mut StdRng, plan: &Plan, past: &[Vec<Owners>], node: usize) -> Diff {
    let stale = rng.random_range(0..100) < plan.stale;
    let known = past.iter().enumerate().filter_map(|(space, past)| {
        let newest = past.len();
        let known = match plan.beliefs {
            _ if !stale => newest,
            Beliefs::Old => rng.random_range(0..=newest),
            Beliefs::Ladder => rung(past, &node_id(node)),
            Beliefs::Garbage => {
                let epoch = Epoch::new(rng.random_range(1..=GARBAGE_EPOCHS as u64));
                return Some((slot_of(space), Group::new(epoch, nobody(node))));
            }
            Beliefs::Nothing => 0,
        };
        let owners = past[..known].last()?.clone();
        Some((slot_of(space), Group::new(Epoch::new(known as u64), owners)))
    });
    Diff::new(known.collect::<Vec<_>>()).unwrap_or_else(|error| unreachable!("{error}"))
}

/// How much of the past a node of the ladder knows: an owner, who follows it as the primary, the last time that it was one; who
/// owns nothing, the lowest rung.
fn rung(past: &[Owners], me: &NodeId) -> usize {
    let rungs = past[0].nodes().count();
    let mine = (0..past.len()).rfind(|at| past[*at].primary() == me);
    mine.map_or((past.len() + 1).saturating_sub(rungs).max(1), |at| (at + 2).min(past.len()))
}

/// Owners that there never were.
fn nobody(node: usize) -> Owners {
    owners_of(1_000 + node, &[2_000 + node], &[])
}

/// All that a router knows.
pub(crate) fn whole(router: &Router, spaces: usize) -> Diff {
    router.table().snapshot().diff((0..spaces).map(slot_of))
}
