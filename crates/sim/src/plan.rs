//! What a seed draws, before anything runs: so that a run can be repeated with fewer of its faults.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use homing_failover::BudgetLimits;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The fewest and the most nodes.
const NODES: RangeInclusive<usize> = 3..=15;
pub(crate) const SPACES: RangeInclusive<usize> = 1..=12;
const FAULTS: RangeInclusive<usize> = 1..=24;

/// How many calls. One seed in thirty-two is busy, with few entries: so that their routers have seen enough to hedge.
const CALLS: RangeInclusive<usize> = 20..=100;
const BUSY_CALLS: RangeInclusive<usize> = 200..=300;
const BUSY_ENTRIES: usize = 1;

/// One run: the same plan is the same run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else that is drawn while it runs.
    pub seed: u64,
    /// How many nodes.
    pub(crate) nodes: usize,
    /// How many of them calls enter at.
    pub(crate) entry_nodes: usize,
    /// How many zones they stand in.
    pub(crate) zones: usize,
    /// Replicas of each space beside its primary.
    pub(crate) replicas: usize,
    /// How many spaces.
    pub(crate) spaces: usize,
    /// How many calls.
    pub(crate) calls: usize,
    /// When the last call has begun.
    pub(crate) calls_begin_within: Duration,
    /// How often each space has changed its primary before the run begins.
    pub(crate) past_changes: u32,
    /// What those nodes begin with that don't know the newest owners.
    pub(crate) beliefs: Beliefs,
    /// How many nodes these are, in per cent.
    pub(crate) stale: u32,
    /// Whether nodes hold their spaces by grants that end, as under an authority that heartbeats; else fencing is by epoch
    /// alone.
    pub(crate) grants: bool,
    /// What each router may spend on retries and hedges.
    pub(crate) budget: BudgetLimits,
    /// Requests under way at a node at a time.
    pub(crate) max_in_flight: usize,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
}

/// What a node begins with that doesn't know the newest owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beliefs {
    /// What it knew at some time, or nothing.
    Old,
    /// Each owner believes in the next one, which knows one epoch more: a request is sent on and on, and round in circles.
    Ladder,
    /// Owners that never existed; in one and the same epoch each node believes in others.
    Garbage,
    /// Nothing.
    Nothing,
}

/// Something that goes wrong, from some time on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
    pub(crate) kind: FaultKind,
}

/// What can go wrong. Nodes and spaces are numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FaultKind {
    /// A node dies and comes back. Of what its disk had not synced, each sector survives with a chance of `keep` in 4: with all of
    /// them only its process died, else its power went.
    Crash { node: usize, keep: u64 },
    /// A node dies and comes back with the table that it began with.
    Restore { node: usize },
    /// Nothing gets from one node to another, and nobody is told.
    Cut { from: usize, to: usize },
    /// The same for `every` time, and not for as long, and again.
    Flap { from: usize, to: usize, every: Duration },
    /// A node can't be reached, nor reach anybody.
    Isolate { node: usize },
    /// All that a node sends or gets waits, calls that enter there among it.
    Pause { node: usize },
    /// Each message is lost with this chance in per cent, and sent again.
    Loss { percent: u32 },
    /// Each message comes up to so much later than it would, so that they overtake each other.
    Reorder { by: Duration },
    /// All that a node gets comes late.
    Slow { node: usize, by: Duration },
    /// Requests that may arrive twice do so, with this chance in per cent.
    Duplicates { percent: u32 },
    /// A node's connections are lost, and what was under way on them.
    Reset { node: usize },
    /// The authority can't be asked.
    Authority,
    /// A node's clock is set.
    Clock { node: usize, forward: bool, by: Duration },
    /// An in-sync replica becomes the primary of a space. So many nodes are told, in per cent.
    Promote { space: usize, told: u32 },
    /// A replica leaves the in-sync set, or one that left and holds all comes back. The primary is always told.
    InSync { space: usize, told: u32 },
}

impl FaultKind {
    /// All kinds by their names.
    pub(crate) const NAMES: [&str; 15] = [
        "crash",
        "restore",
        "cut",
        "flap",
        "isolate",
        "pause",
        "loss",
        "reorder",
        "slow",
        "duplicates",
        "reset",
        "authority",
        "clock",
        "promote",
        "in-sync",
    ];

    /// Its name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Restore { .. } => "restore",
            Self::Cut { .. } => "cut",
            Self::Flap { .. } => "flap",
            Self::Isolate { .. } => "isolate",
            Self::Pause { .. } => "pause",
            Self::Loss { .. } => "loss",
            Self::Reorder { .. } => "reorder",
            Self::Slow { .. } => "slow",
            Self::Duplicates { .. } => "duplicates",
            Self::Reset { .. } => "reset",
            Self::Authority => "authority",
            Self::Clock { .. } => "clock",
            Self::Promote { .. } => "promote",
            Self::InSync { .. } => "in-sync",
        }
    }

    fn draw(rng: &mut StdRng, nodes: usize, spaces: usize) -> Self {
        let node = rng.random_range(0..nodes);
        let other = (node + rng.random_range(1..nodes)) % nodes;
        let space = rng.random_range(0..spaces);
        match Self::NAMES[rng.random_range(0..Self::NAMES.len())] {
            "crash" => Self::Crash { node, keep: rng.random_range(0..=4) },
            "restore" => Self::Restore { node },
            "cut" => Self::Cut { from: node, to: other },
            "flap" => {
                Self::Flap { from: node, to: other, every: Duration::from_millis(rng.random_range(5..=400)) }
            }
            "isolate" => Self::Isolate { node },
            "pause" => Self::Pause { node },
            "loss" => Self::Loss { percent: rng.random_range(1..=30) },
            "reorder" => Self::Reorder { by: Duration::from_millis(rng.random_range(5..=50)) },
            "slow" => Self::Slow { node, by: Duration::from_millis(rng.random_range(10..=500)) },
            "duplicates" => Self::Duplicates { percent: rng.random_range(5..=50) },
            "reset" => Self::Reset { node },
            "authority" => Self::Authority,
            "clock" => {
                let by = Duration::from_secs(1 << rng.random_range(0..=18));
                Self::Clock { node, forward: rng.random(), by }
            }
            "promote" => Self::Promote { space, told: rng.random_range(0..=100) },
            "in-sync" => Self::InSync { space, told: rng.random_range(0..=100) },
            name => unreachable!("{name}"),
        }
    }
}

impl Plan {
    /// What this seed draws.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = rng.random_range(NODES);
        let spaces = rng.random_range(SPACES);
        let time = Duration::from_millis(rng.random_range(2_000..=6_000));
        let mut faults: Vec<_> = (0..rng.random_range(FAULTS))
            .map(|_| Fault {
                at: time.mul_f64(rng.random_range(0.0..0.9)),
                lasts: Duration::from_millis(rng.random_range(50..=5_000)),
                kind: FaultKind::draw(&mut rng, nodes, spaces),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let beliefs = [Beliefs::Old, Beliefs::Ladder, Beliefs::Garbage, Beliefs::Nothing];
        let beliefs = beliefs[rng.random_range(0..beliefs.len())];
        let ladder = beliefs == Beliefs::Ladder;
        let busy = rng.random_range(0..32) == 0;
        Self {
            seed,
            nodes,
            entry_nodes: match rng.random() {
                _ if busy => BUSY_ENTRIES,
                true => nodes,
                false => rng.random_range(1..=nodes),
            },
            zones: rng.random_range(1..=3),
            // A ladder has rungs.
            replicas: rng.random_range(if ladder { 3 } else { 0 }..=4),
            spaces,
            calls: rng.random_range(if busy { BUSY_CALLS } else { CALLS }),
            calls_begin_within: time,
            past_changes: rng.random_range(if ladder { 4 } else { 0 }..=12),
            beliefs,
            stale: rng.random_range(if ladder { 80 } else { 0 }..=100),
            grants: rng.random(),
            budget: BudgetLimits {
                percent: rng.random_range(0..=40),
                per_second: rng.random_range(1..=10),
                burst: rng.random_range(1..=20),
                hedge_percent: rng.random_range(0..=10),
            },
            max_in_flight: if rng.random_range(0..4) == 0 { rng.random_range(1..=6) } else { 10_000 },
            faults,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, zones, spaces, replicas, calls, faults, .. } = self;
        write!(
            f,
            "seed {seed}: {nodes} nodes in {zones} zones, {spaces} spaces with {replicas} replicas, {calls} calls, {} faults",
            faults.len()
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, kind } = self;
        write!(f, "at {at:.0?} for {lasts:.0?}: {kind:?}")
    }
}
