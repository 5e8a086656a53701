//! What nodes begin with: who owned what before, and what each of them has heard of that.

use homing_router::Router;
use homing_routing_table::{Diff, Group};
use homing_types::{Epoch, NodeId, Owners};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::Plan;
use crate::authority::owners_of;
use crate::plan::Tables;
use crate::world::{node_id, slot_of};

/// How many epochs garbage is made of.
const GARBAGE_EPOCHS: usize = 2;

/// The owners that a space has had, the oldest first: each promotes a replica of the one before.
pub(crate) fn history(rng: &mut StdRng, plan: &Plan) -> Vec<Owners> {
    let mut owners = draw_owners(rng, plan);
    let changes = if owners.len() > 1 { plan.history } else { 0 };
    // The epochs of garbage are older than those that anybody still goes by.
    let before = if plan.tables == Tables::Garbage { GARBAGE_EPOCHS } else { 0 };
    let mut history = vec![owners_of(owners[0], &owners[1..], &[]); before + 1];
    for _ in 0..changes {
        match plan.tables {
            // One after the other, so that each one's belief is the next one.
            Tables::Ladder => owners.rotate_left(1),
            _ => {
                let next = rng.random_range(1..owners.len());
                owners.swap(0, next);
            }
        }
        history.push(owners_of(owners[0], &owners[1..], &[]));
    }
    history
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
pub(crate) fn remembered(rng: &mut StdRng, plan: &Plan, histories: &[Vec<Owners>], node: usize) -> Diff {
    let stale = rng.random_range(0..100) < plan.stale;
    let known = histories.iter().enumerate().filter_map(|(space, history)| {
        let newest = history.len();
        let known = match plan.tables {
            _ if !stale => newest,
            Tables::Old => rng.random_range(0..=newest),
            Tables::Ladder => rung(history, &node_id(node)),
            Tables::Garbage => {
                let epoch = Epoch::new(rng.random_range(1..=GARBAGE_EPOCHS as u64));
                return Some((slot_of(space), Group::new(epoch, nobody(node))));
            }
            Tables::Nothing => 0,
        };
        let owners = history[..known].last()?.clone();
        Some((slot_of(space), Group::new(Epoch::new(known as u64), owners)))
    });
    match Diff::new(known.collect::<Vec<_>>()) {
        Ok(diff) => diff,
        Err(error) => unreachable!("{error}"),
    }
}

/// How much of the history a node of the ladder knows: an owner, who follows it as the primary, the last time that it was one; who
/// owns nothing, the lowest rung.
fn rung(history: &[Owners], me: &NodeId) -> usize {
    let rungs = history[0].nodes().count();
    let mine = (0..history.len()).rfind(|at| history[*at].primary() == me);
    mine.map_or((history.len() + 1).saturating_sub(rungs).max(1), |at| (at + 2).min(history.len()))
}

/// Owners that there never were.
fn nobody(node: usize) -> Owners {
    owners_of(1_000 + node, &[2_000 + node], &[])
}

/// All that a router knows.
pub(crate) fn whole(router: &Router, spaces: usize) -> Diff {
    router.table().snapshot().diff((0..spaces).map(slot_of))
}
