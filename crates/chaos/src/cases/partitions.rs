//! Links that are cut, both ways or one way, for good or again and again.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::cluster::Owners;
use crate::figures::Figures;
use crate::kv::{Asked, Ended};
use crate::load::{Done, Entry, Offer};
use crate::report::{CaseReport, Must};
use crate::stage::{Arena, Stage, as_it_is, is_keyed_write, is_read};

/// One node is cut off from all others. Spaces with a copy there can be read, and not be written under `static`, which never
/// promotes; all others go on as if nothing were.
pub(crate) async fn whole(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    const VICTIM: usize = 1;
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let (before, during) = (Duration::from_secs(2), Duration::from_secs(arena.or_quick(15, 5)));
    let offer = Offer {
        entry: Entry::AllBut(VICTIM),
        deadline: Duration::from_secs(3),
        ..stage.offer(before + during + Duration::from_secs(8))
    };
    let load = stage.load(offer)?;
    sleep(before).await;
    let hosts = &arena.hosts.nodes;
    for other in (0..hosts.len()).filter(|other| *other != VICTIM) {
        hosts[VICTIM].cut(&hosts[other])?;
        hosts[other].cut(&hosts[VICTIM])?;
    }
    sleep(during).await;
    let cut = stage.packets()?.cut;
    arena.hosts.mend()?;
    // What was under way when it was mended has its deadline yet to come.
    let again = load.now() + Duration::from_secs(5);
    let calls = load.done().await?;
    stage.judge_without(VICTIM, &calls);
    stage.judge_after("all, 5 s after it was mended", again, &calls);
    stage.fired("packets over a cut link", cut as f64);
    Ok(stage.close(&calls).await)
}

/// The entry, a primary, and the spaces that it owns and of which the entry has no copy.
fn pair(stage: &Stage<'_>) -> Result<(usize, usize, Vec<usize>)> {
    let nodes = 0..stage.cluster.nodes.len();
    let pairs = nodes.clone().flat_map(|entry| nodes.clone().map(move |primary| (entry, primary)));
    let of = |entry: usize, primary: usize| {
        stage.spaces.those(|owners: &Owners| owners.primary == primary && !owners.contain(entry))
    };
    let most = pairs.max_by_key(|(entry, primary)| of(*entry, *primary).len());
    let (entry, primary) = most.context("a cluster has nodes")?;
    Ok((entry, primary, of(entry, primary)))
}

/// Nothing comes from the entry to the primary; what it sends comes.
pub(crate) async fn one_way(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    between_two(arena, case, wire, false).await
}

/// Neither reaches the other.
pub(crate) async fn entry_cut(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    between_two(arena, case, wire, true).await
}

async fn between_two(arena: &Arena, case: &str, wire: &'static str, both: bool) -> Result<CaseReport> {
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let (entry, primary, spaces) = pair(&stage)?;
    let (before, during) = (Duration::from_secs(2), Duration::from_secs(arena.or_quick(20, 8)));
    let offer = Offer { entry: Entry::Only(entry), spaces, reads: 50, ..stage.offer(before + during) };
    let load = stage.load(offer)?;
    sleep(before).await;
    let hosts = &arena.hosts.nodes;
    hosts[primary].cut(&hosts[entry])?;
    if both {
        hosts[entry].cut(&hosts[primary])?;
    }
    let cut_at = load.now();
    let calls = load.done().await?;
    let cut = stage.packets()?.cut;
    let reads = stage.class("reads", Figures::of(calls.iter().filter(is_read)));
    let writes = stage.class("writes", Figures::of(calls.iter().filter(is_keyed_write)));
    let settled = |call: &&Done| call.asked == Asked::Write && call.due > cut_at + Duration::from_secs(3);
    stage.class("writes, 3 s after the cut", Figures::of(calls.iter().filter(settled)));
    let relayed = calls.iter().filter(|call| call.due > cut_at && hops(call) == Some(2)).count();
    stage.all_answered("reads", &reads);
    stage.all_answered("writes, by a relay", &writes);
    stage.fired("answers by way of a relay", relayed as f64);
    stage.fired("packets over a cut link", cut as f64);
    Ok(stage.close(&calls).await)
}

fn hops(call: &Done) -> Option<u32> {
    match &call.ended {
        Ended::Answered(answer) => Some(answer.hops),
        _ => None,
    }
}

/// The link between the entry and the primary fails for a second, and is there for a second, and so on.
pub(crate) async fn flapping(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let (entry, primary, spaces) = pair(&stage)?;
    let (steady, times) = (Duration::from_secs(5), arena.or_quick(15, 5));
    let second = Duration::from_secs(1);
    let offer =
        Offer { entry: Entry::Only(entry), spaces, reads: 50, ..stage.offer(steady + 2 * times * second) };
    let load = stage.load(offer)?;
    sleep(steady).await;
    let (from, before) = (load.now(), load.answered());
    let hosts = &arena.hosts.nodes;
    for _ in 0..times {
        hosts[primary].cut(&hosts[entry])?;
        hosts[entry].cut(&hosts[primary])?;
        sleep(second).await;
        arena.hosts.mend()?;
        sleep(second).await;
    }
    let (to, after) = (load.now(), load.answered());
    let calls = load.done().await?;
    let cut = stage.packets()?.cut;
    let goodput = (after - before) as f64 / (to - from).as_secs_f64();
    let steady = before as f64 / from.as_secs_f64();
    stage.class("reads", Figures::of(calls.iter().filter(is_read)));
    let keyed = stage.class(
        "reads and writes",
        Figures::of(calls.iter().filter(|call| call.asked != Asked::UnkeyedWrite)),
    );
    stage.check_speed("goodput ÷ steady", goodput / steady, Must::AtLeast(0.9));
    stage.all_answered("reads and writes", &keyed);
    stage.fired("packets over a cut link", cut as f64);
    Ok(stage.close(&calls).await)
}
