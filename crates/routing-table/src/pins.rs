//! The pins of one group, found by hash: no search over them, no allocation on lookup, one place in memory to look at.
//!
//! A space key is a hash already, so where a pin lies in the array is computed from it: its *home*. The homes rise with
//! the keys, and a pin whose home is taken goes to the next free place; so all pins lie in the order of their keys, and a
//! lookup ends at the first place that is free or holds a higher key, whether the pin is there or not (linear probing in
//! an ordered table: Amble and Knuth, "Ordered hash tables", 1974).

use std::sync::Arc;

use homing_types::SpaceKey;

use crate::packed::{self, Packed, Position};
use crate::wire::KEY_LEN;

/// In the place of the number of replicas, where there is no pin. The key is then the highest, so that a lookup ends there.
const FREE: u8 = u8::MAX;

/// The pins of one group: at least one.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    /// Places of equal length: key and owners, with room for the most replicas that a pin of the group has. The last one
    /// is free, so that every lookup ends.
    places: Arc<[u8]>,
    homes: u32,
    pins: u32,
    stride: u8,
}

impl Pins {
    /// From `count` pins in the order of their keys, none with more than `replicas`. A node has the position in the table
    /// that `position` gives. `None` without a pin. The places are laid out in `scratch`.
    pub(crate) fn new<'a>(
        (count, replicas): (usize, usize),
        pins: impl Iterator<Item = (SpaceKey, Packed<'a>)>,
        position: impl Fn(Position) -> Position,
        scratch: &mut Vec<u8>,
    ) -> Option<Self> {
        if count == 0 {
            return None;
        }
        // Three quarters full.
        let homes = count + count / 3;
        let stride = KEY_LEN + packed::len(replicas);
        scratch.clear();
        scratch.resize((homes + 1) * stride, FREE);
        let mut next = 0;
        for (key, owners) in pins {
            let at = home(key, homes).max(next);
            next = at + 1;
            // There is always a free place after the last.
            if scratch.len() < (next + 1) * stride {
                scratch.resize((next + 1) * stride, FREE);
            }
            let place = &mut scratch[at * stride..next * stride];
            place[..KEY_LEN].copy_from_slice(&key.as_u128().to_be_bytes());
            owners.translate(&mut place[KEY_LEN..], &position);
        }
        Some(Self {
            places: scratch.as_slice().into(),
            homes: homes as u32,
            pins: count as u32,
            stride: stride as u8,
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.pins as usize
    }

    /// Not inlined: most lookups don't come here, and needn't make room for what this one does.
    #[inline(never)]
    pub(crate) fn find(&self, key: SpaceKey) -> Option<Packed<'_>> {
        let stride = usize::from(self.stride);
        let mut from = home(key, self.homes as usize) * stride;
        loop {
            let (found, owners) = place(&self.places[from..from + stride])?;
            if found >= key {
                return (found == key).then_some(owners);
            }
            from += stride;
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SpaceKey, Packed<'_>)> + Clone {
        self.places.chunks_exact(usize::from(self.stride)).filter_map(place)
    }
}

/// What lies in a place, if anything.
#[inline]
fn place(bytes: &[u8]) -> Option<(SpaceKey, Packed<'_>)> {
    let (key, owners) = bytes.split_first_chunk()?;
    (owners[0] != FREE).then(|| (SpaceKey::from_u128(u128::from_be_bytes(*key)), Packed::new(owners)))
}

/// The place where a pin should lie, of `homes`: the bits of its key below those of the slot, scaled (Lemire, "Fast random
/// integer generation in an interval", 2019).
#[inline]
const fn home(key: SpaceKey, homes: usize) -> usize {
    let below = (key.as_u128() << SLOT_BITS >> 64) as u64;
    ((below as u128 * homes as u128) >> 64) as usize
}

const SLOT_BITS: u32 = homing_types::SLOTS.trailing_zeros();

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Keys of the last slot: spread, crowded at one home, and the highest of all.
    fn keys() -> impl Strategy<Value = BTreeSet<u128>> {
        let low = prop_oneof![0..1_u128 << 114, (0..40_u128).prop_map(|low| low << 60), Just((1 << 114) - 1)];
        prop::collection::btree_set(low.prop_map(|low| !0 << 114 | low), 1..200)
    }

    proptest! {
        #[test]
        fn a_pin_is_found_by_its_key_and_no_other(keys in keys(), others in keys()) {
            // Owned by a node of its own each; every third one has a replica.
            let owners = (0..keys.len() as u8).map(|n| [u8::from(n % 3 == 0), 0, 0, n, 1, n]).collect::<Vec<_>>();
            let pins = keys.iter().zip(&owners).map(|(key, owners)| (SpaceKey::from_u128(*key), Packed::new(owners)));
            let pins = Pins::new((keys.len(), 1), pins, |position| position, &mut Vec::new()).unwrap();
            prop_assert_eq!(pins.len(), keys.len());
            for (key, owners) in keys.iter().zip(&owners) {
                let found = pins.find(SpaceKey::from_u128(*key)).unwrap();
                prop_assert_eq!(found.bytes(), Packed::new(owners).bytes());
            }
            for key in others.difference(&keys) {
                prop_assert!(pins.find(SpaceKey::from_u128(*key)).is_none());
            }
            prop_assert!(pins.iter().map(|(key, _)| key.as_u128()).eq(keys.iter().copied()));
        }
    }
}
