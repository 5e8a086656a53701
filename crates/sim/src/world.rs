//! The cluster: real routers and real copies of `kv`, each on a disk that forgets.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use homing_kv::{Coin, Disk, Identity, Key, Kv, Position, REPLICA_PATH, Standing, Store};
use homing_router::{
    Authority, DirectService, Directory, Node, Pool, PoolOptions, Router, RouterBuilder, Service,
};
use homing_routing_table::{Diff, Snapshot};
use homing_transport::Limits;
use homing_transport::memory::{MemoryListener, MemoryNetwork};
use homing_types::{Epoch, Locality, Name, NodeId, Role, Slot, Space};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::Plan;
use crate::authority::{HEARTBEAT, Lease, ROUND_TRIP, Script, numbers_of, owners_of};
use crate::meters::Meters;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::story::Story;
use crate::tables;
use crate::watched::Watched;

const ZONES: [&str; 3] = ["a", "b", "c"];

/// When a run begins, by clocks that are right: since 1970.
const TODAY: Duration = Duration::from_secs(1_790_000_000);

pub(crate) fn node_id(node: usize) -> NodeId {
    match NodeId::new(&format!("n{node}")) {
        Ok(id) => id,
        Err(error) => unreachable!("{error}"),
    }
}

/// The number in a node's name.
pub(crate) fn number_of(id: &NodeId) -> usize {
    id.as_str()[1..].parse().unwrap_or(usize::MAX)
}

pub(crate) fn space_of(space: usize) -> Space {
    match Space::new(&format!("space-{space}")) {
        Ok(space) => space,
        Err(error) => unreachable!("{error}"),
    }
}

/// The number in a space's name.
pub(crate) fn number_of_space(space: &Space) -> usize {
    space.as_str()[6..].parse().unwrap_or(usize::MAX)
}

pub(crate) fn slot_of(space: usize) -> Slot {
    space_of(space).key().slot()
}

/// All nodes, and who says who owns what.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) story: Story,
    pub(crate) oracle: Oracle,
    pub(crate) authority: Arc<Script>,
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
    /// How often its process has ended.
    ended: u32,
}

struct Process {
    router: Arc<Router>,
    kv: Arc<Kv>,
    lease: Arc<Lease>,
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
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x776f_726c_6400);
        let network = Network::new(plan.seed, story.clone(), oracle.clone());
        let authority = Script::new();
        let histories: Vec<_> = (0..plan.spaces).map(|_| tables::history(&mut rng, &plan)).collect();
        for (space, history) in histories.iter().enumerate() {
            let mut follows = Epoch::ZERO;
            for owners in history {
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
                let first = tables::remembered(&mut rng, &plan, &histories, node);
                let wrong = Arc::new(Mutex::new((true, Duration::ZERO)));
                let clock = Clock { began, wrong };
                Machine { disk: Disk::new(), kept: first.clone(), first, clock, process: None, ended: 0 }
            })
            .collect();
        let world = Arc::new(Self {
            directory: Arc::new(Directory::new(entries)),
            nodes: Mutex::new(machines),
            died: Notify::new(),
            memory: MemoryNetwork::new(),
            authority: Arc::new(authority),
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
            machine.process = self.process(node, machine);
        }
    }

    fn process(&self, node: usize, machine: &Machine) -> Option<Process> {
        let id = node_id(node);
        let me = self.directory.node(&id)?;
        let transport = self.network.wire(node, self.memory.transport(id.clone(), Limits::default()));
        let pool = Pool::new(vec![Arc::new(transport)], PoolOptions::default());
        let authority = Arc::clone(&self.authority) as Arc<dyn Authority>;
        let seed = self.plan.seed ^ ((node as u64) << 32) ^ (u64::from(machine.ended) << 48);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut builder =
            RouterBuilder::new((*me).clone(), Arc::clone(&self.directory), pool, authority, bytes);
        let lease = Lease::new(self.plan.grants);
        builder.gate = Arc::clone(&lease) as _;
        builder.options.budget = self.plan.budget;
        builder.options.admission.max_in_flight = self.plan.in_flight;
        let meters = Meters::default();
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
            lease: Arc::clone(&lease),
            most: self.plan.in_flight,
            under_way: AtomicUsize::new(0),
        };
        router.mount(Arc::new(watched) as Arc<dyn Service>, [(REPLICA_PATH, replica)]);
        match self.memory.listen(id.clone(), id.as_str(), Limits::default(), router.handler()) {
            Ok(listener) => {
                Some(Process { router, kv, lease, meters, began: Instant::now(), _listener: listener })
            }
            Err(error) => {
                self.oracle.violated("start", error.to_string());
                None
            }
        }
    }

    /// The power of a node goes. What it had not synced is gone, but for a chance of `keep` in 4 for each sector. It comes back
    /// with its table, or with the one that it began with.
    pub(crate) fn crash(&self, node: usize, keep: u64, restored: bool) {
        let mut nodes = self.nodes.lock();
        let machine = &mut nodes[node];
        let Some(process) = machine.process.take() else { return };
        self.audit_budget(node, &process);
        machine.kept =
            if restored { machine.first.clone() } else { tables::whole(&process.router, self.plan.spaces) };
        machine.ended += 1;
        machine.disk = machine.disk.cut(&mut Coin(self.plan.seed ^ u64::from(machine.ended)), keep);
        self.network.bury(node);
        drop(nodes);
        self.died.notify_waiters();
    }

    /// Holds what routers have spent on retries against what they may.
    pub(crate) fn audit_budgets(&self) {
        let nodes = self.nodes.lock();
        for (node, process) in running(&nodes) {
            self.audit_budget(node, process);
        }
    }

    fn audit_budget(&self, node: usize, process: &Process) {
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
        machine.process.as_ref().map(|process| (Arc::clone(&process.router), machine.ended))
    }

    /// What the clock of a node says, in milliseconds since 1970.
    pub(crate) fn clock(&self, node: usize) -> u64 {
        u64::try_from(self.nodes.lock()[node].clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn set_clock(&self, node: usize, forward: bool, by: Duration) {
        *self.nodes.lock()[node].clock.wrong.lock() = (forward, by);
    }

    /// Waits until this process of a node has ended.
    pub(crate) async fn ended(&self, node: usize, process: u32) {
        loop {
            let mut died = pin!(self.died.notified());
            died.as_mut().enable();
            if self.nodes.lock()[node].ended != process {
                return;
            }
            died.await;
        }
    }

    /// All nodes ask for their grants, again and again.
    pub(crate) async fn heartbeats(self: Arc<Self>) {
        loop {
            let asked = Instant::now();
            let asking: Vec<_> =
                (0..self.plan.nodes).filter_map(|node| Some((node, self.entry(node)?.1))).collect();
            sleep(ROUND_TRIP).await;
            for (node, life) in asking {
                if self.hears(node) && self.entry(node).is_some_and(|(_, now)| now == life) {
                    self.authority.answer(node);
                    let nodes = self.nodes.lock();
                    nodes[node].process.iter().for_each(|process| process.lease.extend(asked));
                }
            }
            sleep(HEARTBEAT - ROUND_TRIP).await;
        }
    }

    /// Whether a node and the authority can speak to each other.
    fn hears(&self, node: usize) -> bool {
        !self.authority.is_silent() && self.network.is_reachable(node) && self.entry(node).is_some()
    }

    /// An in-sync replica becomes the primary: handed over if the primary can be asked, or unasked when its grant is over.
    /// Where grants don't end, nobody asks. Tells whether one did.
    pub(crate) async fn promote(&self, space: usize, told: u32, mut rng: StdRng) -> bool {
        self.authority.until_it_speaks().await;
        sleep(ROUND_TRIP).await;
        let (epoch, owners) = self.authority.newest(space);
        let (old, in_sync, catching_up) = numbers_of(&owners);
        if in_sync.is_empty() {
            return false;
        }
        let next = in_sync[rng.random_range(0..in_sync.len())];
        let mut others: Vec<_> = in_sync.into_iter().filter(|node| *node != next).collect();
        others.push(old);
        let asks = self.plan.grants;
        while asks && !self.hears(old) && Instant::now() < self.authority.replaceable_at(old) {
            tokio::time::sleep_until(self.authority.replaceable_at(old)).await;
        }
        let knows = asks && self.hears(old);
        let minted = self.authority.mint(space, epoch, owners_of(next, &others, &catching_up));
        let Some(diff) = minted else {
            self.story.tell(format_args!("space-{space} has changed meanwhile: no promotion"));
            return false;
        };
        self.story.tell(format_args!("space-{space} goes to {}, follows epoch {epoch}", node_id(next)));
        for node in 0..self.plan.nodes {
            if node == next || (node == old && knows) || rng.random_range(0..100) < told {
                self.tell(node, &diff);
            }
        }
        true
    }

    /// At its primary's request a replica leaves the in-sync set; or one that has left, and holds all, enters it. Tells whether
    /// one did.
    pub(crate) fn change_in_sync(&self, space: usize, told: u32, mut rng: StdRng) -> bool {
        let (epoch, owners) = self.authority.newest(space);
        let (primary, mut in_sync, mut catching_up) = numbers_of(&owners);
        if !self.hears(primary) || self.epoch_at(primary, space) != Some(epoch) {
            return false;
        }
        let all = self.standing(primary, space).filter(|all| all.last == all.committed);
        let ready = catching_up.iter().position(|node| all.is_some() && self.standing(*node, space) == all);
        if let Some(at) = ready {
            in_sync.push(catching_up.remove(at));
        } else if in_sync.is_empty() {
            return false;
        } else {
            catching_up.push(in_sync.remove(rng.random_range(0..in_sync.len())));
        }
        let minted = self.authority.mint(space, epoch, owners_of(primary, &in_sync, &catching_up));
        let Some(diff) = minted else { return false };
        self.story.tell(format_args!("space-{space}: in sync are {in_sync:?}, follows epoch {epoch}"));
        for node in 0..self.plan.nodes {
            if node == primary || rng.random_range(0..100) < told {
                self.tell(node, &diff);
            }
        }
        true
    }

    fn epoch_at(&self, node: usize, space: usize) -> Option<Epoch> {
        Some(self.entry(node)?.0.table().snapshot().epoch(slot_of(space)))
    }

    /// What a running node holds of a space.
    fn standing(&self, node: usize, space: usize) -> Option<Standing> {
        let nodes = self.nodes.lock();
        nodes[node].process.as_ref()?.kv.store().standing(&space_of(space)).ok()
    }

    /// Which version of a key a running node has committed, if any; `None` if it is down, or doesn't know what is committed.
    pub(crate) fn shows(&self, node: usize, space: usize, key: &Key) -> Option<Option<Position>> {
        let nodes = self.nodes.lock();
        let (store, space) = (nodes[node].process.as_ref()?.kv.store(), space_of(space));
        let fence = store.fence(&space).ok()?;
        let item = store.read(&space, fence, Role::Replica, key).ok()?;
        Some(item.map(|item| item.version))
    }

    /// Starts all nodes that are down.
    pub(crate) fn restart(&self) {
        (0..self.plan.nodes).for_each(|node| self.start(node));
    }

    /// Tells every node what the authority knows.
    pub(crate) fn tell_all(&self) {
        let everything = self.authority.everything(self.plan.spaces);
        (0..self.plan.nodes).for_each(|node| self.tell(node, &everything));
    }

    fn tell(&self, node: usize, diff: &Diff) {
        if let Some((router, _)) = self.entry(node)
            && let Err(error) = router.apply(diff)
        {
            self.oracle.violated("table", format!("{}: {error}", node_id(node)));
        }
    }

    /// The owners of a space as the authority knows them, the primary first; no replica that is catching up.
    pub(crate) fn owners(&self, space: usize) -> Vec<usize> {
        let (primary, in_sync, _) = numbers_of(&self.authority.newest(space).1);
        std::iter::once(primary).chain(in_sync).collect()
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

    /// The tables of the running nodes, each with the node and the number of its life.
    pub(crate) fn tables(&self) -> Vec<(usize, u32, Arc<Snapshot>)> {
        let nodes = self.nodes.lock();
        let told = running(&nodes)
            .map(|(node, process)| (node, nodes[node].ended, process.router.table().snapshot()));
        told.collect()
    }
}

fn running(nodes: &[Machine]) -> impl Iterator<Item = (usize, &Process)> {
    nodes.iter().enumerate().filter_map(|(node, machine)| Some((node, machine.process.as_ref()?)))
}

fn locality(zone: &str) -> Locality {
    Locality { zone: Name::new(zone).ok(), ..Locality::default() }
}
