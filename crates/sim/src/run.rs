use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::Load;
use crate::oracle::Oracle;
use crate::world::{World, node_id};
use crate::{Fault, FaultKind, Plan, Report, Story};

/// How often all that nodes know is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// After the last fault, until all is held against what was acknowledged.
const CALM: Duration = Duration::from_secs(5);

/// Runs one plan to its end, on this thread and under virtual time.
///
/// # Panics
/// If the system has no resources for a runtime.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(play(plan.clone())),
        Err(error) => panic!("no runtime: {error}"),
    }
}

async fn play(plan: Plan) -> Report {
    let story = Story::begin();
    let world = World::new(plan.clone(), story.clone());
    let load = Load::new(Arc::clone(&world));
    let mut callers = JoinSet::new();
    for number in 0..plan.calls as u64 {
        callers.spawn(Arc::clone(&load).caller(number));
    }
    let began = Instant::now();
    let mut faults = JoinSet::new();
    let mut fired: BTreeMap<&'static str, u64> = BTreeMap::new();
    for fault in plan.faults.clone() {
        *fired.entry(fault.kind.name()).or_default() += 1;
        faults.spawn(happen(Arc::clone(&world), began, fault));
    }
    let watching = tokio::spawn(watch(Arc::clone(&world)));
    callers.join_all().await;
    faults.join_all().await;
    world.restart();
    story.tell("all is mended");
    sleep(CALM).await;
    load.learn().await;
    world.tell_all();
    watching.abort();
    load.audit().await;
    let calls = load.calls();
    let oracle: &Oracle = &world.oracle;
    Report {
        seed: plan.seed,
        violations: oracle.violations(),
        fired,
        calls: calls.made,
        answered: calls.answered,
        attempts: calls.attempts,
        met: world.network.met(),
        hops: oracle.hops(),
        acknowledged: load.ledger.all().iter().filter(|written| written.acknowledged.is_some()).count()
            as u64,
        story,
    }
}

async fn watch(world: Arc<World>) {
    loop {
        for (node, space, epoch) in world.epochs() {
            world.oracle.knows(node, space, epoch);
        }
        sleep(LOOK).await;
    }
}

async fn happen(world: Arc<World>, began: Instant, fault: Fault) {
    sleep_until(began + fault.at).await;
    world.story.tell(&fault);
    let network = &world.network;
    let others = |node: usize| (0..world.plan.nodes).filter(move |other| *other != node);
    match fault.kind {
        FaultKind::Crash { node, keep } => {
            world.crash(node, keep);
            sleep(fault.lasts).await;
            world.start(node);
            world.story.tell(format_args!("{} is back", node_id(node)));
        }
        FaultKind::Cut { from, to } => {
            network.cut(from, to);
            sleep(fault.lasts).await;
            network.mend(from, to);
        }
        FaultKind::Isolate { node } => {
            others(node).for_each(|other| {
                network.cut(node, other);
                network.cut(other, node);
            });
            sleep(fault.lasts).await;
            others(node).for_each(|other| {
                network.mend(node, other);
                network.mend(other, node);
            });
        }
        FaultKind::Pause { node } => {
            network.pause(node);
            sleep(fault.lasts).await;
            network.resume(node);
        }
        FaultKind::Loss { percent } => {
            network.lose(percent);
            sleep(fault.lasts).await;
            network.lose(0);
        }
        FaultKind::Slow { node, by } => {
            network.slow(node, Some(by));
            sleep(fault.lasts).await;
            network.slow(node, None);
        }
        FaultKind::Duplicates { percent } => {
            network.duplicate(percent);
            sleep(fault.lasts).await;
            network.duplicate(0);
        }
        FaultKind::Reset { node } => network.reset(node),
        FaultKind::Promote { space, told } => {
            let mut rng = StdRng::seed_from_u64(world.plan.seed ^ fault.at.as_nanos() as u64);
            world.promote(space, told, &mut rng);
        }
    }
}
