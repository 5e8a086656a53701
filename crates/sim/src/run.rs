use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use homing_routing_table::Snapshot;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::Load;
use crate::meters::Log;
use crate::oracle::Oracle;
use crate::world::{World, node_id};
use crate::{Fault, FaultKind, Plan, Report, Story};

/// How often all that nodes know is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// After the last fault, until all is held against what was acknowledged.
const CALM: Duration = Duration::from_secs(5);

/// All of what was not synced survives: a process dies, and not its machine.
const KEEPS_ALL: u64 = 4;

/// Runs one plan to its end, on this thread and under virtual time.
///
/// # Panics
/// If the system has no resources for a runtime.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    on_this_thread(plan, false)
}

/// The same with a story that tells what routers log, too.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn run_in_full(plan: &Plan) -> Report {
    on_this_thread(plan, true)
}

fn on_this_thread(plan: &Plan, in_full: bool) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    match runtime {
        Ok(runtime) => runtime.block_on(async {
            let story = Story::begin();
            let oracle = Oracle::new(story.clone());
            let log = Log { story: story.clone(), oracle: oracle.clone(), in_full };
            let _hears = tracing::dispatcher::set_default(&tracing::Dispatch::new(log));
            play(plan.clone(), story, oracle).await
        }),
        Err(error) => panic!("no runtime: {error}"),
    }
}

async fn play(plan: Plan, story: Story, oracle: Oracle) -> Report {
    let world = World::new(plan.clone(), story.clone(), oracle.clone());
    let load = Load::new(Arc::clone(&world));
    let beating = tokio::spawn(Arc::clone(&world).heartbeats());
    let mut callers = JoinSet::new();
    for number in 0..plan.calls as u64 {
        callers.spawn(Arc::clone(&load).caller(number));
    }
    let began = Instant::now();
    let mut faults = JoinSet::new();
    let mut fired: BTreeMap<&'static str, u64> = BTreeMap::new();
    for fault in plan.faults.clone() {
        let (load, world, name) = (Arc::clone(&load), Arc::clone(&world), fault.kind.name());
        faults.spawn(async move { happen(load, world, began, fault).await.then_some(name) });
    }
    let watching = tokio::spawn(watch(Arc::clone(&world)));
    callers.join_all().await;
    for name in faults.join_all().await.into_iter().flatten() {
        *fired.entry(name).or_default() += 1;
    }
    world.restart();
    story.tell("all is mended");
    let calls = load.calls();
    sleep(CALM).await;
    load.learn().await;
    world.tell_all();
    watching.abort();
    load.audit().await;
    load.histories();
    world.audit_budgets();
    beating.abort();
    Report {
        seed: plan.seed,
        violations: oracle.violations(),
        fired,
        calls: calls.made,
        answered: calls.answered,
        attempts: calls.attempts,
        troubled: calls.troubled,
        met: world.network.met(),
        hops: oracle.hops(),
        acknowledged: load.ledger.all().iter().filter(|written| written.acknowledged.is_some()).count()
            as u64,
        story,
    }
}

async fn watch(world: Arc<World>) {
    let mut seen: BTreeMap<usize, Arc<Snapshot>> = BTreeMap::new();
    loop {
        for (node, life, table) in world.tables() {
            if seen.get(&node).is_none_or(|before| !Arc::ptr_eq(before, &table)) {
                world.oracle.knows(node, life, world.plan.spaces, &table);
                seen.insert(node, table);
            }
        }
        sleep(LOOK).await;
    }
}

/// Lets a fault begin, and end. Tells whether it was one: there may be nobody to promote, and nothing to change.
async fn happen(load: Arc<Load>, world: Arc<World>, began: Instant, fault: Fault) -> bool {
    sleep_until(began + fault.at).await;
    world.story.tell(&fault);
    let network = &world.network;
    let drawn = || StdRng::seed_from_u64(world.plan.seed ^ fault.at.as_nanos() as u64);
    match fault.kind {
        FaultKind::Crash { node, keep } => {
            world.crash(node, keep, false);
            sleep(fault.lasts).await;
            world.start(node);
            world.story.tell(format_args!("{} is back", node_id(node)));
        }
        FaultKind::Restore { node } => {
            world.crash(node, KEEPS_ALL, true);
            sleep(fault.lasts).await;
            world.start(node);
            world.story.tell(format_args!("{} is back with its first table", node_id(node)));
        }
        FaultKind::Flap { from, to, every } => {
            let until = Instant::now() + fault.lasts;
            while Instant::now() < until {
                network.cut(from, to);
                sleep(every).await;
                network.mend(from, to);
                sleep(every).await;
            }
        }
        FaultKind::Cut { from, to } => {
            network.cut(from, to);
            sleep(fault.lasts).await;
            network.mend(from, to);
        }
        FaultKind::Isolate { node } => {
            network.isolate(node);
            sleep(fault.lasts).await;
            network.rejoin(node);
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
        FaultKind::Authority => {
            world.authority.hush();
            sleep(fault.lasts).await;
            world.authority.speak();
        }
        FaultKind::Clock { node, forward, by } => world.set_clock(node, forward, by),
        FaultKind::Promote { space, told } => {
            let promoted = world.promote(space, told, drawn()).await;
            load.owners_hold(space);
            return promoted;
        }
        FaultKind::InSync { space, told } => {
            let changed = world.change_in_sync(space, told, drawn());
            load.owners_hold(space);
            return changed;
        }
    }
    true
}
