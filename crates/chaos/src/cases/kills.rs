//! Nodes that end without a word, and nodes that stand still.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::figures::Figures;
use crate::kv::Asked;
use crate::load::{Entry, Offer};
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
    let mut in_the_middle = 0;
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
    stage.fired("kills of a primary with a write under way", in_the_middle as f64);
    stage.check(
        "its share of all kills, in %",
        100.0 * in_the_middle as f64 / kills as f64,
        Must::AtLeast(90.0),
    );
    stage.close(&calls).await
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
    stage.cluster.nodes[VICTIM].signal("-STOP")?;
    sleep(during).await;
    let stood_still = !stage.cluster.nodes[VICTIM].moves(Duration::from_secs(1)).await;
    stage.cluster.nodes[VICTIM].signal("-CONT")?;
    let again = load.now() + Duration::from_secs(5);
    let calls = load.done().await?;
    stage.judge_without(VICTIM, &calls);
    stage.judge_after("all, 5 s after it went on", again, &calls);
    stage.fired("pauses in which the node did not answer", f64::from(u8::from(stood_still)));
    stage.close(&calls).await
}
