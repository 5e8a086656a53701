//! What lies between nodes: which faults stand, and what becomes of a message on its way.
//!
//! A stream neither loses nor reorders bytes, so a lost packet is a late message or a lost connection; what is sent at the same
//! time on two streams may overtake.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::plan::FaultKind;

/// How far two nodes are from each other, one way, in microseconds.
const DISTANCE: std::ops::Range<u64> = 200..2_000;
/// After what time a lost packet is sent again.
const RESENT_AFTER: Duration = Duration::from_millis(200);
/// How late the second of two equal messages comes, at most: somebody may have kept it.
const KEPT: Duration = Duration::from_secs(5);

/// Waits until it holds. Who waits is enabled before the look, so that what rings in between is heard.
pub(crate) async fn until(bell: &Notify, mut holds: impl FnMut() -> bool) {
    loop {
        let mut rings = pin!(bell.notified());
        rings.as_mut().enable();
        if holds() {
            return;
        }
        rings.await;
    }
}

/// The network of one run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rings when something changes for those who wait.
    changed: Notify,
}

struct State {
    rng: StdRng,
    standing: Vec<Standing>,
    next_fault: u64,
    /// How often the connections of each node were reset.
    resets: BTreeMap<usize, u32>,
    /// Connections to or from each node that were made since.
    connected: BTreeMap<usize, u32>,
    /// Which incarnation of each node runs, of those that do.
    running: BTreeMap<usize, u32>,
    /// Nodes whose power went, so that not even their machine says that they are gone.
    dark: BTreeSet<usize>,
    /// Messages that met a fault, and the traces of the calls that they are of.
    met: u64,
    met_traces: BTreeSet<String>,
    /// Traces of calls of which a request came twice.
    repeated: BTreeSet<String>,
}

/// A fault that stands.
struct Standing {
    fault: u64,
    kind: FaultKind,
    /// Messages that it changed something for.
    met: u64,
}

/// Names a fault that stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Began(u64);

impl FaultKind {
    /// Whether nothing gets from one node to the other.
    fn blocks(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Cut { from: a, to: b } | Self::Flap { from: a, to: b, .. } => (*a, *b) == (from, to),
            Self::Isolate { node } | Self::Pause { node } => *node == from || *node == to,
            _ => false,
        }
    }
}

impl State {
    fn is_open(&self, from: usize, to: usize) -> bool {
        !self.standing.iter().any(|standing| standing.kind.blocks(from, to))
    }

    fn meets(&mut self, trace: Option<&str>) {
        self.met += 1;
        self.met_traces.extend(trace.map(ToOwned::to_owned));
    }

    /// How late a message comes that leaves now.
    fn takes(&mut self, to: usize, trace: Option<&str>) -> Duration {
        let mut takes = Duration::from_micros(self.rng.random_range(DISTANCE));
        let (mut resent_after, mut met) = (RESENT_AFTER, false);
        for standing in &mut self.standing {
            let late = match standing.kind {
                FaultKind::Slow { node, by } if node == to => by,
                FaultKind::Reorder { by } => by.mul_f64(self.rng.random_range(0.0..1.0)),
                FaultKind::Loss { percent } => {
                    let mut late = Duration::ZERO;
                    while self.rng.random_range(0..100) < percent {
                        late += resent_after;
                        resent_after *= 2;
                    }
                    late
                }
                _ => continue,
            };
            if !late.is_zero() {
                (takes, met, standing.met) = (takes + late, true, standing.met + 1);
            }
        }
        if met {
            self.meets(trace);
        }
        takes
    }

    fn resets(&self, from: usize, to: usize) -> (u32, u32) {
        let of = |node| self.resets.get(&node).copied().unwrap_or_default();
        (of(from), of(to))
    }
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        let state = State {
            // A stream of its own beside that of the world: "network".
            rng: StdRng::seed_from_u64(seed ^ 0x6e65_7477_6f72_6b00),
            standing: Vec::new(),
            next_fault: 0,
            resets: BTreeMap::new(),
            connected: BTreeMap::new(),
            running: BTreeMap::new(),
            dark: BTreeSet::new(),
            met: 0,
            met_traces: BTreeSet::new(),
            repeated: BTreeSet::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// A fault of the network begins.
    pub(crate) fn begin(&self, kind: FaultKind) -> Began {
        self.change(|state| {
            state.next_fault += 1;
            state.standing.push(Standing { fault: state.next_fault, kind, met: 0 });
            Began(state.next_fault)
        })
    }

    /// It ends. Tells whether it changed anything for anybody.
    pub(crate) fn end(&self, Began(fault): Began) -> bool {
        self.change(|state| {
            let at = state.standing.iter().position(|standing| standing.fault == fault);
            at.is_some_and(|at| state.standing.remove(at).met > 0)
        })
    }

    /// A node's connections are lost. Tells whether it had any.
    pub(crate) fn reset(&self, node: usize) -> bool {
        self.change(|state| {
            *state.resets.entry(node).or_default() += 1;
            state.connected.remove(&node).is_some()
        })
    }

    /// A node runs.
    pub(crate) fn starts(&self, node: usize, incarnation: u32) {
        self.change(|state| {
            state.running.insert(node, incarnation);
            state.dark.remove(&node);
        });
    }

    /// A node's process is gone, and with its power its machine.
    pub(crate) fn ends(&self, node: usize, power: bool) {
        self.change(|state| {
            state.running.remove(&node);
            if power {
                state.dark.insert(node);
            }
        });
    }

    pub(crate) fn runs(&self, node: usize, incarnation: u32) -> bool {
        self.0.state.lock().running.get(&node) == Some(&incarnation)
    }

    /// Whether a node is there to say that it knows a connection no more.
    pub(crate) fn says_no(&self, node: usize) -> bool {
        !self.0.state.lock().dark.contains(&node)
    }

    /// Whether a node can reach and be reached by who is not a node.
    pub(crate) fn is_reachable(&self, node: usize) -> bool {
        self.0.state.lock().is_open(node, node)
    }

    /// Waits until a node takes what comes to it from outside.
    pub(crate) async fn until_it_moves(&self, node: usize, trace: &str) {
        let mut waits = false;
        self.until(|state| {
            let stands = |standing: &&mut Standing| standing.kind == FaultKind::Pause { node };
            let paused = state.standing.iter_mut().find(stands);
            let moves = paused.is_none();
            if let Some(paused) = paused.filter(|_| !waits) {
                paused.met += 1;
                waits = true;
                state.meets(Some(trace));
            }
            moves
        })
        .await;
    }

    /// Messages that met a fault on their way.
    pub(crate) fn met(&self) -> u64 {
        self.0.state.lock().met
    }

    /// Whether a message of this trace has met a fault.
    pub(crate) fn has_met(&self, trace: &str) -> bool {
        self.0.state.lock().met_traces.contains(trace)
    }

    /// Whether a request of this trace came twice: what was said of the one is nothing that the other knows.
    pub(crate) fn has_repeated(&self, trace: &str) -> bool {
        self.0.state.lock().repeated.contains(trace)
    }

    /// A message of this trace meets one.
    pub(crate) fn meets(&self, trace: Option<&str>) {
        self.0.state.lock().meets(trace);
    }

    /// A connection is made. Returns the resets before it.
    pub(crate) fn connects(&self, from: usize, to: usize) -> (u32, u32) {
        let state = &mut *self.0.state.lock();
        for node in [from, to] {
            *state.connected.entry(node).or_default() += 1;
        }
        state.resets(from, to)
    }

    pub(crate) fn resets(&self, from: usize, to: usize) -> (u32, u32) {
        self.0.state.lock().resets(from, to)
    }

    /// Somebody's state has changed that others wait for.
    pub(crate) fn ring(&self) {
        self.0.changed.notify_waiters();
    }

    pub(crate) async fn until_rung(&self, holds: impl FnMut() -> bool) {
        until(&self.0.changed, holds).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.0.state.lock());
        self.ring();
        changed
    }

    async fn until(&self, mut holds: impl FnMut(&mut State) -> bool) {
        until(&self.0.changed, || holds(&mut self.0.state.lock())).await;
    }

    /// One message on its way. One that is lost is sent again a few times, later each time; on a way that is cut it waits.
    pub(crate) async fn pass(&self, from: usize, to: usize, trace: Option<&str>) {
        let takes = self.0.state.lock().takes(to, trace);
        sleep(takes).await;
        let mut waits = false;
        self.until(|state| {
            let blocks = |standing: &&mut Standing| standing.kind.blocks(from, to);
            let blocked = state.standing.iter_mut().find(blocks);
            let open = blocked.is_none();
            if let Some(blocked) = blocked.filter(|_| !waits) {
                blocked.met += 1;
                waits = true;
                state.meets(trace);
            }
            open
        })
        .await;
    }

    /// Whether a message comes a second time, and how much later.
    pub(crate) fn repeats(&self, trace: Option<&str>) -> Option<Duration> {
        let state = &mut *self.0.state.lock();
        let mut repeats = false;
        for standing in &mut state.standing {
            if let FaultKind::Duplicates { percent } = standing.kind
                && state.rng.random_range(0..100) < percent
            {
                standing.met += 1;
                repeats = true;
            }
        }
        repeats.then(|| {
            state.meets(trace);
            state.repeated.extend(trace.map(ToOwned::to_owned));
            // Most come soon after the first, and some much later.
            let kept = state.rng.random_range(0..4) == 0;
            if kept { KEPT.mul_f64(state.rng.random_range(0.0..1.0)) } else { Duration::ZERO }
        })
    }
}
