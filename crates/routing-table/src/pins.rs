//! The pins of one group, found by hash: no allocation on lookup, and nearly always one place in memory to look at.
//!
//! A space key is a hash already, so where a pin lies in the array is computed from it: its *home*. The homes rise with
//! the keys, and a pin whose home is taken goes to the next free place; so all pins lie in the order of their keys, and a
//! lookup ends at the first place that is free or holds a higher key, whether the pin is there or not (linear probing in
//! an ordered table: Amble and Knuth, "Ordered hash tables", 1974).

use std::sync::Arc;

use homing_types::{MAX_REPLICAS, SpaceKey};

use crate::packed::{self, Packed, Position};
use crate::table::MAX_PINS;
use crate::wire::KEY_LEN;

/// In the place of the number of replicas, where there is no pin. A lookup ends there.
const FREE: u8 = u8::MAX;

/// The places of a group's pins: key and owners each, all as long as the pin with the most replicas needs.
pub(crate) type Places = Arc<[u8]>;

/// How many pins there are, and the most replicas that one of them has, in one number: entries of a table are small.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape(u32);

impl Shape {
    const REPLICA_BITS: u32 = 3;

    pub(crate) const fn new(pins: usize, replicas: usize) -> Self {
        Self((pins as u32) << Self::REPLICA_BITS | replicas as u32)
    }

    #[inline]
    pub(crate) const fn pins(self) -> usize {
        (self.0 >> Self::REPLICA_BITS) as usize
    }

    /// Two thirds full: where a pin isn't at home, it is in the next place, on average.
    #[inline]
    const fn homes(self) -> usize {
        self.pins() + self.pins() / 2
    }

    /// The bytes of a place.
    #[inline]
    const fn stride(self) -> usize {
        KEY_LEN + packed::len(self.0 as usize & MAX_REPLICAS)
    }
}

const _: () = assert!(MAX_REPLICAS == (1 << Shape::REPLICA_BITS) - 1 && MAX_PINS < 1 << 28);

/// Lays out the pins, which come in the order of their keys. A node has the position in the table that `position` gives.
/// `None` without a pin. It is done in `scratch`.
pub(crate) fn lay_out<'a>(
    shape: Shape,
    pins: impl Iterator<Item = (SpaceKey, Packed<'a>)>,
    position: impl Fn(Position) -> Position,
    scratch: &mut Vec<u8>,
) -> Option<Places> {
    if shape.pins() == 0 {
        return None;
    }
    let (homes, stride) = (shape.homes(), shape.stride());
    scratch.clear();
    scratch.resize(homes * stride, FREE);
    let mut next = 0;
    for (key, owners) in pins {
        let at = home(key, homes).max(next);
        next = at + 1;
        if scratch.len() < next * stride {
            scratch.resize(next * stride, FREE);
        }
        let place = &mut scratch[at * stride..next * stride];
        place[..KEY_LEN].copy_from_slice(&key.as_u128().to_be_bytes());
        owners.translate(&mut place[KEY_LEN..], &position);
    }
    Some(scratch.as_slice().into())
}

/// How many places a lookup looks at one after the other; pins spread by a hash are nearly always found by then.
const NEAR: usize = 8;

/// Not inlined: most lookups don't come here, and needn't make room for what this one does.
#[inline(never)]
pub(crate) fn find(places: &[u8], shape: Shape, key: SpaceKey) -> Option<Packed<'_>> {
    let stride = shape.stride();
    let home = home(key, shape.homes());
    let mut from = home * stride;
    for _ in 0..NEAR {
        let (found, owners) = place(places.get(from..from + stride)?)?;
        if found >= key {
            return (found == key).then_some(owners);
        }
        from += stride;
    }
    find_crowded(places, stride, home + NEAR, key)
}

/// Whoever may choose names can crowd them at one home. From there on, places with lower keys come first: halve them.
#[cold]
fn find_crowded(places: &[u8], stride: usize, mut low: usize, key: SpaceKey) -> Option<Packed<'_>> {
    let at = |index: usize| places.get(index * stride..(index + 1) * stride).and_then(place);
    let mut high = places.len() / stride;
    while low < high {
        let middle = low.midpoint(high);
        if at(middle).is_some_and(|(found, _)| found < key) { low = middle + 1 } else { high = middle }
    }
    at(low).and_then(|(found, owners)| (found == key).then_some(owners))
}

/// The pins, in the order of their keys.
pub(crate) fn iter(places: &[u8], shape: Shape) -> impl Iterator<Item = (SpaceKey, Packed<'_>)> {
    places.chunks_exact(shape.stride()).filter_map(place)
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
            let shape = Shape::new(keys.len(), 1);
            let places = lay_out(shape, pins, |position| position, &mut Vec::new()).unwrap();
            for (key, owners) in keys.iter().zip(&owners) {
                let found = find(&places, shape, SpaceKey::from_u128(*key)).unwrap();
                prop_assert_eq!(found.bytes(), Packed::new(owners).bytes());
            }
            for key in others.difference(&keys) {
                prop_assert!(find(&places, shape, SpaceKey::from_u128(*key)).is_none());
            }
            prop_assert!(iter(&places, shape).map(|(key, _)| key.as_u128()).eq(keys.iter().copied()));
        }
    }
}
