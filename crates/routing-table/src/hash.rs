//! What a group holds, as one number: two tables compare these, and a table tells by them whether a group is news. It tells
//! apart what differs by accident, not what an authority made to collide.

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::packed::{Packed, Position};
use crate::wire::WireGroup;

/// The hash of a group, slot and epoch included: of node *ids*, so that it is the same whatever the dictionary.
pub(crate) fn hash<'a>(group: &WireGroup<'_>, id: impl Fn(Position) -> &'a str) -> u64 {
    let mut state = Xxh3::new();
    state.update(&group.slot.number().to_be_bytes());
    state.update(&group.epoch.number().to_be_bytes());
    update(&mut state, group.owners, &id);
    for (key, owners) in group.pins() {
        state.update(&key.as_u128().to_be_bytes());
        update(&mut state, owners, &id);
    }
    state.digest()
}

/// Owners are as many numbers as they say themselves, so what is hashed of two groups is equal only if they are.
fn update<'a>(state: &mut Xxh3, owners: Packed<'_>, id: &impl Fn(Position) -> &'a str) {
    let (shape, mut bytes) = (&owners.bytes()[..2], [0; 2 + 8 * (1 + homing_types::MAX_REPLICAS)]);
    bytes[..2].copy_from_slice(shape);
    let mut len = 2;
    for position in owners.positions() {
        bytes[len..len + 8].copy_from_slice(&xxh3_64(id(position).as_bytes()).to_be_bytes());
        len += 8;
    }
    state.update(&bytes[..len]);
}
