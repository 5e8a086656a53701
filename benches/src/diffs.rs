use std::hint::black_box;

use homing_routing_table::Diff;
use homing_types::{SLOTS, Slot};

use crate::{Rng, Spaces};

/// A stream of diffs, each of random groups with all their pins and with owners that changed.
pub struct Diffs<'a> {
    spaces: &'a Spaces,
    groups: usize,
    slots: Vec<Slot>,
    epoch: u64,
    rng: Rng,
}

impl<'a> Diffs<'a> {
    /// Diffs of this many groups for a table that was filled under epoch 1.
    #[must_use]
    pub fn new(spaces: &'a Spaces, groups: usize) -> Self {
        Self { spaces, groups, slots: Slot::all().collect(), epoch: 1, rng: Rng::new(3) }
    }

    /// The slots of the next diff; each call chooses anew.
    pub fn choose(&mut self) -> &[Slot] {
        for i in 0..self.groups {
            let other = i + self.rng.below((SLOTS - i) as u32) as usize;
            self.slots.swap(i, other);
        }
        self.epoch += 1;
        &self.slots[..self.groups]
    }

    /// The next diff. Its epochs are higher than those of all before it.
    pub fn diff(&mut self) -> Diff {
        let spaces = self.spaces;
        self.choose();
        let groups = self.slots[..self.groups].iter().map(|slot| (*slot, spaces.group(*slot, self.epoch)));
        let diff = Diff::new(groups).expect("each slot once");
        // The values that it was made of were freed in many small pieces. The allocator tidies these up at the next large
        // request, which else were one of those that are timed; a node gets its diffs as bytes.
        drop(black_box(vec![0_u8; 64 << 10]));
        diff
    }
}
