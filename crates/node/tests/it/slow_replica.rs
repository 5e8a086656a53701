//! A replica that answers late: reads ask another beside it, and few are asked for twice.

use std::time::Duration;

use homing::Access;
use tokio::time::Instant;

use crate::on_each_wire;
use crate::support::{Cluster, Layout, OwnersOf, Reads, every, tell};

const SPACES: usize = 200;

/// n2, to whom all takes long and from whom all takes long.
const SLOW: usize = 1;
const OTHERS: [usize; 4] = [0, 2, 3, 4];
const EACH_WAY: Duration = Duration::from_millis(100);

/// Reads under way, spread over the others.
const READERS: usize = 16;

/// The most that a node has to another: two for what people send, two for what nodes do.
const CONNECTIONS: usize = 4;

/// Of 100 reads.
const HEDGES: f64 = 5.0;

/// What a router can save up of them.
const BURST: f64 = 10.0;

on_each_wire!(no_read_fails_and_few_are_sent_twice_while_a_replica_answers_late);
async fn no_read_fails_and_few_are_sent_twice_while_a_replica_answers_late(wire: &'static str) {
    let mut cluster = Cluster::prepare(Layout::five(wire));
    for node in &cluster.nodes {
        node.edit(|config| config["failover"]["hedge_percent"] = (HEDGES as i64).into());
    }
    let relay = cluster.relay(SLOW, &OTHERS).await;
    cluster.start_all().await;
    let kv = cluster.kv(0);
    every((0..SPACES).map(space), |space| {
        let kv = kv.clone();
        async move {
            kv.put(&space, "key", b"value").await.unwrap();
        }
    })
    .await;

    let readers = OTHERS.iter().cycle().take(READERS).map(|entry| cluster.kv(*entry));
    let load = Reads::start(readers.collect(), (0..SPACES).map(space).collect());
    load.passed(3_000).await;
    let (steady, before) = (Instant::now(), Counted::at(&cluster).await);
    load.passed(3_000).await;
    let (late, between) = (Instant::now(), Counted::at(&cluster).await);
    relay.delay(EACH_WAY);
    is_late(&cluster).await;
    load.passed(6_000).await;
    let done = load.done().await;
    let after = Counted::at(&cluster).await;

    tell(&format!("{wire}: steady {}", done.between(steady, late)));
    tell(&format!("{wire}: {}", between.since(&before)));
    let of_late = done.between(late, Instant::now());
    tell(&format!("{wire}: late   {of_late}, {} of them over {EACH_WAY:?}", of_late.over(EACH_WAY)));
    let while_late = after.since(&between);
    tell(&format!("{wire}: {while_late}"));
    tell(&format!("{wire}: in all {after}"));
    assert!(done.failures.is_empty(), "{} reads failed: {}", done.failures.len(), done.failures[0]);
    assert!(while_late.executed_late > 0.0, "nobody asked the late replica");
    assert!(while_late.hedges_won > 0.0, "no hedge has helped");
    for (counted, when) in [(&while_late, "while it was late"), (&after, "in all")] {
        let allowed = counted.reads * HEDGES / 100.0 + BURST * OTHERS.len() as f64;
        assert!(counted.hedges <= allowed, "{when}: {counted}, allowed {allowed}");
    }
    // Losers that are cut off cost connections, and more are dialled than stand.
    let stand = (OTHERS.len() * (cluster.nodes.len() - 1) * CONNECTIONS) as f64;
    assert!(after.dials <= stand, "connections were lost: {after}");
    assert_eq!(after.replaced, 0.0, "connections were given up: {after}");
    assert_eq!(after.breakers, 0.0, "somebody is avoided: {after}");
}

/// What only the late replica may answer takes its time.
async fn is_late(cluster: &Cluster) {
    let owners = OwnersOf::ask(&cluster.nodes[SLOW]).await;
    let space = owners.spaces_of(&cluster.nodes[SLOW].id, 1).remove(0);
    for entry in OTHERS {
        let began = Instant::now();
        cluster.kv(entry).get_with(&space, "key", Access::ReadPrimary).await.unwrap();
        assert!(began.elapsed() >= 2 * EACH_WAY, "n{} has another way to it", entry + 1);
    }
}

fn space(i: usize) -> String {
    format!("space-{i}")
}

/// What the nodes have counted, all but the slow one together.
#[derive(Debug, Default)]
struct Counted {
    reads: f64,
    hedges: f64,
    hedges_won: f64,
    retries: f64,
    dials: f64,
    replaced: f64,
    breakers: f64,
    /// What the slow one has executed. No call enters there.
    executed_late: f64,
}

impl Counted {
    async fn at(cluster: &Cluster) -> Self {
        let mut sum = Self::default();
        for entry in OTHERS {
            let node = &cluster.nodes[entry];
            sum.reads += node.counter("homing_calls_total", "\"read\"").await;
            sum.hedges += node.counter("homing_hedges_total", "").await;
            sum.hedges_won += node.counter("homing_hedges_won_total", "").await;
            sum.retries += node.counter("homing_retries_total", "").await;
            sum.dials += node.counter("homing_dials_total", "\"connected\"").await;
            sum.replaced += node.counter("homing_connections_replaced_total", "").await;
            sum.breakers += node.counter("homing_breaker_changes_total", "").await;
        }
        sum.executed_late = cluster.nodes[SLOW].counter("homing_received_total", "\"execute\"").await;
        sum
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            reads: self.reads - before.reads,
            hedges: self.hedges - before.hedges,
            hedges_won: self.hedges_won - before.hedges_won,
            retries: self.retries - before.retries,
            dials: self.dials - before.dials,
            replaced: self.replaced - before.replaced,
            breakers: self.breakers - before.breakers,
            executed_late: self.executed_late - before.executed_late,
        }
    }
}

impl std::fmt::Display for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reads, hedges, hedges_won, retries, dials, replaced, breakers, executed_late } = self;
        let share = 100.0 * hedges / reads;
        write!(
            f,
            "{reads} reads, {hedges} hedges ({share:.2} %, {hedges_won} won), {retries} retries, {dials} dials, {replaced} \
             connections replaced, {breakers} breaker changes, {executed_late} served by the late replica"
        )
    }
}
