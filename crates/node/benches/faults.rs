//! What faults cost those who call: real clusters on this machine, and each figure beside one of the same run without the
//! fault.
//!
//! ```text
//! cargo bench -p homing-node --bench faults [-- [--quick] [grpc | quic]]
//! ```
//!
//! It takes about two minutes a wire. It measures and judges; it never fails for a figure. A machine that does something else
//! meanwhile shows in the tails of both sides of a ratio, and not alike.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench that can't go on says so by panicking")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures on stdout, progress on stderr")]

use std::time::Duration;

use comfy_table::{Table, presets};
use tokio::time::{Instant, sleep, timeout};

#[path = "../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what the tests share is more than what is measured")]
mod support;

use support::{Cluster, Latencies, Layout, OneFails, Reads, Rounds, Tiers, every};

const WIRES: &[&str] = &[
    #[cfg(feature = "grpc")]
    "grpc",
    #[cfg(feature = "quic")]
    "quic",
];

/// Longer than all of one wire takes. What is left over then is cleaned up.
const TOO_LONG: Duration = Duration::from_secs(240);

const SPACES: usize = 1_000;

/// Reads under way at any time.
const READERS: usize = 32;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let size = if arguments.iter().any(|argument| argument == "--quick") { QUICK } else { FULL };
    let chosen =
        |wire: &&&str| arguments.iter().all(|argument| argument.starts_with("--") || argument == **wire);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for wire in WIRES.iter().filter(chosen) {
        let began = Instant::now();
        let mut figures = Figures { wire, began, all: Vec::new() };
        let ended = runtime.block_on(async { timeout(TOO_LONG, measure(wire, &size, &mut figures)).await });
        println!("\n{wire}, {:.0?}:\n{}", began.elapsed(), figures.table());
        if ended.is_err() {
            println!("what is missing was given up after {TOO_LONG:?}");
        }
    }
}

/// How much is measured.
struct Size {
    victims: &'static [usize],
    warm_up: Duration,
    steady: Duration,
    late: Duration,
    rounds: usize,
    calls: u64,
}

const FULL: Size = Size {
    victims: &[0, 1, 2],
    warm_up: Duration::from_millis(1_500),
    steady: Duration::from_secs(3),
    late: Duration::from_secs(6),
    rounds: 12,
    calls: 5_000,
};

const QUICK: Size = Size {
    victims: &[1],
    warm_up: Duration::from_secs(1),
    steady: Duration::from_secs(2),
    late: Duration::from_secs(3),
    rounds: 4,
    calls: 2_000,
};

async fn measure(wire: &'static str, size: &Size, figures: &mut Figures) {
    killed_node(wire, size, figures).await;
    late_replica(wire, size, figures).await;
    failing_space(wire, size, figures).await;
    three_tiers(wire, size, figures).await;
}

/// kill -9 of one node after another, under reads through the others.
async fn killed_node(wire: &'static str, size: &Size, figures: &mut Figures) {
    let mut cluster = Cluster::prepare(Layout { edit: hedged, ..Layout::five(wire) });
    cluster.start_all().await;
    fill(&cluster).await;
    let (mut ratios, mut failures) = (Vec::new(), 0);
    for &victim in size.victims {
        let load = load(&cluster, victim);
        sleep(size.warm_up).await;
        let from = Instant::now();
        sleep(size.steady).await;
        let to = Instant::now();
        cluster.nodes[victim].kill();
        sleep(AFTER_KILL).await;
        let done = load.done().await;
        let (steady, after) = (done.between(from, to), done.between(to, to + AFTER_KILL));
        let ratio = ratio(after.at(0.99), steady.at(0.99));
        figures.say(&format!("n{} killed: steady {steady}; after {after}: {ratio:.2}", victim + 1));
        ratios.push(ratio);
        failures += done.failures.len();
        cluster.nodes[victim].start();
        cluster.nodes[victim].answers().await;
        let id = cluster.nodes[victim].id.clone();
        for node in &cluster.nodes {
            node.reaches(&id).await;
        }
    }
    let each: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    let what = format!("kill -9: p99 of the 2 s after ÷ steady, median of {}", each.join(", "));
    figures.at_most(&what, median(ratios), 3.0);
    figures.at_most("kill -9: reads that failed", failures as f64, 0.0);
}

const AFTER_KILL: Duration = Duration::from_secs(2);

/// One node that all others reach 100 ms later each way, with hedging and without.
async fn late_replica(wire: &'static str, size: &Size, figures: &mut Figures) {
    const LATE: usize = 1;
    for hedging in [true, false] {
        let edit = if hedging { hedged } else { |_: usize, _: &mut toml::Table| {} };
        let mut cluster = Cluster::prepare(Layout { edit, ..Layout::five(wire) });
        let relay = cluster.relay(LATE, &[0, 2, 3, 4]).await;
        cluster.start_all().await;
        fill(&cluster).await;
        let load = load(&cluster, LATE);
        sleep(size.warm_up).await;
        let from = Instant::now();
        sleep(size.steady).await;
        let (to, before) = (Instant::now(), calls_and_hedges(&cluster).await);
        relay.delay(Duration::from_millis(100));
        sleep(size.late).await;
        let (end, after) = (Instant::now(), calls_and_hedges(&cluster).await);
        let done = load.done().await;
        let (steady, late) = (done.between(from, to), done.between(to, end));
        let settled = done.between(to + Duration::from_secs(1), end);
        let slow = late.over(Duration::from_millis(100));
        let name = if hedging { "hedging" } else { "no hedging" };
        figures.say(&format!(
            "200 ms late, {name}: steady {steady}; late {late}, {slow} over 100 ms; after its first second {settled}"
        ));
        let of_all = ratio(late.at(0.999), steady.at(0.999));
        let of_settled = ratio(settled.at(0.999), steady.at(0.999));
        if hedging {
            figures.at_most("200 ms late, hedging: p99.9 ÷ steady", of_all, 2.0);
            figures.only("200 ms late, hedging: the same after its first second", of_settled);
            let extra = 100.0 * (after.1 - before.1) / (after.0 - before.0);
            figures.at_most("200 ms late, hedging: extra calls, in %", extra, 5.0);
        } else {
            figures.only("200 ms late, no hedging: p99.9 ÷ steady", of_all);
            figures.only("200 ms late, no hedging: the same after its first second", of_settled);
        }
        figures.at_most(&format!("200 ms late, {name}: reads that failed"), done.failures.len() as f64, 0.0);
    }
}

/// Calls of all nodes, and how many of them were sent twice.
async fn calls_and_hedges(cluster: &Cluster) -> (f64, f64) {
    let mut sum = (0.0, 0.0);
    for node in &cluster.nodes {
        sum.0 += node.counter("homing_calls_total", "").await;
        sum.1 += node.counter("homing_hedges_total", "").await;
    }
    sum
}

/// One space of all fails, always, with a deadline that its callers wait for.
async fn failing_space(wire: &'static str, size: &Size, figures: &mut Figures) {
    let story = OneFails::start(wire, Duration::from_secs(1)).await;
    story.round(1..SPACES, READERS, &mut Rounds::default()).await;
    let (mut ratios, mut noise, mut failures) = (Vec::new(), Vec::new(), 0);
    for _ in 0..size.rounds {
        // Without on both sides of with: what drifts cancels out, and how far two alike are apart is seen.
        let mut rounds = [Rounds::default(), Rounds::default(), Rounds::default()];
        for (rounds, first) in rounds.iter_mut().zip([1, 0, 1]) {
            story.round(first..SPACES, READERS, rounds).await;
        }
        let [before, with, after] = rounds.each_ref().map(|rounds| rounds.latencies());
        let p99 = |latencies: &Latencies| latencies.at(0.99).as_secs_f64();
        ratios.push(p99(&with) / p99(&before).midpoint(p99(&after)));
        noise.push(p99(&after) / p99(&before));
        figures.say(&format!("one failing space: without {before}; with {with}; without {after}"));
        failures += rounds.iter().flat_map(|all| &all.failures).filter(|failure| failure.space != 0).count();
    }
    let apart = |of: &[f64]| of.iter().map(|ratio| format!("{ratio:.2}")).collect::<Vec<_>>().join(", ");
    figures.say(&format!("one failing space: {}; two without: {}", apart(&ratios), apart(&noise)));
    let what = format!(
        "one failing space of {SPACES}: p99 of the others, with ÷ without, median of {}",
        size.rounds
    );
    figures.at_most(&what, median(ratios), 1.1);
    figures.only("one failing space: the same of two rounds without", median(noise));
    figures.at_most("one failing space: failures of the others", failures as f64, 0.0);
}

/// Three tiers of routers before a service that fails everything.
async fn three_tiers(wire: &'static str, size: &Size, figures: &mut Figures) {
    for nodes in [1, 2] {
        let tiers = Tiers::start(nodes, wire).await;
        let offered = tiers.offer(size.calls, 500, Duration::from_secs(1)).await;
        figures.say(&format!("three tiers, {nodes} a tier: {offered}"));
        let apart = (offered.requests as f64 - offered.floor(3 * nodes)) / offered.calls as f64;
        let how = if nodes == 1 { "one node a tier" } else { "two a tier, which bring calls to each other" };
        figures.at_most(&format!("three tiers, {how}: attempts ÷ calls, apart from the floor"), apart, 1.2);
        let odd = offered.odd.len();
        figures.at_most(&format!("three tiers, {how}: calls without a node's answer"), odd as f64, 0.0);
    }
}

/// As a node is by default.
fn hedged(_: usize, config: &mut toml::Table) {
    config["failover"]["hedge_percent"] = 5.into();
}

async fn fill(cluster: &Cluster) {
    let kv = cluster.kv(0);
    every(0..SPACES, |i| {
        let kv = kv.clone();
        async move {
            kv.put(&format!("space-{i}"), "key", b"value").await.unwrap();
        }
    })
    .await;
}

/// Reads through all nodes but one.
fn load(cluster: &Cluster, but: usize) -> Reads {
    let entries: Vec<_> = (0..cluster.nodes.len()).filter(|i| *i != but).map(|i| cluster.kv(i)).collect();
    let readers = entries.iter().cycle().take(READERS).cloned().collect();
    Reads::start(readers, (0..SPACES).map(|i| format!("space-{i}")).collect())
}

fn ratio(with: Duration, without: Duration) -> f64 {
    with.as_secs_f64() / without.as_secs_f64()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    let (low, high) = (of[(of.len() - 1) / 2], of[of.len() / 2]);
    low.midpoint(high)
}

/// What was measured on one wire.
struct Figures {
    wire: &'static str,
    began: Instant,
    all: Vec<(String, f64, Option<f64>)>,
}

impl Figures {
    /// Progress.
    fn say(&self, line: &str) {
        eprintln!("{} {:>4.0?} {line}", self.wire, self.began.elapsed());
    }

    /// A figure that has a gate.
    fn at_most(&mut self, what: &str, figure: f64, gate: f64) {
        self.all.push((what.to_owned(), figure, Some(gate)));
    }

    /// A figure that stands beside another.
    fn only(&mut self, what: &str, figure: f64) {
        self.all.push((what.to_owned(), figure, None));
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["what", "figure", "gate", ""]);
        for (what, figure, gate) in &self.all {
            let judged = gate.map_or("", |gate| if *figure <= gate { "met" } else { "missed" });
            let gate = gate.map(|gate| format!("≤ {gate}")).unwrap_or_default();
            table.add_row([what.as_str(), &format!("{figure:.2}"), &gate, judged]);
        }
        table
    }
}
