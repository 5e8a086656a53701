use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use homing_failover::{AdmissionLimits, BreakerLimits, BudgetLimits, Limits, Nearest, Policy, Shared};
use homing_routing_table::{Applied, ApplyError, Diff, RoutingTable};
use homing_types::{Epoch, Locality, NodeId, Slot, Time};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::admission::Door;
use crate::authority::{Authority, Gate, OpenGate};
use crate::changes::Changes;
use crate::counters::Counters;
use crate::flight::Flights;
use crate::service::{DirectService, Service};
use crate::standings::Standings;
use crate::{Directory, Node, Pool};

/// Brings requests to the nodes that own their spaces, and takes those that others bring.
pub struct Router {
    pub(crate) me: NodeId,
    pub(crate) locality: Locality,
    pub(crate) table: Arc<RoutingTable>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) options: RouterOptions,
    pub(crate) counters: Counters,
    pub(crate) pulls: Flights<(NodeId, Slot), Pulled>,
    pub(crate) lookups: Flights<Slot, ()>,
    pub(crate) standings: Standings,
    pub(crate) changes: Changes,
    pub(crate) door: Arc<Door>,
    mounted: OnceLock<Mounted>,
    shared: Mutex<(Shared, StdRng)>,
    origin: Instant,
}

/// What a pull brought: the epoch the peer has for the slot, zero if it has none. Newer groups are applied already.
pub(crate) type Pulled = Result<Epoch, String>;

/// The longest time of a call that brings none: who sets more means none at all.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The bounds of a [`Router`].
#[derive(Debug, Clone)]
pub struct RouterOptions {
    /// The bounds of one call.
    pub call: Limits,
    /// How much retries and hedges may add to the calls.
    pub budget: BudgetLimits,
    /// When a peer that fails is tried last.
    pub breaker: BreakerLimits,
    /// How many requests this node takes at a time, its own and others'. More are refused as overloaded.
    pub admission: AdmissionLimits,
    /// How long it may take to pull one group from a member, or to ask the authority for it.
    pub pull_timeout: Duration,
}

impl Default for RouterOptions {
    fn default() -> Self {
        Self {
            call: Limits::default(),
            budget: BudgetLimits::default(),
            breaker: BreakerLimits::default(),
            admission: AdmissionLimits::default(),
            pull_timeout: Duration::from_secs(1),
        }
    }
}

/// What a router is made of.
pub struct RouterBuilder {
    /// The node this router runs in.
    pub me: Node,
    /// Who owns what, as this node knows.
    pub table: Arc<RoutingTable>,
    /// The nodes of the cluster, this one included.
    pub directory: Arc<Directory>,
    /// The connections to them.
    pub pool: Pool,
    /// Who mints epochs.
    pub authority: Arc<dyn Authority>,
    /// Holds spaces back. [`OpenGate`] never does.
    pub gate: Arc<dyn Gate>,
    /// In which order candidates are tried. The default is [`Nearest`].
    pub policy: Box<dyn Policy>,
    /// The bounds.
    pub options: RouterOptions,
    /// Seeds the router's randomness (jitter, ties). A simulation gives what it likes; a node asks the system.
    pub seed: [u8; 32],
}

struct Mounted {
    service: Arc<dyn Service>,
    direct: HashMap<&'static str, Arc<dyn DirectService>>,
}

impl RouterBuilder {
    /// A builder with the default policy, an open gate and default bounds.
    #[must_use]
    pub fn new(
        me: Node,
        directory: Arc<Directory>,
        pool: Pool,
        authority: Arc<dyn Authority>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            me,
            table: Arc::new(RoutingTable::new()),
            directory,
            pool,
            authority,
            gate: Arc::new(OpenGate),
            policy: Box::new(Nearest),
            options: RouterOptions::default(),
            seed,
        }
    }

    /// The router. Until [`Router::mount`] it answers that it isn't ready.
    #[must_use]
    pub fn build(self) -> Arc<Router> {
        Arc::new(Router {
            me: self.me.id,
            locality: self.me.locality,
            table: self.table,
            directory: self.directory,
            pool: Arc::new(self.pool),
            policy: self.policy,
            authority: self.authority,
            gate: self.gate,
            standings: Standings::new(self.options.breaker),
            changes: Changes::new(),
            shared: Mutex::new((Shared::new(self.options.budget), StdRng::from_seed(self.seed))),
            door: Arc::new(Door::new(self.options.admission)),
            options: self.options,
            counters: Counters::new(),
            pulls: Flights::new(),
            lookups: Flights::new(),
            mounted: OnceLock::new(),
            origin: Instant::now(),
        })
    }
}

impl Router {
    /// Gives the router what it brings requests to. A service needs its peers, hence the router, first; so this comes
    /// after the build, once. A second call changes nothing.
    pub fn mount(
        &self,
        service: Arc<dyn Service>,
        direct: impl IntoIterator<Item = (&'static str, Arc<dyn DirectService>)>,
    ) {
        let _ = self.mounted.set(Mounted { service, direct: direct.into_iter().collect() });
    }

    /// This node.
    #[must_use]
    pub const fn me(&self) -> &NodeId {
        &self.me
    }

    /// Who owns what, as this node knows.
    #[must_use]
    pub const fn table(&self) -> &Arc<RoutingTable> {
        &self.table
    }

    /// The nodes of the cluster.
    #[must_use]
    pub const fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    /// Takes newer groups, for this node's next decision and for the calls that wait on old owners.
    ///
    /// # Errors
    /// [`ApplyError`] if the table would break a bound.
    pub fn apply(&self, diff: &Diff) -> Result<Applied, ApplyError> {
        let applied = self.table.apply(diff)?;
        self.changes.tell(&applied);
        Ok(applied)
    }

    pub(crate) fn service(&self) -> Option<&Arc<dyn Service>> {
        self.mounted.get().map(|mounted| &mounted.service)
    }

    pub(crate) fn direct_service(&self, path: &str) -> Option<&Arc<dyn DirectService>> {
        self.mounted.get().and_then(|mounted| mounted.direct.get(path))
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_origin(self.origin.elapsed())
    }

    /// When a call that began at `started` and brings no deadline ends.
    pub(crate) fn default_deadline(&self, started: Instant) -> Instant {
        started + self.options.call.deadline.min(LONGEST)
    }

    pub(crate) fn time_of(&self, instant: Instant) -> Time {
        Time::from_origin(instant.saturating_duration_since(self.origin))
    }

    pub(crate) fn instant_of(&self, time: Time) -> Instant {
        self.origin + time.since(Time::ZERO)
    }

    /// The lock is held for a few instructions and never across an await.
    pub(crate) fn with_shared<T>(&self, decide: impl FnOnce(&mut Shared, &mut StdRng) -> T) -> T {
        let (shared, random) = &mut *self.shared.lock();
        decide(shared, random)
    }
}
