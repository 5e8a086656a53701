//! The cluster: real routers and real copies of `kv`, each on a disk that forgets.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use homing_kv::{Coin, Disk, Identity, Kv, REPLICA_PATH, Store};
use homing_router::{
    Authority, DirectService, Directory, Node, OpenGate, Pool, PoolOptions, Router, RouterBuilder, Service,
};
use homing_routing_table::{Diff, Group, RoutingTable};
use homing_transport::memory::{MemoryListener, MemoryNetwork};
use homing_transport::{BoxFuture, Limits};
use homing_types::{Epoch, Locality, Name, NodeId, Owners, Replica, ReplicaState, Slot, Space};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;

use crate::Plan;
use crate::network::Network;
use crate::oracle::Oracle;
use crate::story::Story;

const ZONES: [&str; 3] = ["a", "b", "c"];

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

pub(crate) fn slot_of(space: usize) -> Slot {
    space_of(space).key().slot()
}

/// All nodes, and who says who owns what.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) story: Story,
    pub(crate) oracle: Oracle,
    memory: MemoryNetwork,
    directory: Arc<Directory>,
    authority: Arc<Script>,
    nodes: Mutex<Vec<Machine>>,
    /// Rings when a process has ended. No watch channel: tokio wakes its receivers in random order.
    died: Notify,
}

/// One node: what is on its disks, and its process if there is one.
struct Machine {
    disk: Disk,
    /// Its table as it was kept.
    kept: Diff,
    process: Option<Process>,
    /// How often its process has ended.
    ended: u32,
}

struct Process {
    router: Arc<Router>,
    _listener: MemoryListener,
}

/// Who owns what, decided by a script. Reachable only while nothing says otherwise.
struct Script(RoutingTable);

impl Authority for Script {
    fn lookup(&self, slot: Slot) -> BoxFuture<'_, Option<Diff>> {
        let diff = self.0.snapshot().diff([slot]);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(2)).await;
            (!diff.is_empty()).then_some(diff)
        })
    }
}

impl World {
    pub(crate) fn new(plan: Plan, story: Story) -> Arc<Self> {
        let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x776f_726c_6400);
        let oracle = Oracle::new(story.clone());
        let network = Network::new(plan.seed, story.clone(), oracle.clone());
        let authority = Script(RoutingTable::new());
        let histories: Vec<_> = (0..plan.spaces).map(|_| history(&mut rng, &plan)).collect();
        for (space, history) in histories.iter().enumerate() {
            history.iter().for_each(|group| apply(&authority.0, &of(space, group.clone())));
        }
        let entries = (0..plan.nodes).map(|node| Node {
            id: node_id(node),
            address: node_id(node).to_string(),
            wire: "memory".to_owned(),
            locality: locality(ZONES[node % plan.zones]),
            weight: 1,
        });
        let machines: Vec<_> = (0..plan.nodes)
            .map(|_| Machine {
                disk: Disk::new(),
                kept: remembered(&mut rng, &plan, &histories),
                process: None,
                ended: 0,
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
        if machine.process.is_some() {
            return;
        }
        let id = node_id(node);
        let Some(me) = self.directory.node(&id) else { return };
        let transport = self.network.wire(node, self.memory.transport(id.clone(), Limits::default()));
        let pool = Pool::new(vec![Arc::new(transport)], PoolOptions::default());
        let authority = Arc::clone(&self.authority) as Arc<dyn Authority>;
        let lives = u64::from(machine.ended);
        let seed = self.plan.seed ^ ((node as u64) << 32) ^ (lives << 48);
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut builder =
            RouterBuilder::new((*me).clone(), Arc::clone(&self.directory), pool, authority, bytes);
        builder.gate = Arc::new(OpenGate);
        let router = builder.build();
        if let Err(error) = router.apply(&machine.kept) {
            self.oracle.violated("table", format!("{id} can't take its own table: {error}"));
        }
        let identity = Identity { cluster: "sim".to_owned(), node: id.clone() };
        let store = match Store::with_backend(machine.disk.clone(), &identity) {
            Ok(store) => store,
            Err(error) => {
                self.oracle.violated("disk", format!("{id} can't open what a power cut left: {error}"));
                return;
            }
        };
        let kv = Arc::new(Kv::in_place(store, id.clone(), router.peers()));
        let replica: Arc<dyn DirectService> = kv.replica();
        router.mount(kv as Arc<dyn Service>, [(REPLICA_PATH, replica)]);
        match self.memory.listen(id.clone(), id.as_str(), Limits::default(), router.handler()) {
            Ok(listener) => machine.process = Some(Process { router, _listener: listener }),
            Err(error) => self.oracle.violated("start", error.to_string()),
        }
    }

    /// The power of a node goes. What it had not synced is gone, but for a chance of `keep` in 4 for each sector.
    pub(crate) fn crash(&self, node: usize, keep: u64) {
        let mut nodes = self.nodes.lock();
        let machine = &mut nodes[node];
        let Some(process) = machine.process.take() else { return };
        machine.kept = whole_of(&process.router, self.plan.spaces);
        machine.ended += 1;
        machine.disk = machine.disk.cut(&mut Coin(self.plan.seed ^ u64::from(machine.ended)), keep);
        self.network.bury(node);
        drop(nodes);
        self.died.notify_waiters();
    }

    /// The router of a node, and which of its processes that is.
    pub(crate) fn entry(&self, node: usize) -> Option<(Arc<Router>, u32)> {
        let nodes = self.nodes.lock();
        let machine = &nodes[node];
        machine.process.as_ref().map(|process| (Arc::clone(&process.router), machine.ended))
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

    /// Makes an in-sync replica the primary, and tells some nodes; its own always.
    pub(crate) fn promote(&self, space: usize, told: u32, rng: &mut StdRng) {
        let slot = slot_of(space);
        let snapshot = self.authority.0.snapshot();
        let Some(found) = snapshot.lookup(space_of(space).key()) else { return };
        let owners = found.owners();
        let replicas: Vec<NodeId> = owners.in_sync().cloned().collect();
        if replicas.is_empty() {
            return;
        }
        let next = rng.random_range(0..replicas.len());
        let mut others: Vec<usize> =
            replicas.iter().enumerate().filter(|(i, _)| *i != next).map(|(_, id)| number_of(id)).collect();
        others.push(number_of(owners.primary()));
        let primary = number_of(&replicas[next]);
        let diff = of(space, group(found.epoch().number() + 1, primary, &others));
        apply(&self.authority.0, &diff);
        self.story.tell(format_args!(
            "{slot} goes to {}, epoch {}",
            node_id(primary),
            found.epoch().number() + 1
        ));
        for node in 0..self.plan.nodes {
            if node == primary || rng.random_range(0..100) < told {
                self.tell(node, &diff);
            }
        }
    }

    /// Starts all nodes that are down.
    pub(crate) fn restart(&self) {
        (0..self.plan.nodes).for_each(|node| self.start(node));
    }

    /// Tells every node what the authority knows.
    pub(crate) fn tell_all(&self) {
        let everything = whole(&self.authority.0, self.plan.spaces);
        (0..self.plan.nodes).for_each(|node| self.tell(node, &everything));
    }

    fn tell(&self, node: usize, diff: &Diff) {
        if let Some((router, _)) = self.entry(node)
            && let Err(error) = router.apply(diff)
        {
            self.oracle.violated("table", format!("{}: {error}", node_id(node)));
        }
    }

    /// The owners of a space as the authority knows them, the primary first.
    pub(crate) fn owners(&self, space: usize) -> Vec<usize> {
        let snapshot = self.authority.0.snapshot();
        let Some(found) = snapshot.lookup(space_of(space).key()) else { return Vec::new() };
        let owners = found.owners();
        std::iter::once(owners.primary()).chain(owners.in_sync()).map(number_of).collect()
    }

    /// What each running node believes of a space: its epoch and its owners.
    pub(crate) fn known(&self, space: usize) -> Vec<String> {
        let nodes = self.nodes.lock();
        let running =
            nodes.iter().enumerate().filter_map(|(node, machine)| Some((node, machine.process.as_ref()?)));
        let told = running.map(|(node, process)| {
            let snapshot = process.router.table().snapshot();
            let found = snapshot.lookup(space_of(space).key());
            let found = found.map(|found| (found.epoch(), found.owners().primary().clone()));
            let what =
                found.map_or("nothing".to_owned(), |(epoch, primary)| format!("{primary} in epoch {epoch}"));
            format!("{} {what}", node_id(node))
        });
        told.collect()
    }

    /// The epochs that each running node knows.
    pub(crate) fn epochs(&self) -> Vec<(usize, usize, Epoch)> {
        let nodes = self.nodes.lock();
        let running =
            nodes.iter().enumerate().filter_map(|(node, machine)| Some((node, machine.process.as_ref()?)));
        running
            .flat_map(|(node, process)| {
                let snapshot = process.router.table().snapshot();
                (0..self.plan.spaces).map(move |space| (node, space, snapshot.epoch(slot_of(space))))
            })
            .collect()
    }
}

/// The groups that a space has had, the oldest first: each promotes a replica of the one before.
fn history(rng: &mut StdRng, plan: &Plan) -> Vec<Group> {
    let mut owners = draw_owners(rng, plan);
    let changes = if owners.len() > 1 { plan.history } else { 0 };
    let mut groups = vec![group(1, owners[0], &owners[1..])];
    for change in 0..changes {
        let next = rng.random_range(1..owners.len());
        owners.swap(0, next);
        groups.push(group(u64::from(change) + 2, owners[0], &owners[1..]));
    }
    groups
}

/// What a node begins with: the newest of each space, or what it knew some time ago, if anything.
fn remembered(rng: &mut StdRng, plan: &Plan, histories: &[Vec<Group>]) -> Diff {
    let stale = rng.random_range(0..100) < plan.stale;
    let known = histories.iter().enumerate().filter_map(|(space, history)| {
        let back = if stale { rng.random_range(0..=history.len()) } else { 0 };
        let group = history.len().checked_sub(back + 1).map(|at| history[at].clone())?;
        Some((slot_of(space), group))
    });
    match Diff::new(known.collect::<Vec<_>>()) {
        Ok(diff) => diff,
        Err(error) => unreachable!("{error}"),
    }
}

fn draw_owners(rng: &mut StdRng, plan: &Plan) -> Vec<usize> {
    let mut owners: Vec<usize> = Vec::new();
    while owners.len() < (plan.replicas + 1).min(plan.nodes) {
        let node = rng.random_range(0..plan.nodes);
        if !owners.contains(&node) {
            owners.push(node);
        }
    }
    owners
}

fn group(epoch: u64, primary: usize, replicas: &[usize]) -> Group {
    let in_sync = |node: &usize| Replica { node: node_id(*node), state: ReplicaState::InSync };
    match Owners::new(node_id(primary), replicas.iter().map(in_sync).collect()) {
        Ok(owners) => Group::new(Epoch::new(epoch), owners),
        Err(error) => unreachable!("{error}"),
    }
}

fn of(space: usize, group: Group) -> Diff {
    match Diff::one(slot_of(space), group) {
        Ok(diff) => diff,
        Err(error) => unreachable!("{error}"),
    }
}

fn apply(table: &RoutingTable, diff: &Diff) {
    if let Err(error) = table.apply(diff) {
        unreachable!("{error}");
    }
}

fn whole(table: &RoutingTable, spaces: usize) -> Diff {
    table.snapshot().diff((0..spaces).map(slot_of))
}

fn whole_of(router: &Router, spaces: usize) -> Diff {
    router.table().snapshot().diff((0..spaces).map(slot_of))
}

fn locality(zone: &str) -> Locality {
    Locality { zone: Name::new(zone).ok(), ..Locality::default() }
}
