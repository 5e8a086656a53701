//! Packets are lost, each way, on every link between nodes. Beside it the bare wire on one connection, under the same loss.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use homing::NodeId;
use homing::tls::Credentials;
use homing_benches::{Bare, BareClient};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::figures::Figures;
use crate::load::{Done, Entry, Offer};
use crate::report::{CaseReport, Must};
use crate::stage::{Arena, Stage, VALUE, as_it_is, is_keyed_write, is_read};

/// The classes whose latencies are drawn beside each other.
pub(crate) const DRAWN: [&str; 3] = ["reads, one hop", "writes", "bare wire, one connection"];

/// For so long all is well, so that connections stand, as that of the bare wire does.
const WARM_UP: Duration = Duration::from_secs(3);

/// What bare calls wait for their echo at most.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(arena: &Arena, case: &str, wire: &'static str, percent: u32) -> Result<CaseReport> {
    let mut stage = Stage::open(arena, case, wire, as_it_is).await?;
    let much = percent >= 10;
    let lasts = Duration::from_secs(if much { arena.or_quick(60, 15) } else { arena.or_quick(20, 6) });
    let (bare, serving) = connect(arena, &stage, wire).await?;
    let offer = stage.offer(WARM_UP + lasts);
    let rate = offer.rate;
    let load = stage.load(offer)?;
    sleep(WARM_UP).await;
    let before = stage.packets()?;
    arena.hosts.lose(percent * 10)?;
    let from = load.now();
    let beside = arena.bare[0].spawn(bare_load(bare, rate, lasts));
    let mut calls = load.done().await?;
    let bare = beside.await?;
    serving.abort();
    let packets = stage.packets()? - before;
    let since = |call: &&Done| call.due >= from;
    let reads = stage.class(DRAWN[0], Figures::of(calls.iter().filter(since).filter(is_read)));
    let writes = stage.class(DRAWN[1], Figures::of(calls.iter().filter(since).filter(is_keyed_write)));
    let bare = stage.class(DRAWN[2], bare);
    let cold = cold(&mut stage).await?;
    let all = stage.class("all calls", Figures::of(calls.iter().filter(since)));
    let cold_figures = stage.class("cold: the first of a node that just started", Figures::of(&cold));
    calls.extend(cold);
    for (what, figures) in [("reads", &reads), ("writes", &writes), ("cold", &cold_figures)] {
        if percent < 30 {
            stage.all_answered(what, figures);
        } else {
            // Ten seconds are not long there, and one of some hundred calls is more than a thousandth.
            let what = format!("{what}: answered, in %");
            stage.check_speed(what, figures.success(), Must::AtLeast(99.9));
        }
    }
    if percent == 10 {
        stage.check_speed("the longest of all calls, in ms", all.longest_ms, Must::AtMost(5_000.0));
        stage.check_speed("the longest cold call, in ms", cold_figures.longest_ms, Must::AtMost(5_000.0));
        let most = if wire == "quic" { 1.1 } else { 0.5 };
        stage.check_speed("p99 of reads ÷ of the bare wire", reads.p99_ms / bare.p99_ms, Must::AtMost(most));
        let attempts = (reads.attempts * reads.answered as f64 + writes.attempts * writes.answered as f64)
            / (reads.answered + writes.answered).max(1) as f64;
        stage.check_speed("attempts a call", attempts, Must::AtMost(1.3));
    }
    if percent == 30 && wire == "quic" {
        stage.check_speed("p99 of reads, in ms", reads.p99_ms, Must::AtMost(150.0));
    }
    if percent > 0 {
        stage.fired("packets lost", packets.lost as f64);
        let share = 100.0 * packets.lost as f64 / (packets.lost + packets.passed) as f64;
        // Four standard deviations of so many draws.
        let p = f64::from(percent) / 100.0;
        let far = 400.0 * (p * (1.0 - p) / (packets.lost + packets.passed).max(1) as f64).sqrt();
        let (least, most) = (f64::from(percent) - far, f64::from(percent) + far);
        stage.check("packets lost, in %", share, Must::AtLeast(least));
        stage.check("packets lost, in %", share, Must::AtMost(most));
    }
    Ok(stage.close(&calls).await)
}

/// The first calls of a node that just started: it has no connection to anybody yet, and must make them under the same loss.
async fn cold(stage: &mut Stage<'_>) -> Result<Vec<Done>> {
    const NODE: usize = 4;
    stage.cluster.kill(NODE).await?;
    stage.cluster.nodes[NODE].start()?;
    stage.cluster.nodes[NODE].lives().await?;
    let offer = Offer {
        rate: 20.0,
        entry: Entry::Only(NODE),
        spaces: stage.spaces.those(|owners| !owners.contain(NODE)),
        unkeyed: 0,
        ..stage.offer(Duration::from_secs(3))
    };
    stage.load(offer)?.done().await
}

/// A connection between the two hosts of the bare wire, made before anything is lost. The cluster's own certificates are its proof.
async fn connect(arena: &Arena, stage: &Stage<'_>, wire: &str) -> Result<(BareClient, AbortHandle)> {
    let wire = if wire == "grpc" { Bare::Grpc } else { Bare::Quic };
    let (client, server) = (credentials(stage, "n1")?, credentials(stage, "n2")?);
    let node = server.node().clone();
    let at = SocketAddr::from((arena.hosts.bare[1].address, 0));
    let (bound, serving) = arena.bare[1]
        .spawn(async move { wire.serve(&server, at).await })
        .await?
        .map_err(|e| anyhow!("{e}"))?;
    let serving = arena.bare[1].spawn(serving).abort_handle();
    let connecting = arena.bare[0].spawn(async move { wire.connect(&client, &node, bound).await });
    let client = connecting.await?.map_err(|error| anyhow!("the bare wire: {error}"))?;
    Ok((client, serving))
}

fn credentials(stage: &Stage<'_>, id: &str) -> Result<Credentials> {
    let read = |name: String| {
        let path = stage.cluster.folder.join(name);
        std::fs::read(&path).with_context(|| format!("can't read {}", path.display()))
    };
    let now = homing_benches::since_epoch();
    let (cluster, id) = ("homing.local".parse()?, NodeId::new(id)?);
    let (ca, certificate, key) =
        (read("ca.pem".into())?, read(format!("{id}.pem"))?, read(format!("{id}.key"))?);
    Ok(Credentials::from_pem(cluster, id, &ca, &certificate, &key, now)?)
}

async fn bare_load(client: BareClient, rate: f64, lasts: Duration) -> Figures {
    let began = Instant::now();
    let bytes = Bytes::from(vec![b'v'; VALUE]);
    let (mut calls, client) = (JoinSet::new(), Arc::new(client));
    for i in 0.. {
        let due = Duration::from_secs_f64(f64::from(i) / rate);
        if due >= lasts {
            break;
        }
        sleep_until(began + due).await;
        let (client, bytes) = (Arc::clone(&client), bytes.clone());
        calls.spawn(async move {
            let came = timeout(PATIENCE, client.echo(bytes)).await.is_ok_and(|echo| echo.is_ok());
            came.then(|| began.elapsed().saturating_sub(due))
        });
    }
    let ended = calls.join_all().await;
    let took: Vec<_> = ended.iter().flatten().copied().collect();
    let lost = ended.len() - took.len();
    Figures::of_times(took, lost)
}
