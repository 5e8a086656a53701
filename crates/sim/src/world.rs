//! The cluster: real routers and real copies of `kv`, each on a disk that forgets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bytes::Bytes;
use homing_kv::{Coin, Disk, Identity, Kv, Page, Position, REPLICA_PATH, Store};
use homing_router::{
    Authority, DirectService, Directory, Node, Pool, PoolOptions, Router, RouterBuilder, Service,
};
use homing_routing_table::{Diff, Snapshot};
use homing_transport::Limits;
use homing_transport::memory::{MemoryListener, MemoryNetwork};
use homing_types::{Epoch, Locality, Name, Role};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::authority::{Grants, Script};
use crate::meters::Meters;
use crate::names::{node_id, slot_of, space_of};
use crate::network::{Network, until};
use crate::oracle::Oracle;
use crate::story::Story;
use crate::tables;
use crate::watched::Watched;
use crate::wire::Wire;
use crate::{Counts, Plan};

const ZONES: [&str; 3] = ["a", "b", "c"];

/// All of what was not synced survives: a process dies, and not its machine.
pub(crate) const KEEPS_ALL: u64 = 4;

/// When a run begins, by clocks that are right: since 1970.
const TODAY: Duration = Duration::from_secs(1_790_000_000);

/// All nodes, and who says who owns what.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) story: Story,
    pub(crate) oracle: Oracle,
    pub(crate) authority: Arc<Script>,
    pub(crate) counts: Mutex<Counts>,
    memory: MemoryNetwork,
    directory: Arc<Directory>,
    nodes: Mutex<Vec<Machine>>,
    /// Rings when a process has ended. No watch channel: tokio wakes its receivers in random order.
    died: Notify,
}

/// One node: what is on its disks, its clock, and its process if there is one.
struct Machine {
    disk: Disk,
    /// The table that it began with.
    first: Diff,
    /// Its table as it was kept.
    kept: Diff,
    clock: Clock,
    process: Option<Process>,
    /// Which of its processes that is, or was.
    incarnation: u32,
}

struct Process {
    router: Arc<Router>,
    kv: Arc<Kv>,
    grants: Arc<Grants>,
    meters: Meters,
    began: Instant,
    _listener: MemoryListener,
}

/// The clock on a node's wall.
#[derive(Clone)]
struct Clock {
    began: Instant,
    wrong: Arc<Mutex<(bool, Duration)>>,
}

impl Clock {
    fn now(&self) -> Duration {
        let right = TODAY + self.began.elapsed();
        match *self.wrong.lock() {
            (true, by) => right + by,
            (false, by) => right.saturating_sub(by),
        }
    }
}

impl World {
    pub(crate) fn new(plan: Plan, story: Story, oracle: Oracle) -> Arc<Self> {
        // A stream of its own beside that of the network: "world".
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x776f_726c_6400);
        let network = Network::new(plan.seed);
        let authority = Script::new();
        let past_owners: Vec<_> = (0..plan.spaces).map(|_| tables::past_owners(&mut rng, &plan)).collect();
        for (space, owners) in past_owners.iter().enumerate() {
            let mut follows = Epoch::ZERO;
            for owners in owners {
                authority.mint(space, follows, owners.clone());
                follows = Epoch::new(follows.number() + 1);
            }
        }
        let entries = (0..plan.nodes).map(|node| Node {
            id: node_id(node),
            address: node_id(node).to_string(),
            wire: "memory".to_owned(),
            locality: locality(ZONES[node % plan.zones]),
            weight: 1,
        });
        let began = Instant::now();
        let machines: Vec<_> = (0..plan.nodes)
            .map(|node| {
                let first = tables::remembered(&mut rng, &plan, &past_owners, node);
                let wrong = Arc::new(Mutex::new((true, Duration::ZERO)));
                let clock = Clock { began, wrong };
                Machine {
                    disk: Disk::new(),
                    kept: first.clone(),
                    first,
                    clock,
                    process: None,
                    incarnation: 0,
                }
            })
            .collect();
        let world = Arc::new(Self {
            directory: Arc::new(Directory::new(entries)),
            nodes: Mutex::new(machines),
            died: Notify::new(),
            memory: MemoryNetwork::new(),
            authority: Arc::new(authority),
            counts: Mutex::default(),
            network,
            story,
            oracle,
            plan,
        });
        (0..world.plan.nodes).for_each(|node| world.start(node));
        world
    }

    /// Starts a node over what its disks hold.
    pub(crate) fn start(&self, node: usize) {
        let mut nodes = self.nodes.lock();
        let machine = &mut nodes[node];
        if machine.process.is_none() {
            machine.incarnation += 1;
            machine.process = self.process(node, machine);
        }
    }

    fn process(&self, node: usize, machine: &Machine) -> Option<Process> {
        let id = node_id(node);
        let me = self.directory.node(&id)?;
        let memory = self.memory.transport(id.clone(), Limits::default());
        let wire = Wire::new(self.network.clone(), self.oracle.clone(), (node, machine.incarnation), memory);
        let meters = Meters::default();
        let pool =
            metrics::with_local_recorder(&meters, || Pool::new(vec![Arc::new(wire)], PoolOptions::default()));
        let authority = Arc::clone(&self.authority) as Arc<dyn Authority>;
        let seed = self.plan.seed ^ ((node as u64) << 32) ^ (u64::from(machine.incarnation) << 48);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut builder =
            RouterBuilder::new((*me).clone(), Arc::clone(&self.directory), pool, authority, bytes);
        let grants = Grants::new(self.plan.grants);
        builder.gate = Arc::clone(&grants) as _;
        builder.options.budget = self.plan.budget;
        builder.options.admission.max_in_flight = self.plan.max_in_flight;
        let router = metrics::with_local_recorder(&meters, || builder.build());
        if let Err(error) = router.apply(&machine.kept) {
            self.oracle.violated("table", format!("{id} can't take its own table: {error}"));
        }
        let identity = Identity { cluster: "sim".to_owned(), node: id.clone() };
        let store = match Store::with_backend(machine.disk.clone(), &identity) {
            Ok(store) => store,
            Err(error) => {
                self.oracle.violated("disk", format!("{id} can't open what a power cut left: {error}"));
                return None;
            }
        };
        let clock = machine.clock.clone();
        let kv = Arc::new(Kv::in_place(store, id.clone(), router.peers(), move || clock.now()));
        let replica: Arc<dyn DirectService> = kv.replica();
        let watched = Watched {
            node,
            kv: Arc::clone(&kv),
            oracle: self.oracle.clone(),
            authority: Arc::clone(&self.authority),
            grants: Arc::clone(&grants),
            most: self.plan.max_in_flight,
            under_way: AtomicUsize::new(0),
        };
        router.mount(Arc::new(watched) as Arc<dyn Service>, [(REPLICA_PATH, replica)]);
        match self.memory.listen(id.clone(), id.as_str(), Limits::default(), router.handler()) {
            Ok(listener) => {
                Some(Process { router, kv, grants, meters, began: Instant::now(), _listener: listener })
            }
            Err(error) => {
                self.oracle.violated("start", error.to_string());
                None
            }
        }
    }

    /// A node dies. Of what it had not synced each sector survives with a chance of `keep` in 4: all of them if only its process died, and
    /// not its machine. It comes back with its table, or with the one that it began with. Tells whether it had been alive.
    pub(crate) fn crash(&self, node: usize, keep: u64, restored: bool) -> bool {
        let mut nodes = self.nodes.lock();
        let machine = &mut nodes[node];
        let Some(process) = machine.process.take() else { return false };
        self.audit_process(node, &process);
        machine.kept =
            if restored { machine.first.clone() } else { tables::whole(&process.router, self.plan.spaces) };
        machine.disk = machine.disk.cut(&mut Coin(self.plan.seed ^ u64::from(machine.incarnation)), keep);
        self.network.ends(node, keep < KEEPS_ALL);
        drop((nodes, process));
        self.died.notify_waiters();
        true
    }

    /// Holds what routers have spent on retries against what they may, and counts what they did.
    pub(crate) fn audit_processes(&self) {
        let nodes = self.nodes.lock();
        for (node, process) in running(&nodes) {
            self.audit_process(node, process);
        }
    }

    fn audit_process(&self, node: usize, process: &Process) {
        process.meters.add_to(&mut self.counts.lock().done);
        let spent = process.meters.spent();
        let budget = self.plan.budget;
        let earned = f64::from(budget.percent) / 100.0 * spent.calls as f64;
        let filled = f64::from(budget.per_second) * process.began.elapsed().as_secs_f64();
        self.oracle.spent(node, spent, f64::from(budget.burst) + earned + filled);
    }

    /// The router of a node, and which of its processes that is.
    pub(crate) fn entry(&self, node: usize) -> Option<(Arc<Router>, u32)> {
        let nodes = self.nodes.lock();
        let machine = &nodes[node];
        machine.process.as_ref().map(|process| (Arc::clone(&process.router), machine.incarnation))
    }

    /// What the clock of a node says, in milliseconds since 1970.
    pub(crate) fn clock(&self, node: usize) -> u64 {
        u64::try_from(self.nodes.lock()[node].clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn set_clock(&self, node: usize, forward: bool, by: Duration) {
        *self.nodes.lock()[node].clock.wrong.lock() = (forward, by);
    }

    /// Waits until this process of a node has ended.
    pub(crate) async fn ended(&self, node: usize, incarnation: u32) {
        until(&self.died, || {
            let machine = &self.nodes.lock()[node];
            machine.process.is_none() || machine.incarnation != incarnation
        })
        .await;
    }

    /// The authority has answered what a node asked at this time.
    pub(crate) fn extend_grants(&self, node: usize, asked: Instant) {
        self.nodes.lock()[node].process.iter().for_each(|process| process.grants.extend(asked));
    }

    /// What the store of a running node says.
    pub(crate) fn of_store<T>(&self, node: usize, ask: impl FnOnce(&Store) -> Option<T>) -> Option<T> {
        ask(self.nodes.lock()[node].process.as_ref()?.kv.store())
    }

    /// What a running node has committed of a space.
    pub(crate) fn committed(&self, node: usize, space: usize) -> Option<Position> {
        self.of_store(node, |store| Some(store.standing(&space_of(space)).ok()?.committed))
    }

    /// What a running node shows of a space: its keys and their versions. `None` if it is down, or doesn't know what is committed.
    pub(crate) fn shows(&self, node: usize, space: usize) -> Option<BTreeMap<Bytes, Position>> {
        self.of_store(node, |store| {
            let space = space_of(space);
            let fence = store.fence(&space).ok()?;
            let all = Page::new(Bytes::new(), Bytes::new(), 0).ok()?;
            let listing = store.list(&space, fence, Role::Replica, &all).ok()?;
            debug_assert!(!listing.more, "a run writes fewer keys than a page holds");
            Some(listing.items.into_iter().map(|item| (item.key.bytes().clone(), item.version)).collect())
        })
    }

    /// Starts all nodes that are down.
    pub(crate) fn restart(&self) {
        (0..self.plan.nodes).for_each(|node| self.start(node));
    }

    /// What each running node believes of a space.
    pub(crate) fn known(&self, space: usize) -> Vec<String> {
        let nodes = self.nodes.lock();
        let told = running(&nodes).map(|(node, process)| {
            let snapshot = process.router.table().snapshot();
            let found = snapshot.lookup(space_of(space).key());
            let primary = found.as_ref().map_or("nothing", |found| found.primary().as_str());
            format!("{} {primary} in epoch {}", node_id(node), snapshot.epoch(slot_of(space)))
        });
        told.collect()
    }

    /// The tables of the running nodes, each with the node and its incarnation.
    pub(crate) fn tables(&self) -> Vec<(usize, u32, Arc<Snapshot>)> {
        let nodes = self.nodes.lock();
        let told = running(&nodes)
            .map(|(node, process)| (node, nodes[node].incarnation, process.router.table().snapshot()));
        told.collect()
    }
}

fn running(nodes: &[Machine]) -> impl Iterator<Item = (usize, &Process)> {
    nodes.iter().enumerate().filter_map(|(node, machine)| Some((node, machine.process.as_ref()?)))
}

fn locality(zone: &str) -> Locality {
    Locality { zone: Name::new(zone).ok(), ..Locality::default() }
}
