//! What some own can't be served: all spaces of one node, or one space of many.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::cluster::{NOBODY, later};
use crate::figures::Figures;
use crate::kv::Asked;
use crate::load::{Done, Entry, Offer};
use crate::report::{CaseReport, Must};
use crate::stage::{Arena, Stage};

/// A node is there, and its service hangs up on each connection. All others can still read what it has copies of, and write what
/// it has none of.
pub(crate) async fn failing_owner(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    const VICTIM: usize = 1;
    let runtime = arena.hosts.nodes[VICTIM].runtime()?;
    let (counted, refused) = std::sync::mpsc::channel();
    let service = SocketAddr::from(([127, 0, 0, 1], 7_300));
    runtime.spawn(async move {
        let listener = TcpListener::bind(service).await.expect("a new host has free ports");
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
            let _ = counted.send(());
        }
    });
    let mut stage = Stage::open(arena, case, wire, crate::stage::as_it_is).await?;
    // It has written its share while it was well; now its service is another.
    stage.cluster.kill(VICTIM).await?;
    stage.cluster.nodes[VICTIM].edit(|config| {
        config.insert("service".to_owned(), service.to_string().into());
        config.insert("service_dedupes".to_owned(), true.into());
    })?;
    stage.cluster.nodes[VICTIM].start()?;
    stage.cluster.nodes[VICTIM].reaches_all().await?;
    let offer = Offer {
        entry: Entry::AllBut(VICTIM),
        deadline: Duration::from_secs(3),
        ..stage.offer(Duration::from_secs(arena.or_quick(20, 6)))
    };
    let calls = stage.load(offer)?.done().await?;
    let reads = stage.judge_without(VICTIM, &calls);
    stage.check_speed("attempts a read", reads.attempts, Must::AtMost(1.2));
    stage.fired("connections that its service closed", refused.try_iter().count() as f64);
    drop(runtime);
    stage.cluster.kill(VICTIM).await?;
    stage.cluster.nodes[VICTIM].edit(|config| drop(config.insert("service".to_owned(), "kv".into())))?;
    stage.cluster.nodes[VICTIM].start()?;
    stage.cluster.nodes[VICTIM].reaches_all().await?;
    Ok(stage.close(&calls).await)
}

/// One space is given to a node that isn't there: each call for it ends at its deadline. Its neighbours must not notice.
pub(crate) async fn failing_space(arena: &Arena, case: &str, wire: &'static str) -> Result<CaseReport> {
    const SPACE: usize = 0;
    let with_nobody = |_: usize, config: &mut toml::Table| {
        let node = [("id", NOBODY), ("address", "10.77.0.99:7400"), ("transport", wire)];
        let mut node: toml::Table =
            node.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect();
        node.insert("weight".to_owned(), 0.into());
        config["nodes"].as_array_mut().expect("a list of nodes").push(node.into());
    };
    let mut stage = Stage::open(arena, case, wire, with_nobody).await?;
    let phase = Duration::from_secs(arena.or_quick(15, 5));
    let offer = Offer { deadline: Duration::from_secs(1), entry: Entry::All, ..stage.offer(2 * phase) };
    let load = stage.load(offer)?;
    sleep(phase).await;
    let mended = stage.cluster.table(&stage.spaces.names[SPACE]).await?;
    let mut failing = later(&mended, 1)?;
    failing["primary"] = NOBODY.into();
    failing["replicas"] = serde_json::json!([]);
    stage.cluster.apply(&[failing], None).await?;
    let from = load.now();
    let calls = load.done().await?;
    stage.cluster.apply(&[later(&mended, 2)?], None).await?;
    let others = |since: Duration, until: Duration| {
        let among = |call: &&Done| call.space != SPACE && call.due >= since && call.due < until;
        Figures::of(calls.iter().filter(among).filter(|call| call.asked != Asked::UnkeyedWrite))
    };
    let before = stage.class("the others, before", others(Duration::from_secs(1), from));
    let during = stage.class("the others", others(from, Duration::MAX));
    let failed = calls.iter().filter(|call| call.space == SPACE && call.due >= from + Duration::from_secs(1));
    let failed = stage.class("the one that fails", Figures::of(failed));
    ensure!(failed.calls > 0, "nobody asked for the space that fails");
    stage.fired("its calls that failed", (failed.calls - failed.answered) as f64);
    stage.check("the others: failures", (during.calls - during.answered) as f64, Must::AtMost(0.0));
    stage.note(format!("p99 of the others ÷ before: {:.2}", during.p99_ms / before.p99_ms));
    Ok(stage.close(&calls).await)
}
