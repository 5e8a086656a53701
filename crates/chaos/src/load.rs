//! An open-loop load: each call begins when it is due, whatever became of those before it, and its latency counts from then.
//!
//! A load that waits for answers before it asks again is slowed down by what it measures, and leaves out just the worst
//! (Tene, "How NOT to Measure Latency", on coordinated omission).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::{Cluster, Owners};
use crate::kv::{Asked, Ended, Kv};

/// No node.
const NO_NODE: usize = usize::MAX;

/// What is asked, how often, and through whom.
#[derive(Clone)]
pub(crate) struct Offer {
    /// Calls a second.
    pub(crate) rate: f64,
    pub(crate) lasts: Duration,
    /// The time that each call has.
    pub(crate) deadline: Duration,
    /// Of 100 calls, reads; and writes without a key. The others are writes with one.
    pub(crate) reads: u32,
    pub(crate) unkeyed: u32,
    /// Whom calls enter at.
    pub(crate) entry: Entry,
    /// Which spaces they are for, by index.
    pub(crate) spaces: Vec<usize>,
    /// Connections to each entry.
    pub(crate) connections: usize,
}

/// Whom the calls of a space enter at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nodes that own no copy of it, in turn: each call crosses to an owner.
    Strangers,
    /// All nodes in turn.
    All,
    /// All nodes but one, in turn.
    AllBut(usize),
    /// One node.
    Only(usize),
}

impl Entry {
    fn nodes(self, nodes: usize, owners: &Owners) -> Vec<usize> {
        let among = |may: &dyn Fn(usize) -> bool| (0..nodes).filter(|node| may(*node)).collect();
        match self {
            Self::Strangers => among(&|node| !owners.contain(node)),
            Self::All => among(&|_| true),
            Self::AllBut(but) => among(&|node| node != but),
            Self::Only(only) => vec![only],
        }
    }
}

/// The spaces of a cluster and who owns them, filled with a value each.
pub(crate) struct Spaces {
    pub(crate) names: Vec<String>,
    pub(crate) owners: Vec<Owners>,
    pub(crate) value: Bytes,
}

/// How long a cluster may take to answer that is put through nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// What each space holds from the beginning.
const FIRST: &str = "first";

impl Spaces {
    /// Writes the first key of each space.
    pub(crate) async fn fill(cluster: &Cluster<'_>, count: usize, value_size: usize) -> Result<Self> {
        let names: Vec<_> = (0..count).map(|i| format!("space-{i}")).collect();
        let owners = cluster.owners(&names).await?;
        let spaces = Self { names, owners, value: vec![b'v'; value_size].into() };
        spaces.write_all(cluster, FIRST).await?;
        Ok(spaces)
    }

    /// Writes this key into each space, until it is answered.
    pub(crate) async fn write_all(&self, cluster: &Cluster<'_>, key: &str) -> Result<()> {
        for (space, owners) in self.names.iter().zip(&self.owners) {
            let kv = Kv::new(&cluster.nodes[owners.primary].client(), 1)?;
            let since = Instant::now();
            let mut ended = kv.write(space, key, self.value.clone(), true, PATIENCE).await;
            while matches!(ended, Ended::Overloaded) && since.elapsed() < PATIENCE {
                sleep(Duration::from_millis(100)).await;
                ended = kv.write(space, key, self.value.clone(), true, PATIENCE).await;
            }
            anyhow::ensure!(matches!(ended, Ended::Answered(_)), "{space} {key}: {ended:?}");
        }
        Ok(())
    }

    /// Those for which this is so.
    pub(crate) fn those(&self, so: impl Fn(&Owners) -> bool) -> Vec<usize> {
        (0..self.names.len()).filter(|space| so(&self.owners[*space])).collect()
    }
}

/// How one call went.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// When it was due, from the load's beginning.
    pub(crate) due: Duration,
    /// From then to its end.
    pub(crate) took: Duration,
    pub(crate) asked: Asked,
    pub(crate) space: usize,
    pub(crate) key: String,
    pub(crate) ended: Ended,
}

/// A load under way.
pub(crate) struct Load {
    pub(crate) began: Instant,
    controls: Arc<Controls>,
    all: JoinHandle<Vec<Done>>,
}

struct Controls {
    avoid: AtomicUsize,
    /// The rate as a share of the offered one, in thousandths.
    pace: AtomicU64,
    answered: AtomicU64,
    stopped: AtomicBool,
    /// Calls under way, by the node that they entered at.
    under_way: Vec<AtomicUsize>,
    /// Writes under way, by the primary of their space.
    writes_at: Vec<AtomicUsize>,
}

/// A call that is not counted would look like none.
const NO_PANIC: &str = "a call ends, and does not panic";

/// Makes keys differ from load to load.
static LOADS: AtomicUsize = AtomicUsize::new(0);

impl Load {
    /// Starts it on the load's host.
    pub(crate) fn start(
        runtime: &Runtime,
        cluster: &Cluster<'_>,
        spaces: &Arc<Spaces>,
        offer: Offer,
        loaded: &Arc<AtomicU64>,
    ) -> Result<Self> {
        let clients: Vec<Kv> = cluster
            .nodes
            .iter()
            .map(|node| Kv::new(&node.client(), offer.connections))
            .collect::<Result<_>>()?;
        let controls = Arc::new(Controls {
            avoid: AtomicUsize::new(NO_NODE),
            pace: AtomicU64::new(1_000),
            answered: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            under_way: clients.iter().map(|_| AtomicUsize::new(0)).collect(),
            writes_at: clients.iter().map(|_| AtomicUsize::new(0)).collect(),
        });
        let began = Instant::now();
        let loaded = Arc::clone(loaded);
        let all =
            runtime.spawn(drive(clients, Arc::clone(spaces), offer, began, Arc::clone(&controls), loaded));
        Ok(Self { began, controls, all })
    }

    /// From now on nobody enters at this node. Ends when all that entered there has ended, since nobody else could bring
    /// them an answer.
    pub(crate) async fn avoid(&self, node: usize) {
        self.controls.avoid.store(node, Ordering::SeqCst);
        // What was about to enter has entered by then.
        sleep(Duration::from_millis(50)).await;
        while self.controls.under_way[node].load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// From now on calls enter at all nodes again.
    pub(crate) fn avoid_nobody(&self) {
        self.controls.avoid.store(NO_NODE, Ordering::SeqCst);
    }

    /// From now on calls come at this share of the rate.
    pub(crate) fn pace(&self, share: f64) {
        self.controls.pace.store((share * 1_000.0) as u64, Ordering::Relaxed);
    }

    /// From now on no call begins.
    pub(crate) fn stop(&self) {
        self.controls.stopped.store(true, Ordering::Relaxed);
    }

    /// Writes under way to spaces of which this node is the primary.
    pub(crate) fn writes_at(&self, primary: usize) -> usize {
        self.controls.writes_at[primary].load(Ordering::SeqCst)
    }

    /// Calls that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.controls.answered.load(Ordering::Relaxed)
    }

    /// The time since it began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits until all its calls have ended.
    pub(crate) async fn done(mut self) -> Result<Vec<Done>> {
        Ok((&mut self.all).await?)
    }
}

impl Drop for Load {
    /// A case that breaks off leaves no load to the next.
    fn drop(&mut self) {
        self.all.abort();
    }
}

async fn drive(
    clients: Vec<Kv>,
    spaces: Arc<Spaces>,
    offer: Offer,
    began: Instant,
    controls: Arc<Controls>,
    loaded: Arc<AtomicU64>,
) -> Vec<Done> {
    let load = LOADS.fetch_add(1, Ordering::Relaxed);
    let entries: Vec<_> =
        spaces.owners.iter().map(|owners| offer.entry.nodes(clients.len(), owners)).collect();
    let (mut calls, mut done) = (JoinSet::new(), Vec::new());
    // The same in each run: what is asked is mixed, so that each space and each entry gets some of all.
    let mut mix = homing_benches::Rng::new(0);
    let mut due = Duration::ZERO;
    for i in 0_usize.. {
        if due >= offer.lasts || controls.stopped.load(Ordering::Relaxed) {
            break;
        }
        sleep_until(began + due).await;
        let asked = match mix.below(100) {
            number if number < offer.reads => Asked::Read,
            number if number < offer.reads + offer.unkeyed => Asked::UnkeyedWrite,
            _ => Asked::Write,
        };
        let space = offer.spaces[i % offer.spaces.len()];
        let avoid = controls.avoid.load(Ordering::Relaxed);
        let may: Vec<_> = entries[space].iter().copied().filter(|node| *node != avoid).collect();
        if let Some(&entry) = may.get(i / offer.spaces.len() % may.len().max(1)) {
            let (kv, spaces, controls) = (clients[entry].clone(), Arc::clone(&spaces), Arc::clone(&controls));
            let deadline = offer.deadline;
            let (writes, primary) = (usize::from(asked != Asked::Read), spaces.owners[space].primary);
            controls.under_way[entry].fetch_add(1, Ordering::SeqCst);
            controls.writes_at[primary].fetch_add(writes, Ordering::SeqCst);
            calls.spawn(async move {
                let (name, value) = (&spaces.names[space], &spaces.value);
                let key = format!("{load}-{i}");
                let ended = match asked {
                    Asked::Read => kv.read(name, FIRST, value, deadline).await,
                    Asked::Write => kv.write(name, &key, value.clone(), true, deadline).await,
                    Asked::UnkeyedWrite => kv.write(name, &key, value.clone(), false, deadline).await,
                };
                controls.under_way[entry].fetch_sub(1, Ordering::SeqCst);
                controls.writes_at[primary].fetch_sub(writes, Ordering::SeqCst);
                let took = began.elapsed().saturating_sub(due);
                controls.answered.fetch_add(matches!(ended, Ended::Answered(_)).into(), Ordering::Relaxed);
                Done { due, took, asked, space, key, ended }
            });
        }
        while let Some(ended) = calls.try_join_next() {
            done.push(ended.expect(NO_PANIC));
        }
        let pace = controls.pace.load(Ordering::Relaxed).max(1) as f64 / 1_000.0;
        due += Duration::from_secs_f64(1.0 / (offer.rate * pace));
    }
    loaded.fetch_add(began.elapsed().as_millis() as u64, Ordering::Relaxed);
    while let Some(ended) = calls.join_next().await {
        done.push(ended.expect(NO_PANIC));
    }
    done.sort_by_key(|call| call.due);
    done
}
