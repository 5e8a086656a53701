//! More than the cluster can do. Each node has a share of a processor, so that the load has one to itself and the nodes are what is short.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::sleep;

use crate::figures::Figures;
use crate::kv::Ended;
use crate::load::{Done, Entry, Offer};
use crate::quota::{self, Quota};
use crate::report::{CaseReport, Check, Must};
use crate::stage::{Arena, Stage, as_it_is, is_keyed_write, is_read};

/// Of one processor, for each node, in per cent.
const SHARE: u32 = 16;

/// The time of each call: an answer later than that is none.
const DEADLINE: Duration = Duration::from_secs(1);

/// For so long the nodes get to know each other.
const WARM_UP: Duration = Duration::from_secs(4);

/// Without any load, whatever a trigger has left is over.
const REST: Duration = Duration::from_secs(5);

/// How long after a trigger all must be as before.
const RECOVERY: Duration = Duration::from_secs(5);

/// What the search for the peak begins with, in calls a second, and what each step multiplies it by.
const FIRST: f64 = 600.0;
const STEP: f64 = 1.25;
const STEPS: u32 = 16;

/// 1.5 times and twice what the cluster can do.
pub(crate) async fn overload(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    let (mut stage, quotas) = short(arena, case, wire).await?;
    let mut calls = Vec::new();
    let peak = peak(&mut stage, &mut calls).await?;
    let mut before_it = step(&mut stage, peak, &mut calls).await?;
    for times in [1.5, 2.0] {
        let lasts = Duration::from_secs(arena.or_quick(20, 6));
        let before = used(&stage)?;
        let offered = stage.load(offer(&stage, peak * times, lasts))?.done().await?;
        let shares = used(&stage)?.into_iter().zip(before).map(|(after, before)| {
            let share = (after - before).as_secs_f64() / lasts.as_secs_f64() / (f64::from(SHARE) / 100.0);
            format!("{:.0} %", 100.0 * share)
        });
        let shares = shares.collect::<Vec<_>>().join(", ");
        stage.note(format!("at {times} × the nodes used of their shares of a processor: {shares}"));
        // The first second is the way there.
        let goodput = goodput(&offered, Duration::from_secs(1), lasts);
        let too_many = offered.iter().filter(|call| !in_time(call)).count();
        stage.fired(&format!("calls at {times} × the peak without an answer in time"), too_many as f64);
        stage.class(&format!("{times} × peak, reads"), Figures::of(offered.iter().filter(is_read)));
        stage.class(&format!("{times} × peak, writes"), Figures::of(offered.iter().filter(is_keyed_write)));
        calls.extend(offered);
        sleep(Duration::from_secs(2)).await;
        // The machine is not as fast at all times: what is held against the peak is held against it as it was just before and after.
        let after_it = step(&mut stage, peak, &mut calls).await?;
        let beside = before_it.max(after_it);
        stage.check_speed(
            format!("goodput at {times} × ÷ at the peak, before or after"),
            goodput / beside,
            Must::AtLeast(0.8),
        );
        before_it = after_it;
    }
    end(stage, quotas, calls).await
}

/// 80 %, then twice the peak for 10 s, then 80 % again: how long until it is as if nothing had been?
pub(crate) async fn trigger(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    let (mut stage, quotas) = short(arena, case, wire).await?;
    let mut calls = Vec::new();
    let peak = peak(&mut stage, &mut calls).await?;
    let (calm, trigger, after) = (Duration::from_secs(10), Duration::from_secs(10), Duration::from_secs(20));
    let load = stage.load(offer(&stage, 0.8 * peak, calm + trigger + after))?;
    sleep(calm).await;
    load.pace(2.0 / 0.8);
    sleep(trigger).await;
    load.pace(1.0);
    let over = load.now();
    let offered = load.done().await?;
    let before = goodput(&offered, Duration::from_secs(2), calm);
    let (second, all) = (Duration::from_secs(1), calm + trigger + after);
    let seconds =
        (0..after.as_secs() as u32).map(|i| over + i * second).take_while(|from| *from + second <= all);
    let shares: Vec<_> =
        seconds.map(|from| format!("{:.2}", goodput(&offered, from, from + second) / before)).collect();
    stage.note(format!("goodput ÷ before, second by second from the trigger's end: {}", shares.join(" ")));
    // The machine is not as fast at all times: the same load once more after a rest, as one that nothing has come before.
    sleep(REST).await;
    let again = stage.load(offer(&stage, 0.8 * peak, calm))?.done().await?;
    let rested = goodput(&again, Duration::from_secs(2), calm);
    let later = goodput(&offered, over + RECOVERY, all) / f64::midpoint(before, rested);
    stage.note(format!("goodput before {before:.0}/s, after a rest {rested:.0}/s"));
    let phase = |from: Duration, to: Duration| {
        Figures::of(offered.iter().filter(|call| call.due >= from && call.due < to))
    };
    let phases = [
        ("before", phase(Duration::ZERO, calm)),
        ("trigger", phase(calm, over)),
        ("after", phase(over, Duration::MAX)),
        ("after a rest", Figures::of(&again)),
    ];
    for (name, figures) in phases {
        stage.class(name, figures);
    }
    stage.check_speed(
        "goodput from 5 s after the trigger on ÷ before and after a rest",
        later,
        Must::AtLeast(0.95),
    );
    // Nothing that stays may hide behind the rest; the machine itself differs by less from one minute to the next.
    stage.check_speed("goodput after a rest ÷ before", rested / before, Must::AtLeast(0.8));
    calls.extend(offered);
    calls.extend(again);
    end(stage, quotas, calls).await
}

async fn short<'a>(arena: &'a Arena, case: &str, wire: &'static str) -> Result<(Stage<'a>, Vec<Quota>)> {
    let stage = Stage::open(arena, case, wire, as_it_is).await?;
    let quotas = stage.cluster.nodes.iter().map(|node| {
        let quota = Quota::new(arena.run, &format!("{case}-{}", node.id), SHARE)?;
        quota.hold(node.pid()?)?;
        Ok(quota)
    });
    let quotas = quotas.collect::<Result<_>>()?;
    Ok((stage, quotas))
}

fn offer(stage: &Stage<'_>, rate: f64, lasts: Duration) -> Offer {
    Offer { rate, deadline: DEADLINE, entry: Entry::All, connections: 16, unkeyed: 0, ..stage.offer(lasts) }
}

/// The most answers a second, over rates that rise until twice in a row fewer than nine in ten were answered in time.
async fn peak(stage: &mut Stage<'_>, calls: &mut Vec<Done>) -> Result<f64> {
    // Connections are made, and what nodes learn of each other is learned.
    calls.extend(stage.load(offer(stage, FIRST / 2.0, WARM_UP))?.done().await?);
    let (mut rate, mut peak, mut misses) = (FIRST, 0.0_f64, 0);
    for _ in 0..STEPS {
        let goodput = step(stage, rate, calls).await?;
        peak = peak.max(goodput);
        misses = if goodput < 0.9 * rate { misses + 1 } else { 0 };
        if misses == 2 {
            return Ok(peak);
        }
        rate *= STEP;
    }
    bail!("the cluster answers {rate:.0} calls a second: its share of the processors is no limit")
}

/// Offers this many calls a second for a while, and tells how many were answered in time.
async fn step(stage: &mut Stage<'_>, rate: f64, calls: &mut Vec<Done>) -> Result<f64> {
    let lasts = Duration::from_secs(stage.arena.or_quick(8, 4));
    let offered = stage.load(offer(stage, rate, lasts))?.done().await?;
    let goodput = goodput(&offered, lasts / 2, lasts);
    stage.note(format!("offered {rate:.0}/s: {goodput:.0}/s answered"));
    calls.extend(offered);
    sleep(Duration::from_secs(2)).await;
    Ok(goodput)
}

/// The time that each node has had of a processor.
fn used(stage: &Stage<'_>) -> Result<Vec<Duration>> {
    stage.cluster.nodes.iter().map(|node| Ok(quota::used(node.pid()?)?)).collect()
}

/// Calls due in this time that were answered in time, a second.
fn goodput(calls: &[Done], from: Duration, to: Duration) -> f64 {
    let good = |call: &&Done| call.due >= from && call.due < to && in_time(call);
    calls.iter().filter(good).count() as f64 / (to - from).as_secs_f64()
}

fn in_time(call: &Done) -> bool {
    matches!(call.ended, Ended::Answered(_)) && call.took <= DEADLINE
}

async fn end(mut stage: Stage<'_>, quotas: Vec<Quota>, mut calls: Vec<Done>) -> Result<CaseReport> {
    let throttled: u64 = quotas.iter().map(Quota::throttled).sum();
    drop(quotas);
    stage.fired("times a node was held back", throttled as f64);
    calls.sort_by_key(|call| call.due);
    let mut report = stage.close(&calls).await;
    if let Some(found) = &report.copies {
        let share = 100.0 * found.late as f64 / found.executed.max(1) as f64;
        report.checks.push(Check::of_speed("writes executed for nobody, in %", share, Must::AtMost(1.0)));
    }
    Ok(report)
}
