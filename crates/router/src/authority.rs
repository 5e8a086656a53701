use std::sync::Arc;
use std::time::Duration;

use homing_routing_table::{Diff, RoutingTable, Snapshot};
use homing_transport::BoxFuture;
use homing_types::{Role, Slot, SpaceKey};

/// Who mints epochs and grants.
pub trait Authority: Send + Sync + 'static {
    /// The newest group of a slot, as a diff of that one, where the authority can be asked and has one.
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Diff>>;
}

/// Authority of a cluster whose table is given, not agreed upon: by a file, or computed alike by every
/// node from one list. It never promotes and its grants don't end: fencing is by epoch alone.
pub struct StaticAuthority {
    table: Arc<Snapshot>,
}

impl StaticAuthority {
    /// The authority of this table.
    #[must_use]
    pub fn new(table: &Diff) -> Self {
        let known = RoutingTable::new();
        match known.apply(table) {
            Ok(_) => Self { table: known.snapshot() },
            Err(_) => unreachable!("a diff alone is within the bounds of a table"),
        }
    }
}

impl Authority for StaticAuthority {
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Diff>> {
        let diff = self.table.diff([slot]);
        Box::pin(std::future::ready((!diff.is_empty()).then_some(diff)))
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
