//! Who owns what, how that changes, and who is told.
//!
//! By an authority's rules: only a replica in sync is promoted, each change is a compare-and-swap on the group's epoch, a replica
//! leaves and enters the in-sync set at its primary's request, and where grants end nobody is replaced unasked while
//! its grant may hold. Where they don't, as under `static`, an operator replaces whom he likes.

use std::sync::Arc;

use homing_kv::Standing;
use homing_routing_table::Diff;
use homing_types::Epoch;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::authority::{HEARTBEAT, ROUND_TRIP, numbers_of, owners_of};
use crate::names::{node_id, number_of, slot_of, space_of};
use crate::world::World;

impl World {
    /// All nodes ask for their grants, again and again.
    pub(crate) async fn heartbeats(self: Arc<Self>) {
        loop {
            let asked = Instant::now();
            let asking: Vec<_> =
                (0..self.plan.nodes).filter_map(|node| Some((node, self.entry(node)?.1))).collect();
            sleep(ROUND_TRIP).await;
            for (node, incarnation) in asking {
                if self.hears(node) && self.entry(node).is_some_and(|(_, now)| now == incarnation) {
                    self.authority.answer(node);
                    if self.plan.grants {
                        self.tell_what_it_owned(node);
                    }
                    self.extend_grants(node, asked);
                }
            }
            sleep(HEARTBEAT - ROUND_TRIP).await;
        }
    }

    /// A node has no grant for what others own now, whatever it has heard and has yet to hear: with the answer to its heartbeat it learns
    /// who owns what it ever owned.
    fn tell_what_it_owned(&self, node: usize) {
        for space in 0..self.plan.spaces {
            let newest = self.authority.epoch(space);
            if self.epoch_at(node, space) < Some(newest) && self.authority.ever_owned(space, node) {
                self.tell(node, &self.authority.group(space));
            }
        }
    }

    /// Whether a node and the authority can speak to each other.
    fn hears(&self, node: usize) -> bool {
        !self.authority.is_silent() && self.network.is_reachable(node) && self.entry(node).is_some()
    }

    /// An in-sync replica becomes the primary: handed over if the primary can be asked, or unasked when its grant is over.
    /// Where grants don't end, nobody asks. Tells whether one did.
    pub(crate) async fn promote(&self, space: usize, told: u32, mut rng: StdRng) -> bool {
        self.authority.until_it_speaks().await;
        sleep(ROUND_TRIP).await;
        let (epoch, owners) = self.authority.newest(space);
        let (old, in_sync, catching_up) = numbers_of(&owners);
        if in_sync.is_empty() {
            return false;
        }
        let next = in_sync[rng.random_range(0..in_sync.len())];
        let mut others: Vec<_> = in_sync.into_iter().filter(|node| *node != next).collect();
        others.push(old);
        let asks = self.plan.grants;
        while asks && !self.hears(old) && Instant::now() < self.authority.replaceable_at(old) {
            sleep_until(self.authority.replaceable_at(old)).await;
        }
        let knows = asks && self.hears(old);
        let minted = self.authority.mint(space, epoch, owners_of(next, &others, &catching_up));
        let Some(diff) = minted else {
            self.story.tell(format_args!("space-{space} has changed meanwhile: no promotion"));
            return false;
        };
        self.story.tell(format_args!("space-{space} goes to {}, follows epoch {epoch}", node_id(next)));
        self.spread(&diff, told, &mut rng, |node| node == next || (node == old && knows));
        true
    }

    /// At its primary's request a replica leaves the in-sync set; or one that has left, and holds all, enters it. Tells whether
    /// one did.
    pub(crate) fn change_in_sync(&self, space: usize, told: u32, mut rng: StdRng) -> bool {
        let (epoch, owners) = self.authority.newest(space);
        let (primary, mut in_sync, mut catching_up) = numbers_of(&owners);
        if !self.hears(primary) || self.epoch_at(primary, space) != Some(epoch) {
            return false;
        }
        let all = self.standing(primary, space).filter(|all| all.last == all.committed);
        let ready = catching_up.iter().position(|node| all.is_some() && self.standing(*node, space) == all);
        if let Some(at) = ready {
            in_sync.push(catching_up.remove(at));
        } else if in_sync.is_empty() {
            return false;
        } else {
            let leaves = in_sync.remove(rng.random_range(0..in_sync.len()));
            // A primary asks for that once it leads. Without grants nothing else keeps the one before it from answering what it had.
            if !self.plan.grants && !self.is_fenced(leaves, space, self.authority.primary_since(space)) {
                return false;
            }
            catching_up.push(leaves);
        }
        let minted = self.authority.mint(space, epoch, owners_of(primary, &in_sync, &catching_up));
        let Some(diff) = minted else { return false };
        self.story.tell(format_args!("space-{space}: in sync are {in_sync:?}, follows epoch {epoch}"));
        self.spread(&diff, told, &mut rng, |node| node == primary);
        true
    }

    fn epoch_at(&self, node: usize, space: usize) -> Option<Epoch> {
        Some(self.entry(node)?.0.table().snapshot().epoch(slot_of(space)))
    }

    /// What a running node holds of a space.
    fn standing(&self, node: usize, space: usize) -> Option<Standing> {
        self.of_store(node, |store| store.standing(&space_of(space)).ok())
    }

    /// Whether a node can act no more for who owned a space before this epoch.
    fn is_fenced(&self, node: usize, space: usize, epoch: Epoch) -> bool {
        self.of_store(node, |store| store.fence(&space_of(space)).ok()).is_some_and(|fence| fence >= epoch)
    }

    /// Tells some nodes surely, and of the others so many, in per cent.
    fn spread(&self, diff: &Diff, told: u32, rng: &mut StdRng, surely: impl Fn(usize) -> bool) {
        for node in 0..self.plan.nodes {
            if surely(node) || rng.random_range(0..100) < told {
                self.tell(node, diff);
            }
        }
    }

    /// Tells every node what the authority knows.
    pub(crate) fn tell_all(&self) {
        let everything = self.authority.everything(self.plan.spaces);
        (0..self.plan.nodes).for_each(|node| self.tell(node, &everything));
    }

    fn tell(&self, node: usize, diff: &Diff) {
        if let Some((router, _)) = self.entry(node)
            && let Err(error) = router.apply(diff)
        {
            self.oracle.violated("table", format!("{}: {error}", node_id(node)));
        }
    }

    /// The owners of a space as the authority knows them, the primary first; no replica that is catching up.
    pub(crate) fn owners(&self, space: usize) -> Vec<usize> {
        let (primary, in_sync, _) = numbers_of(&self.authority.newest(space).1);
        std::iter::once(primary).chain(in_sync).collect()
    }

    /// Whether a running node knows the newest owners of a space.
    pub(crate) fn is_up_to_date(&self, node: usize, space: usize) -> bool {
        let Some((router, _)) = self.entry(node) else { return false };
        let found = router.table().snapshot();
        let found = found.lookup(space_of(space).key());
        found.is_some_and(|found| (found.epoch(), found.owners()) == self.authority.newest(space))
    }

    /// Whether a node that is answered as the primary of a space is it.
    pub(crate) fn is_primary(&self, node: usize, space: usize) -> bool {
        number_of(self.authority.newest(space).1.primary()) == node
    }
}
