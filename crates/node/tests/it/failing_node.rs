//! kill -9 of any one node: reads go on, writes without a copy there go on, the others end in a clear error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use homing::Access;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::on_each_wire;
use crate::support::{Cluster, Kv, Layout, OwnersOf, Reads, every};

const SPACES: usize = 200;

fn space(i: usize) -> String {
    format!("space-{i}")
}

on_each_wire!(no_read_fails_while_a_node_is_killed);
async fn no_read_fails_while_a_node_is_killed(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    fill(&cluster).await;
    for killed in 0..cluster.nodes.len() {
        let survivors: Vec<Kv> =
            (0..cluster.nodes.len()).filter(|i| *i != killed).map(|i| cluster.kv(i)).collect();
        let load = Reads::start(survivors, (0..SPACES).map(space).collect());
        load.passed(500).await;
        cluster.nodes[killed].kill();
        load.passed(2_000).await;
        cluster.nodes[killed].start();
        cluster.nodes[killed].answers().await;
        load.passed(500).await;
        let failures = load.stop().await;
        assert!(failures.is_empty(), "{} reads failed, the first: {}", failures.len(), failures[0]);
    }
}

on_each_wire!(writes_without_a_copy_on_the_dead_node_go_on_and_the_others_say_why_not);
async fn writes_without_a_copy_on_the_dead_node_go_on_and_the_others_say_why_not(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    let owners = OwnersOf::ask(&cluster.nodes[0]).await;
    fill(&cluster).await;
    let dead = cluster.nodes[0].id.clone();
    cluster.nodes[0].kill();
    let kv = cluster.kv(1).with_timeout(Duration::from_secs(2));

    let (with, without): (Vec<_>, Vec<_>) =
        (0..SPACES).map(space).partition(|space| owners.holds(space, &dead));
    assert!(with.len() > 20 && without.len() > 20);
    every(without, |space| {
        let kv = kv.clone();
        async move {
            kv.put(&space, "after", b"1").await.unwrap();
        }
    })
    .await;
    let (primary, replica): (Vec<_>, Vec<_>) = with.iter().partition(|space| owners.primary(space) == dead);
    for space in [primary[0], replica[0]] {
        let started = Instant::now();
        let error = kv.put(space, "after", b"1").await.unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        let says = error.message();
        assert!(says.contains(&format!("{space:?}")), "the space is missing: {says}");
        assert!(says.contains(&dead), "the dead node is missing: {says}");
        assert!(says.contains("attempt"), "what was tried is missing: {says}");
    }

    cluster.nodes[0].start();
    cluster.nodes[0].answers().await;
    let kv = cluster.kv(0);
    every(with, |space| {
        let kv = kv.clone();
        async move {
            kv.put(&space, "again", b"2").await.unwrap();
        }
    })
    .await;
}

on_each_wire!(every_acknowledged_write_is_there_after_a_kill);
async fn every_acknowledged_write_is_there_after_a_kill(wire: &'static str) {
    let mut cluster = Cluster::start(Layout::five(wire)).await;
    for killed in [0, 3] {
        let writes = Writes::start(&cluster, killed);
        writes.acknowledged(100).await;
        cluster.nodes[killed].kill();
        let acknowledged = writes.stop().await;
        cluster.nodes[killed].start();
        cluster.nodes[killed].answers().await;
        // At every copy, the one that was killed included, and at the primary.
        for entry in 0..cluster.nodes.len() {
            let kv = cluster.kv(entry);
            every(acknowledged.clone(), |(space, key)| {
                let kv = kv.clone();
                async move {
                    for access in [Access::Read, Access::ReadPrimary] {
                        let served = kv.get_with(&space, &key, access).await.unwrap();
                        assert_eq!(
                            served.value.as_deref(),
                            Some(key.as_bytes()),
                            "{space} {key} at {}",
                            served.by
                        );
                    }
                }
            })
            .await;
        }
    }
}

async fn fill(cluster: &Cluster) {
    let kv = cluster.kv(0);
    every(0..SPACES, |i| {
        let kv = kv.clone();
        async move {
            kv.put(&space(i), "key", b"value").await.unwrap();
        }
    })
    .await;
}

/// Writers that note what was acknowledged, each through another node than the one that will be killed.
struct Writes {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    writers: JoinSet<Vec<(String, String)>>,
}

impl Writes {
    fn start(cluster: &Cluster, killed: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let mut writers = JoinSet::new();
        for writer in 0..8 {
            let entry = (0..cluster.nodes.len()).filter(|i| *i != killed).cycle().nth(writer).unwrap();
            let kv = cluster.kv(entry).with_timeout(Duration::from_secs(1));
            let (stop, count) = (Arc::clone(&stop), Arc::clone(&count));
            writers.spawn(async move {
                let mut acknowledged = Vec::new();
                for i in 0..usize::MAX {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let (space, key) = (space(i % 50), format!("{killed}-{writer}-{i}"));
                    if kv.put(&space, &key, key.as_bytes()).await.is_ok() {
                        acknowledged.push((space, key));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
                acknowledged
            });
        }
        Self { stop, count, writers }
    }

    async fn acknowledged(&self, wanted: usize) {
        let started = Instant::now();
        while self.count.load(Ordering::Relaxed) < wanted {
            assert!(started.elapsed() < Duration::from_secs(60), "the writes hang");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(mut self) -> Vec<(String, String)> {
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = Vec::new();
        while let Some(ended) = self.writers.join_next().await {
            acknowledged.extend(ended.unwrap());
        }
        acknowledged
    }
}
