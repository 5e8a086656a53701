//! Nodes whose tables are wrong: they serve every request, and learn on the way who owns its space.
//!
//! One cluster, and case after case: its owners change, some nodes don't hear of it, and requests for all spaces come
//! through all nodes. What is expected of each call follows from whom it touched: knowledge reaches a call by the nodes on
//! its way alone, those that a write is copied to included.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use homing::{Access, SpaceKey};
use serde_json::{Value, json};

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, every, next_epoch, owners, tell};

const NODES: usize = 5;

/// Spaces that one node is the first to touch with one access.
const SPACES: usize = 8;

const ACCESSES: [Access; 3] = [Access::Write, Access::ReadPrimary, Access::Read];

on_each_wire!(stale_metadata);
async fn stale_metadata(wire: &'static str) {
    let mut story = Story::start(wire).await;
    for (name, stale) in [("one node", vec![4]), ("two nodes", vec![3, 4]), ("all but one", vec![1, 2, 3, 4])]
    {
        for epochs in [1, 2, 5, 20] {
            story.fall_behind(&stale, epochs);
            let case = Case { most_hops: if epochs == 1 { 2 } else { 3 }, ..Case::of(&stale) };
            story.touches_all(&format!("{name} {epochs} behind"), case).await;
        }
    }

    story.name_each_other();
    story.touches_all("owners that name each other", Case { owners_are_stale: true, ..Case::of(&[]) }).await;

    story.forget_the_table(4).await;
    story.touches_all("a node that knows nothing", Case { most_hops: 2, ..Case::of(&[4]) }).await;

    story.believe(&[4], |_| json!({ "primary": "n4", "replicas": [] }));
    story.touches_all("a wrong owner", Case { most_hops: 2, ..Case::of(&[4]) }).await;

    story.believe(&[3, 4], |owners| json!({ "primary": GONE, "replicas": owners }));
    story.touches_all("a primary that does not exist", Case::of(&[3, 4])).await;
}

on_each_wire!(a_table_that_names_nobody_who_exists_is_corrected_by_whoever_knows_better);
async fn a_table_that_names_nobody_who_exists_is_corrected_by_whoever_knows_better(wire: &'static str) {
    let mut story = Story::start(wire).await;
    story.forget_the_table(4).await;
    story.believe(&[3, 4], |_| json!({ "primary": GONE, "replicas": [] }));
    story.touches_all("nobody who exists", Case::of(&[3, 4])).await;
}

/// A node that only n5 lists still, and that nobody reaches.
const GONE: &str = "n6";

/// Who is behind, and what that may cost.
struct Case {
    stale: Vec<usize>,
    /// The owners of a space are behind, and nobody else.
    owners_are_stale: bool,
    /// Two where the first whom a stale entry asks knows better. That is one too many, or two if the entry itself has become
    /// the primary and doesn't know.
    most_hops: u8,
}

impl Case {
    fn of(stale: &[usize]) -> Self {
        Self { stale: stale.to_vec(), owners_are_stale: false, most_hops: 3 }
    }
}

/// One call.
#[derive(Debug, Clone)]
struct Touch {
    entry: usize,
    space: String,
    access: Access,
}

/// How it went.
#[derive(Debug)]
struct Went {
    touch: Touch,
    by: String,
    hops: u8,
    epoch: u64,
    attempts: u32,
}

struct Story {
    wire: &'static str,
    cluster: Cluster,
    /// The newest groups of all spaces that are touched.
    newest: Value,
    /// What each space holds.
    values: HashMap<String, String>,
    touches: Vec<Touch>,
}

impl Story {
    async fn start(wire: &'static str) -> Self {
        let cluster = Cluster::start(Layout::five(wire)).await;
        let owners = OwnersOf::ask(&cluster.nodes[0]).await;
        let mut slots = HashSet::new();
        let mut spaces = (0..).map(|i| format!("space-{i}")).filter(|space| slots.insert(slot(space)));
        let mut touches = Vec::new();
        for entry in 0..NODES {
            for access in ACCESSES {
                let spaces = spaces.by_ref().take(SPACES);
                touches.extend(spaces.map(|space| Touch { entry, space, access }));
            }
        }
        let group = |touch: &Touch| {
            let owners = owners.of_space(&touch.space);
            json!({ "slots": slot(&touch.space).to_string(), "epoch": 1, "primary": owners[0], "replicas": owners[1..] })
        };
        let newest = json!({ "groups": touches.iter().map(group).collect::<Vec<_>>() });
        let kv = cluster.kv(0);
        every(touches.clone(), |touch| {
            let kv = kv.clone();
            async move { drop(kv.put(&touch.space, "key", b"first").await.unwrap()) }
        })
        .await;
        let values = touches.iter().map(|touch| (touch.space.clone(), "first".to_owned())).collect();
        Self { wire, cluster, newest, values, touches }
    }

    /// The owners change so many times, and these nodes hear of none.
    fn fall_behind(&mut self, stale: &[usize], epochs: usize) {
        let fresh: Vec<_> = (0..NODES).filter(|node| !stale.contains(node)).collect();
        for _ in 0..epochs {
            self.newest = next_epoch(&self.newest);
            self.apply(&self.newest, 0, &fresh);
        }
    }

    /// Of each space's owners A, B and C, A believes in B, B in C and C in A, each under another epoch. Who owns nothing of
    /// it knows that it is B, under the highest.
    fn name_each_other(&mut self) {
        let start = self.newest.clone();
        let with = |table: &Value, choose: &dyn Fn(&[Value]) -> (usize, usize)| {
            let mut table = table.clone();
            for group in table["groups"].as_array_mut().unwrap() {
                let mut owners = owners(group);
                let (raise, primary) = choose(&owners);
                group["epoch"] = (group["epoch"].as_u64().unwrap() + raise as u64).into();
                owners.rotate_left(primary);
                group["primary"] = owners.remove(0);
                group["replicas"] = owners.into();
            }
            table
        };
        self.newest = with(&start, &|_| (4, 1));
        for node in 0..NODES {
            let id = json!(self.cluster.nodes[node].id);
            let table = with(&start, &|owners| match owners.iter().position(|owner| *owner == id) {
                Some(place) => (place + 1, (place + 1) % owners.len()),
                None => (4, 1),
            });
            self.apply(&table, 0, &[node]);
        }
    }

    /// A node loses its table. From then on it also lists a node that is gone.
    async fn forget_the_table(&mut self, node: usize) {
        let process = &mut self.cluster.nodes[node];
        // It says goodbye. After a death without a word, the first write on each old QUIC connection would be ambiguous.
        process.signal("-TERM");
        process.ended().await;
        process.edit(|config| {
            let data = process.config.with_file_name(config["data"].as_str().unwrap());
            std::fs::remove_file(data.join("table")).unwrap();
            config["table"]["source"] = "none".into();
            let nodes = config["nodes"].as_array_mut().unwrap();
            let mut gone = nodes[0].clone();
            gone["id"] = GONE.into();
            gone["address"] = gone["address"].as_str().unwrap().replace(":7400", ":7409").into();
            nodes.push(gone);
        });
        process.start();
        process.answers().await;
        for other in (0..NODES).filter(|other| *other != node) {
            self.cluster.nodes[other].reaches(&self.cluster.nodes[node].id).await;
        }
    }

    /// These nodes take something wrong for true, and the owners change without them.
    fn believe(&mut self, stale: &[usize], wrong: impl Fn(Vec<Value>) -> Value) {
        let mut table = self.newest.clone();
        for group in table["groups"].as_array_mut().unwrap() {
            let wrong = wrong(owners(group));
            group["epoch"] = (group["epoch"].as_u64().unwrap() + 1).into();
            group["primary"] = wrong["primary"].clone();
            group["replicas"] = wrong["replicas"].clone();
        }
        // Only n5 takes the one who is gone for a node.
        self.apply(&table, 4, stale);
        for group in self.newest["groups"].as_array_mut().unwrap() {
            group["epoch"] = (group["epoch"].as_u64().unwrap() + 1).into();
        }
        self.fall_behind(stale, 1);
    }

    fn apply(&self, table: &Value, by: usize, to: &[usize]) {
        let (taken, applied) = self.cluster.apply_by(by, table, to);
        assert!(taken, "{applied}");
        for node in applied["nodes"].as_array().unwrap() {
            assert_eq!(node["changed"].as_u64(), Some(self.touches.len() as u64), "{node}");
        }
    }

    /// Requests for all spaces through all nodes, and each once more; then all nodes learn the newest table.
    async fn touches_all(&mut self, name: &str, case: Case) {
        let told = Told::of(&self.newest, case, &self.cluster);
        self.is_behind(&told).await;
        let before = self.corrections().await;
        let mut knows = HashSet::new();
        let (mut first, mut again) = (Tally::default(), Tally::default());
        for shift in [0, 1] {
            let touches: Vec<_> = self.touches.iter().map(|touch| touch.shifted(shift)).collect();
            for (round, tally) in [&mut first, &mut again].into_iter().enumerate() {
                for went in self.round(&format!("{name} {shift} {round}"), &touches).await {
                    let knew = knows.contains(&(went.touch.entry, went.touch.space.clone()));
                    tally.count(told.check(&went, knew), went.hops);
                    if went.epoch == told.epoch {
                        knows.insert((went.touch.entry, went.touch.space));
                    }
                }
            }
        }
        let corrected = self.corrections().await - before;
        assert!(corrected > 0.0, "nobody learned anything");
        tell(&format!("{}, {name}: first touch {first}; again {again}; {corrected} corrections", self.wire));
        self.newest = next_epoch(&self.newest);
        self.apply(&self.newest, 0, &(0..NODES).collect::<Vec<_>>());
    }

    /// Checks that the nodes that are to be behind are.
    async fn is_behind(&self, told: &Told) {
        for touch in self.touches.iter().step_by(SPACES * ACCESSES.len()) {
            let node = &self.cluster.nodes[touch.entry];
            let known = node.admin_json(&format!("/table?space={}", touch.space)).await;
            let behind = known["epoch"].as_u64().unwrap() < told.epoch;
            assert_eq!(behind, told.is_stale(&touch.space, &node.id), "{} has {known}", node.id);
        }
    }

    async fn corrections(&self) -> f64 {
        let mut sum = 0.0;
        for node in &self.cluster.nodes {
            sum += node.counter("homing_corrections_total", "").await;
        }
        sum
    }

    /// One call a space, all at once. Reads find what was written last.
    async fn round(&mut self, value: &str, touches: &[Touch]) -> Vec<Went> {
        let went = Arc::new(Mutex::new(Vec::new()));
        let clients: Vec<_> = (0..NODES).map(|node| self.cluster.kv(node)).collect();
        every(touches.iter().cloned(), |touch| {
            let (kv, went) = (clients[touch.entry].clone(), Arc::clone(&went));
            let (value, expected) = (value.to_owned(), self.values[&touch.space].clone());
            async move {
                let Touch { space, access, .. } = &touch;
                let (by, hops, epoch, attempts) = if *access == Access::Write {
                    let served = kv.put(space, "key", value.as_bytes()).await;
                    let served = served.unwrap_or_else(|error| panic!("{touch:?}: {error}"));
                    (served.by, served.hops, served.epoch, served.attempts)
                } else {
                    let served = kv.get_with(space, "key", *access).await;
                    let served = served.unwrap_or_else(|error| panic!("{touch:?}: {error}"));
                    assert_eq!(served.value.as_deref(), Some(expected.as_bytes()), "{touch:?}");
                    (served.by, served.hops, served.epoch, served.attempts)
                };
                went.lock().unwrap().push(Went { touch, by, hops, epoch, attempts });
            }
        })
        .await;
        for touch in touches.iter().filter(|touch| touch.access == Access::Write) {
            self.values.insert(touch.space.clone(), value.to_owned());
        }
        Arc::try_unwrap(went).unwrap().into_inner().unwrap()
    }
}

impl Touch {
    /// The same space by way of another node, which wants something else of it.
    fn shifted(&self, by: usize) -> Self {
        let access = ACCESSES.iter().position(|access| *access == self.access).unwrap();
        Self {
            entry: (self.entry + by) % NODES,
            access: ACCESSES[(access + by) % ACCESSES.len()],
            space: self.space.clone(),
        }
    }
}

/// What is true, and who doesn't know.
struct Told {
    epoch: u64,
    owners: OwnersOf,
    case: Case,
    ids: Vec<String>,
}

impl Told {
    fn of(newest: &Value, case: Case, cluster: &Cluster) -> Self {
        let ids = cluster.nodes.iter().map(|node| node.id.clone()).collect();
        Self {
            epoch: newest["groups"][0]["epoch"].as_u64().unwrap(),
            owners: OwnersOf::of(newest),
            case,
            ids,
        }
    }

    /// Whether a node began without the newest group of a space.
    fn is_stale(&self, space: &str, id: &str) -> bool {
        let listed = self.case.stale.iter().any(|node| self.ids[*node] == id);
        listed || (self.case.owners_are_stale && self.owners.holds(space, id))
    }

    /// The hops of a call beyond those that it needed; `None` if it was served under an older epoch. `knew`: the entry had
    /// been answered for this space under the newest epoch before.
    fn check(&self, went: &Went, knew: bool) -> Option<u8> {
        let Touch { entry, space, access } = &went.touch;
        let entry = &self.ids[*entry];
        let serves = |node: &str| match access {
            Access::Read => self.owners.holds(space, node),
            _ => self.owners.primary(space) == node,
        };
        let stale = |node: &str| self.is_stale(space, node);
        assert!(went.hops <= self.case.most_hops, "{went:?}");
        if went.epoch < self.epoch {
            assert!(!knew, "{went:?}");
            match access {
                // Whoever holds all that is acknowledged answers, whatever its epoch.
                Access::Read => assert!(serves(&went.by), "{went:?}"),
                Access::ReadPrimary => assert!(stale(entry) && stale(&went.by), "{went:?}"),
                Access::Write => {
                    let owners = self.owners.of_space(space);
                    assert!(owners.iter().all(|owner| stale(owner)), "{went:?}: {owners:?}");
                }
            }
            return None;
        }
        assert_eq!(went.epoch, self.epoch, "{went:?}");
        assert!(serves(&went.by), "{went:?}");
        let extra = went.hops.saturating_sub(u8::from(!serves(entry)));
        if knew || !stale(entry) {
            assert_eq!((extra, went.attempts), (0, 1), "{went:?}");
        }
        Some(extra)
    }
}

/// How many calls took how many hops.
#[derive(Default)]
struct Tally {
    extra: BTreeMap<u8, usize>,
    hops: BTreeMap<u8, usize>,
    older: usize,
}

impl Tally {
    fn count(&mut self, extra: Option<u8>, hops: u8) {
        *self.hops.entry(hops).or_default() += 1;
        match extra {
            Some(extra) => *self.extra.entry(extra).or_default() += 1,
            None => self.older += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "hops {:?}, extra {:?}, under an older epoch {}", self.hops, self.extra, self.older)
    }
}

fn slot(space: &str) -> homing::Slot {
    SpaceKey::of(space).slot()
}
