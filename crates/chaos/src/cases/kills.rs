//! Nodes that end without a word, and nodes that stand still.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::cluster::later;
use crate::figures::Figures;
use crate::kv::{Asked, Ended, Kv};
use crate::load::{Done, Entry, Offer, Spaces};
use crate::report::{CaseReport, Must};
use crate::stage::{Arena, Stage, as_it_is, is_keyed_write, is_read};

/// kill -9 of one node after another, each in the middle of writes, and started again. Nobody enters at the one that is down.
pub(crate) async fn kill(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let kills = arena.or_quick(100, 8);
    let longest = Duration::from_secs(10 * kills);
    let offer = Offer { entry: Entry::All, reads: 40, ..stage.offer(longest) };
    let load = stage.load(offer)?;
    sleep(Duration::from_secs(1)).await;
    let (mut in_the_middle, mut killed) = (0, Vec::new());
    for i in 0..kills as usize {
        let victim = i % stage.cluster.nodes.len();
        load.avoid(victim).await;
        let a_write_is_under_way = async || {
            let since = load.now();
            while load.writes_at(victim) == 0 && load.now() < since + Duration::from_secs(2) {
                sleep(Duration::from_micros(200)).await;
            }
            in_the_middle += usize::from(load.writes_at(victim) > 0);
        };
        stage.cluster.kill_when(victim, a_write_is_under_way).await?;
        killed.push((victim, load.now()));
        sleep(Duration::from_millis(300)).await;
        stage.cluster.nodes[victim].start()?;
        stage.cluster.nodes[victim].reaches_all().await?;
    }
    load.avoid_nobody();
    sleep(Duration::from_secs(1)).await;
    load.stop();
    let calls = load.done().await?;
    let reads = stage.class("reads", Figures::of(calls.iter().filter(is_read)));
    let writes = stage.class("writes", Figures::of(calls.iter().filter(is_keyed_write)));
    stage.class(
        "writes without a key",
        Figures::of(calls.iter().filter(|call| call.asked == Asked::UnkeyedWrite)),
    );
    stage.all_answered("reads", &reads);
    stage.all_answered("writes", &writes);
    for (what, of) in [("read", Asked::Read), ("write", Asked::Write)] {
        let owned =
            |call: &&Done, victim| call.asked == of && stage.spaces.owners[call.space].contain(victim);
        let after = killed
            .iter()
            .filter_map(|(victim, at)| first_answer(calls.iter().filter(|call| owned(call, *victim)), *at));
        let after: Vec<_> = after.collect();
        let never = killed.len() - after.len();
        let figures = Figures::of_times(after, never);
        stage.class(&format!("from each kill to the first {what} of a space with a copy there"), figures);
    }
    stage.fired("kills of a primary with a write under way", in_the_middle as f64);
    stage.check(
        "kills with such a write, in % of all",
        100.0 * in_the_middle as f64 / kills as f64,
        Must::AtLeast(90.0),
    );
    Ok(stage.close(&calls).await)
}

/// How long after `at` the first of those calls was answered that were due since.
fn first_answer<'a>(calls: impl Iterator<Item = &'a Done>, at: Duration) -> Option<Duration> {
    let answered = calls.filter(|call| call.due >= at && matches!(call.ended, Ended::Answered(_)));
    answered.map(|call| call.due + call.took - at).min()
}

/// A node stands still, connections and all, and goes on as if nothing had been.
pub(crate) async fn pause(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    const VICTIM: usize = 1;
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let (before, during) = (Duration::from_secs(2), Duration::from_secs(arena.or_quick(30, 5)));
    let offer = Offer {
        entry: Entry::AllBut(VICTIM),
        deadline: Duration::from_secs(3),
        ..stage.offer(before + during + Duration::from_secs(8))
    };
    let load = stage.load(offer)?;
    sleep(before).await;
    stage.cluster.nodes[VICTIM].signal(Signal::STOP)?;
    sleep(during).await;
    let stood_still = stage.cluster.nodes[VICTIM].go_on().await?;
    let again = load.now() + Duration::from_secs(5);
    let calls = load.done().await?;
    stage.judge_without(VICTIM, &calls);
    stage.judge_after("all, 5 s after it went on", again, &calls);
    stage.fired("pauses in which the node did not answer", f64::from(u8::from(stood_still)));
    Ok(stage.close(&calls).await)
}

/// A primary stands still with writes on their way to it, another takes its place, and it goes on as if nothing had been. What it
/// acknowledges from then on would be lost.
pub(crate) async fn replaced(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    const VICTIM: usize = 1;
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let (before, queue) = (Duration::from_secs(2), Duration::from_secs(2));
    let during = Duration::from_secs(arena.or_quick(30, 5));
    let after = Duration::from_secs(10);
    // What waits for it has time left when it goes on.
    let deadline = during + Duration::from_secs(30);
    let offer = Offer {
        entry: Entry::AllBut(VICTIM),
        reads: 40,
        deadline,
        ..stage.offer(before + queue + during + after)
    };
    let load = stage.load(offer.clone())?;
    sleep(before).await;
    stage.cluster.nodes[VICTIM].signal(Signal::STOP)?;
    sleep(queue).await;
    let queued = load.writes_at(VICTIM);
    let spaces = replace(&stage, VICTIM).await?;
    let replaced = load.now();
    let was_primary = |space: &usize| stage.spaces.owners[*space].primary == VICTIM;
    let moved: Vec<_> =
        (0..spaces.names.len()).filter(was_primary).map(|space| spaces.names[space].clone()).collect();
    spaces.write_all(&stage.cluster, MOVED).await?;
    sleep(during.saturating_sub(load.now() - replaced)).await;
    let stood_still = stage.cluster.nodes[VICTIM].go_on().await?;
    let again = load.now();
    // It has not been told: it learns from those whom it asks.
    let through_it = stage.load(Offer { entry: Entry::Only(VICTIM), lasts: after, ..offer })?;
    let kv = Kv::new(&stage.cluster.nodes[VICTIM].client(), 1)?;
    let mut stale = 0;
    for space in &moved {
        stale += usize::from(kv.has(space, MOVED, deadline).await == Some(false));
    }
    let mut calls = load.done().await?;
    let there = |call: &&Done| stage.spaces.owners[call.space].contain(VICTIM);
    let writes = |from: Duration, to: Duration| {
        let due = |call: &&Done| call.due >= from && call.due < to;
        Figures::of(calls.iter().filter(is_keyed_write).filter(there).filter(due))
    };
    let meanwhile = writes(replaced, again);
    let writes_after = writes(again, Duration::MAX);
    let entered = through_it.done().await?;
    let through_it = Figures::of(entered.iter().filter(is_keyed_write));
    for (name, figures) in [
        ("writes of what it had, once it was replaced", meanwhile),
        ("the same, once it went on", writes_after),
        ("writes that enter at it, once it went on", through_it),
    ] {
        let figures = stage.class(name, figures);
        stage.all_answered(name, &figures);
    }
    stage.note(format!(
        "read-primary at the replaced one, just when it went on: {stale} of {} were answered with what had been (until grants end, nobody can tell it)",
        moved.len()
    ));
    stage.fired("writes under way to it when it was replaced", queued as f64);
    stage.fired("pauses in which the node did not answer", f64::from(u8::from(stood_still)));
    calls.extend(entered);
    stage.spaces = Arc::new(spaces);
    Ok(stage.close(&calls).await)
}

/// What each space is told once it has another primary.
const MOVED: &str = "moved";

/// Gives each space of which this node has a copy to the others, in the next epoch: as an authority would, after the node's grants have ended.
async fn replace(stage: &Stage<'_>, victim: usize) -> Result<Spaces> {
    let (mut changed, mut owners) = (Vec::new(), stage.spaces.owners.clone());
    for (name, owners) in
        stage.spaces.names.iter().zip(&mut owners).filter(|(_, owners)| owners.contain(victim))
    {
        owners.replicas.retain(|replica| *replica != victim);
        if owners.primary == victim {
            owners.primary = owners.replicas.remove(0);
        }
        let mut table = later(&stage.cluster.table(name).await?, 1)?;
        let id = |node: &usize| stage.cluster.nodes[*node].id.clone();
        table["primary"] = id(&owners.primary).into();
        table["replicas"] = owners.replicas.iter().map(id).collect();
        changed.push(table);
    }
    stage.cluster.apply(&changed, Some(victim)).await?;
    let Spaces { names, value, .. } = &*stage.spaces;
    Ok(Spaces { names: names.clone(), owners, value: value.clone() })
}
