//! Word of new owners, for calls that wait on the old ones.

use homing_routing_table::Applied;
use homing_types::Slot;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Slots share a bell, so that a change wakes few of the calls that wait on other slots.
const BELLS: usize = 64;

pub(crate) struct Changes([Notify; BELLS]);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Notify::new()))
    }

    /// Ends with the next change of the slot, or of one that shares its bell.
    pub(crate) fn next(&self, slot: Slot) -> Notified<'_> {
        self.0[slot.index() % BELLS].notified()
    }

    pub(crate) fn tell(&self, applied: &Applied) {
        let bells = applied.changed.iter().fold(0_u64, |bells, slot| bells | 1 << (slot.index() % BELLS));
        for (index, bell) in self.0.iter().enumerate() {
            if bells >> index & 1 == 1 {
                bell.notify_waiters();
            }
        }
    }
}
