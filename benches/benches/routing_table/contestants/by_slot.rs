//! A map of locked shards over slots: it hashes twice, the name to its slot and the slot to its shard, and can hold no pin.

use dashmap::DashMap;
use homing_benches::group_seats;
use homing_types::{Slot, SpaceKey};

use super::{Contestant, Field, Lookup, Value, called};

struct BySlot(DashMap<u16, Value>);

pub(super) fn dashmap(field: &Field) -> Box<dyn Contestant> {
    assert!(!field.pinned, "a slot has no pin");
    Box::new(BySlot(Slot::all().map(|slot| (slot.number(), Value::new(group_seats(slot, 1)))).collect()))
}

impl Lookup for BySlot {
    fn name(&self) -> &'static str {
        called::DASHMAP_BY_SLOT
    }

    fn primary(&self, name: &str) -> usize {
        self.0.get(&slot(name)).map_or(0, |value| value.primary())
    }

    fn replicas(&self, name: &str) -> usize {
        self.0.get(&slot(name)).map_or(0, |value| value.all())
    }

    fn seat(&self, name: &str) -> Option<u16> {
        Some(self.0.get(&slot(name))?.primary)
    }
}

fn slot(name: &str) -> u16 {
    SpaceKey::of(name).slot().number()
}
