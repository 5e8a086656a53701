//! Plays a plan to its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use homing_routing_table::Snapshot;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::load::Load;
use crate::meters::Log;
use crate::names::node_id;
use crate::oracle::Oracle;
use crate::plan::FaultKind;
use crate::world::{KEEPS_ALL, World};
use crate::{Counts, Fault, Plan, Report, Story};

/// How often all that nodes know is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// After the last fault, until all is held against what was acknowledged.
const SETTLES: Duration = Duration::from_secs(5);

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
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    note_panics();
    let (story, oracle) = runtime.block_on(async {
        let story = Story::begin();
        (story.clone(), Oracle::new(story))
    });
    let played = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            let log = Log { story: story.clone(), oracle: oracle.clone(), in_full };
            let _hears = tracing::dispatcher::set_default(&tracing::Dispatch::new(log));
            play(plan.clone(), story.clone(), oracle.clone()).await
        })
    }));
    for panicked in PANICS.take() {
        oracle.violated("panic", panicked);
    }
    Report { violations: oracle.violations(), counts: played.unwrap_or_default(), story }
}

thread_local! {
    /// What has panicked on this thread: tasks do so unheard.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// From now on panics are noted, beside what is done with them else.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panicked| {
            PANICS.with_borrow_mut(|panics| panics.push(panicked.to_string()));
            before(panicked);
        }));
    });
}

async fn play(plan: Plan, story: Story, oracle: Oracle) -> Counts {
    let world = World::new(plan.clone(), story.clone(), oracle);
    let load = Load::new(Arc::clone(&world));
    let beating = tokio::spawn(Arc::clone(&world).heartbeats());
    let mut callers = JoinSet::new();
    for number in 0..plan.calls as u64 {
        callers.spawn(Arc::clone(&load).caller(number));
    }
    let began = Instant::now();
    let mut faults = JoinSet::new();
    for fault in plan.faults {
        faults.spawn(happen(Arc::clone(&load), began, fault));
    }
    let watching = tokio::spawn(watch(Arc::clone(&world)));
    callers.join_all().await;
    let fired = faults.join_all().await;
    world.restart();
    story.tell("all is mended");
    let mut counts = world.counts.lock().clone();
    sleep(SETTLES).await;
    load.learn().await;
    world.tell_all();
    load.audit().await;
    load.histories();
    watching.abort();
    world.audit_processes();
    beating.abort();
    for name in fired.into_iter().flatten() {
        *counts.fired.entry(name).or_default() += 1;
    }
    counts.met = world.network.met();
    counts.done = std::mem::take(&mut world.counts.lock().done);
    counts
}

async fn watch(world: Arc<World>) {
    let mut seen: BTreeMap<usize, Arc<Snapshot>> = BTreeMap::new();
    loop {
        for (node, incarnation, table) in world.tables() {
            if seen.get(&node).is_none_or(|before| !Arc::ptr_eq(before, &table)) {
                world.oracle.knows(node, incarnation, world.plan.spaces, &table);
                seen.insert(node, table);
            }
        }
        sleep(LOOK).await;
    }
}

/// Lets a fault begin, and end. Gives back its name if it changed anything: there may be nobody to promote, and nothing to lose.
async fn happen(load: Arc<Load>, began: Instant, fault: Fault) -> Option<&'static str> {
    let world = &load.world;
    sleep_until(began + fault.at).await;
    world.story.tell(&fault);
    let (network, authority) = (&world.network, &world.authority);
    let drawn = || StdRng::seed_from_u64(world.plan.seed ^ fault.at.as_nanos() as u64);
    let changed = match fault.kind {
        FaultKind::Crash { node, keep } => crash(world, node, keep, false, fault.lasts).await,
        FaultKind::Restore { node } => crash(world, node, KEEPS_ALL, true, fault.lasts).await,
        FaultKind::Flap { every, .. } => {
            let until = Instant::now() + fault.lasts;
            let mut changed = false;
            while Instant::now() < until {
                let cut = network.begin(fault.kind);
                sleep(every).await;
                changed |= network.end(cut);
                sleep(every).await;
            }
            changed
        }
        FaultKind::Cut { .. }
        | FaultKind::Isolate { .. }
        | FaultKind::Pause { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Reorder { .. }
        | FaultKind::Slow { .. }
        | FaultKind::Duplicates { .. } => {
            let begun = network.begin(fault.kind);
            sleep(fault.lasts).await;
            network.end(begun)
        }
        FaultKind::Reset { node } => network.reset(node),
        FaultKind::Authority => {
            authority.hush();
            sleep(fault.lasts).await;
            authority.speak();
            true
        }
        FaultKind::Clock { node, forward, by } => {
            world.set_clock(node, forward, by);
            world.entry(node).is_some()
        }
        FaultKind::Promote { space, told } => {
            let promoted = world.promote(space, told, drawn()).await;
            load.owners_hold(space);
            promoted
        }
        FaultKind::InSync { space, told } => {
            let changed = world.change_in_sync(space, told, drawn());
            load.owners_hold(space);
            changed
        }
    };
    changed.then(|| fault.kind.name())
}

async fn crash(world: &World, node: usize, keep: u64, restored: bool, lasts: Duration) -> bool {
    // Whoever let it die lets it live again.
    let died = world.crash(node, keep, restored);
    if died {
        sleep(lasts).await;
        world.start(node);
        world.story.tell(format_args!("{} is back", node_id(node)));
    }
    died
}
