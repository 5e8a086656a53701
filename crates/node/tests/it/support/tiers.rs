use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Beside, Cluster, Layout};

/// Three clusters, the service of each being the next: its node calls on by that one's client listener. The last one's
/// fails all it is asked but `probe`.
pub(crate) struct Tiers {
    /// In the order in which a call passes them.
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) service: Beside,
}

/// What became of some calls on their way through [`Tiers`].
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) calls: u64,
    /// Requests that came out at the end.
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    /// Calls that did not end in an error which a node answered.
    pub(crate) odd: Vec<String>,
    /// What each tier has counted, in the order in which a call passes them.
    pub(crate) tiers: Vec<Tier>,
}

#[derive(Debug, Default)]
pub(crate) struct Tier {
    pub(crate) calls: f64,
    pub(crate) attempts: f64,
    pub(crate) retries: f64,
    /// How often a call waited for the budget.
    pub(crate) starved: f64,
}

impl Tiers {
    pub(crate) async fn start(nodes: usize, wire: &'static str) -> Self {
        let service = Beside::start(|space| space != "probe").await;
        let mut services = vec![service.address.clone(); nodes];
        let mut clusters = Vec::new();
        for _ in 0..3 {
            let mut cluster = Cluster::prepare(Layout { nodes, zones: 1, wires: vec![wire], edit });
            for (node, service) in cluster.nodes.iter().zip(&services) {
                node.edit(|config| drop(config.insert("service".to_owned(), service.as_str().into())));
            }
            cluster.start_all().await;
            services = cluster.nodes.iter().map(|node| node.client.clone()).collect();
            // Whose space it is in one tier, it is in the next: a service that asks any node asks another.
            services.rotate_left(1);
            clusters.insert(0, cluster);
        }
        return Self { clusters, service };

        /// One owner a space: what a node does not own, it brings to another. And little to spare, so that what counts is the
        /// share.
        fn edit(_: usize, config: &mut toml::Table) {
            config["table"]["replicas"] = 0.into();
            config["failover"]["retry_burst"] = BURST.into();
            config["failover"]["retry_per_second"] = PER_SECOND.into();
        }
    }

    /// Offers reads through the first tier, each of a space of its own, so many at a time: each waits for as
    /// long as somebody tries, at most for its deadline.
    pub(crate) async fn offer(&self, calls: u64, at_a_time: usize, deadline: Duration) -> Offered {
        let entries = self.clusters[0].nodes.len();
        let clients: Vec<_> = (0..entries).map(|i| self.clusters[0].kv(i).with_timeout(deadline)).collect();
        let before = self.count().await;
        let (failed, started) = (self.service.failed(), Instant::now());
        let places = Arc::new(Semaphore::new(at_a_time));
        let mut running = JoinSet::new();
        for call in 0..calls {
            let place = Arc::clone(&places).acquire_owned().await;
            let kv = clients[call as usize % entries].clone();
            running.spawn(async move {
                let got = tokio::time::timeout(HANGS, kv.get(&format!("space-{call}"), "key")).await;
                drop(place);
                match got {
                    // Its attempts are told by the node that was asked, if it is what answered.
                    Ok(Err(status)) if status.metadata().contains_key("homing-attempts") => None,
                    other => Some(format!("{other:?}")),
                }
            });
        }
        let odd = running.join_all().await.into_iter().flatten().collect();
        let took = started.elapsed();
        let requests = self.service.failed() - failed;
        let after = self.count().await;
        let tiers = after.iter().zip(&before).map(|(after, before)| after.since(before)).collect();
        Offered { calls, requests, took, odd, tiers }
    }

    async fn count(&self) -> Vec<Tier> {
        let mut tiers = Vec::new();
        for cluster in &self.clusters {
            let mut tier = Tier::default();
            for node in &cluster.nodes {
                tier.calls += node.counter("homing_calls_total", "").await;
                tier.attempts += node.counter("homing_attempts_total", "").await;
                tier.retries += node.counter("homing_retries_total", "").await;
                tier.starved += node.counter("homing_retry_budget_waits_total", "").await;
            }
            tiers.push(tier);
        }
        tiers
    }
}

/// What a router can save up, and what it gets each second.
const BURST: i64 = 10;
const PER_SECOND: i64 = 1;

/// Long after every deadline.
const HANGS: Duration = Duration::from_secs(30);

impl Offered {
    pub(crate) fn ratio(&self) -> f64 {
        self.requests as f64 / self.calls as f64
    }

    /// What so many routers may have added, calls or not: what they had saved up, and what came with time.
    pub(crate) fn floor(&self, routers: usize) -> f64 {
        routers as f64 * (BURST as f64 + PER_SECOND as f64 * self.took.as_secs_f64())
    }
}

impl Tier {
    fn since(&self, before: &Self) -> Self {
        Self {
            calls: self.calls - before.calls,
            attempts: self.attempts - before.attempts,
            retries: self.retries - before.retries,
            starved: self.starved - before.starved,
        }
    }
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, requests, took, .. } = self;
        write!(f, "{requests} requests for {calls} calls in {took:.1?}: {:.3}", self.ratio())?;
        for (i, Tier { calls, attempts, retries, starved }) in self.tiers.iter().enumerate() {
            write!(
                f,
                "; tier {}: {calls} calls, {attempts} attempts, {retries} retries, {starved} waits",
                i + 1
            )?;
        }
        Ok(())
    }
}
