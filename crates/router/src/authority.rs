use std::sync::Arc;
use std::time::Duration;

use homing_routing_table::{Diff, Group};
use homing_transport::BoxFuture;
use homing_types::{Role, Slot, SpaceKey};

/// Who mints epochs and grants.
pub trait Authority: Send + Sync + 'static {
    /// The newest group of a slot, where the authority can be asked and has one.
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Arc<Group>>>;
}

/// Authority of a cluster whose table is given, not agreed upon: by a file, or computed alike by every
/// node from one list. It never promotes and its grants don't end: fencing is by epoch alone.
#[derive(Debug, Default)]
pub struct StaticAuthority {
    /// In the order of the slots.
    groups: Vec<(Slot, Arc<Group>)>,
}

impl StaticAuthority {
    /// The authority of this table.
    #[must_use]
    pub fn new(table: &Diff) -> Self {
        Self { groups: table.iter().map(|(slot, group)| (slot, Arc::new(group))).collect() }
    }
}

impl Authority for StaticAuthority {
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Arc<Group>>> {
        let found = self.groups.binary_search_by_key(&slot, |(slot, _)| *slot);
        let group = found.ok().map(|index| Arc::clone(&self.groups[index].1));
        Box::pin(std::future::ready(group))
    }
}

/// Holds the requests of a space back while its node can't execute them: fenced, loading, catching up, or
/// handing it over.
pub trait Gate: Send + Sync + 'static {
    /// `Some(when to try again)` while requests for the space are held back.
    fn closed(&self, key: SpaceKey, role: Role) -> Option<Duration>;
}

/// A gate that is always open.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn closed(&self, _: SpaceKey, _: Role) -> Option<Duration> {
        None
    }
}
