//! Gray nodes: they live, and take far longer than others.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::figures::Figures;
use crate::kv::Asked;
use crate::load::{Done, Entry, Load, Offer};
use crate::quota::Quota;
use crate::relay::Relay;
use crate::report::{CaseReport, Check, Must};
use crate::stage::{Arena, Stage, as_it_is};

const VICTIM: usize = 1;
const READS: &str = "reads";
const STEADY: Duration = Duration::from_secs(5);

/// A node that gets 5 % of a processor.
pub(crate) async fn cpu(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let load = start(&stage)?;
    sleep(STEADY).await;
    let quota = Quota::new(arena.run, case, 5)?;
    quota.hold(stage.cluster.nodes[VICTIM].pid()?)?;
    let from = load.now();
    let calls = load.done().await?;
    let throttled = quota.throttled();
    drop(quota);
    judge(&mut stage, &calls, from);
    stage.fired("times it was held back", throttled as f64);
    Ok(stage.close(&calls).await)
}

/// A node to which all others have 100 ms each way, by a relay before it.
pub(crate) async fn link(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    // What hedges are for shows beside the same without them.
    let without = far(arena, case, wire, false).await?;
    let mut report = far(arena, case, wire, true).await?;
    let of_reads = |report: &CaseReport| {
        report.classes.iter().find(|(name, _)| name == READS).map(|(_, figures)| figures.clone())
    };
    if let (Some(with), Some(without)) = (of_reads(&report), of_reads(&without)) {
        let (ours, theirs) = (with.p999_ms, without.p999_ms);
        report.notes.push(format!(
            "p99.9 of reads: {ours:.1} ms, without hedging {theirs:.1}; hedges: {:.1} % of reads",
            100.0 * report.hedges / with.calls as f64
        ));
        report.classes.push(("reads, without hedging".to_owned(), without));
    }
    report.checks.push(Check::new("hedges", report.hedges, Must::AtLeast(1.0)));
    report.checks.push(Check::new("hedges, where they are off", without.hedges, Must::AtMost(0.0)));
    report.gaps.join(&without.gaps);
    report.notes.extend(without.notes.iter().map(|note| format!("without hedging: {note}")));
    let name = |check: Check| Check { what: format!("without hedging: {}", check.what), ..check };
    report.checks.extend(without.checks.into_iter().map(name));
    Ok(report)
}

async fn far(arena: &Arena, case: &str, wire: &'static str, hedging: bool) -> Result<CaseReport> {
    const NODE: u16 = 7_400;
    const RELAY: u16 = 7_500;
    let address = arena.hosts.nodes[VICTIM].address;
    let by_relay = |node: usize, config: &mut toml::Table| {
        if node != VICTIM {
            config["nodes"][VICTIM]["address"] = format!("{address}:{RELAY}").into();
        }
        if !hedging {
            let failover = toml::Table::from_iter([("hedge_percent".to_owned(), 0.into())]);
            config.insert("failover".to_owned(), failover.into());
        }
    };
    let runtime = arena.hosts.nodes[VICTIM].runtime()?;
    let (listen, to) = (SocketAddr::from((address, RELAY)), SocketAddr::from((address, NODE)));
    let relay = runtime.spawn(async move { Relay::start(wire, listen, to).await }).await?;
    let name = if hedging { case.to_owned() } else { format!("{case}-without-hedging") };
    let mut stage = Stage::open(arena, &name, wire, by_relay).await?;
    let load = start(&stage)?;
    sleep(STEADY).await;
    let (from, before) = (load.now(), relay.requests_passed());
    relay.delay(Duration::from_millis(100));
    let calls = load.done().await?;
    judge(&mut stage, &calls, from);
    let unit = if wire == "quic" { "datagrams" } else { "bytes" };
    stage.fired(&format!("{unit} that came late"), (relay.requests_passed() - before) as f64);
    relay.delay(Duration::ZERO);
    Ok(stage.close(&calls).await)
}

fn start(stage: &Stage<'_>) -> Result<Load> {
    let lasts = STEADY + Duration::from_secs(stage.arena.or_quick(20, 6));
    stage.load(Offer { entry: Entry::AllBut(VICTIM), ..stage.offer(lasts) })
}

fn judge(stage: &mut Stage<'_>, calls: &[Done], from: Duration) {
    let reads = |since: Duration, until: Duration| {
        Figures::of(
            calls.iter().filter(|call| call.asked == Asked::Read && call.due >= since && call.due < until),
        )
    };
    let steady = stage.class("reads before", reads(Duration::from_secs(1), from));
    let during = stage.class(READS, reads(from, Duration::MAX));
    let writes = Figures::of(calls.iter().filter(|call| call.asked == Asked::Write && call.due >= from));
    let writes = stage.class("writes", writes);
    stage.all_answered("reads", &during);
    stage.all_answered("writes", &writes);
    let ratio = during.p99_ms / steady.p99_ms;
    stage.note(format!("p99 of reads ÷ before: {ratio:.2}; p99.9: {:.2}", during.p999_ms / steady.p999_ms));
    stage.check_speed("attempts a read", during.attempts, Must::AtMost(1.2));
}
