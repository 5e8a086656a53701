//! A stored group: what a [`Group`](crate::Group) becomes inside a table.

use homing_types::{Epoch, SpaceKey};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::packed::{self, Packed, Position};
use crate::pins::Pins;
use crate::wire::WireGroup;

/// All of a group but what every lookup needs, which stands in an array of its own. It fills one cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content {
    /// See [`hash`].
    pub(crate) hash: u64,
    pub(crate) pins: Option<Pins>,
    owners: [u8; packed::MAX_LEN],
}

impl Content {
    /// The group as it lies in a table that gives a node its `position`.
    pub(crate) fn new(
        group: &WireGroup<'_>,
        hash: u64,
        position: impl Fn(Position) -> Position,
        scratch: &mut Vec<u8>,
    ) -> Self {
        let owners = group.owners.translated(&position);
        let pins = Pins::new(group.pin_counts(), group.pins(), position, scratch);
        Self { hash, pins, owners }
    }

    pub(crate) const fn owners(&self) -> Packed<'_> {
        Packed::new(&self.owners)
    }

    pub(crate) fn pin_count(&self) -> usize {
        self.pins.as_ref().map_or(0, Pins::len)
    }

    /// The pins in the order of their keys.
    pub(crate) fn pins(&self) -> impl Iterator<Item = (SpaceKey, Packed<'_>)> + Clone {
        self.pins.iter().flat_map(Pins::iter)
    }
}

/// The hash of a group, slot and epoch included: of node *ids*, so that it is the same whatever the dictionary.
pub(crate) fn hash<'a>(group: &WireGroup<'_>, id: impl Fn(Position) -> &'a str) -> u64 {
    let mut state = Xxh3::new();
    state.update(&group.slot.number().to_be_bytes());
    state.update(&group.epoch.number().to_be_bytes());
    update(&mut state, None, group.owners, &id);
    for (key, owners) in group.pins() {
        update(&mut state, Some(key), owners, &id);
    }
    state.digest()
}

/// Owners are as many numbers as they say themselves, so what is hashed of two groups is equal only if they are.
fn update<'a>(
    state: &mut Xxh3,
    key: Option<SpaceKey>,
    owners: Packed<'_>,
    id: &impl Fn(Position) -> &'a str,
) {
    if let Some(key) = key {
        state.update(&key.as_u128().to_be_bytes());
    }
    let (shape, mut bytes) = (&owners.bytes()[..2], [0; 2 + 8 * (1 + homing_types::MAX_REPLICAS)]);
    bytes[..2].copy_from_slice(shape);
    let mut len = 2;
    for position in owners.positions() {
        bytes[len..len + 8].copy_from_slice(&xxh3_64(id(position).as_bytes()).to_be_bytes());
        len += 8;
    }
    state.update(&bytes[..len]);
}

/// What every lookup needs of a group, in one small array.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) epoch: Epoch,
    pub(crate) primary: Position,
    pub(crate) has_pins: bool,
    /// Another content came with this very epoch: writes stop until the group is minted anew.
    pub(crate) conflict: bool,
}

impl Entry {
    pub(crate) fn new(epoch: Epoch, content: &Content) -> Self {
        Self { epoch, primary: content.owners().primary(), has_pins: content.pins.is_some(), conflict: false }
    }
}
