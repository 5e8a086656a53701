//! What a seed draws, before anything runs: so that a run can be repeated with fewer of its faults.

use std::fmt;
use std::time::Duration;

use homing_failover::BudgetLimits;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The bounds of what a seed draws.
#[derive(Debug, Clone)]
pub struct Size {
    /// The most nodes; the fewest are 3.
    pub nodes: usize,
    /// The most spaces.
    pub spaces: usize,
    /// The most calls.
    pub calls: usize,
    /// The most faults.
    pub faults: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { nodes: 15, spaces: 12, calls: 120, faults: 24 }
    }
}

/// One run: the same plan is the same run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else that is drawn while it runs.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How many of them calls enter at.
    pub entries: usize,
    /// How many zones they stand in.
    pub zones: usize,
    /// Replicas of each space beside its primary.
    pub replicas: usize,
    /// How many spaces.
    pub spaces: usize,
    /// How many calls.
    pub calls: usize,
    /// For how long calls begin.
    pub time: Duration,
    /// How often each space has changed its primary before the run begins.
    pub history: u32,
    /// What those nodes begin with that don't know the newest owners.
    pub tables: Tables,
    /// How many nodes these are, in per cent.
    pub stale: u32,
    /// Whether nodes hold their spaces by grants that end, as under an authority that heartbeats; else fencing is by epoch
    /// alone.
    pub grants: bool,
    /// What each router may spend on retries and hedges.
    pub budget: BudgetLimits,
    /// Requests under way at a node at a time.
    pub in_flight: usize,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
}

/// What a node begins with that doesn't know the newest owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// What it knew at some time, or nothing.
    Old,
    /// Each owner believes in the next one, which knows one epoch more: a request is sent on and on, and round in circles.
    Ladder,
    /// Owners that there never were, with the same epoch another one at each node.
    Garbage,
    /// Nothing.
    Nothing,
}

/// Something that goes wrong, from some time on.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub kind: FaultKind,
}

/// What can go wrong. Nodes are numbers from 0.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// A node dies and comes back. Of what its disk had not synced, each sector survives with a chance of `keep` in 4.
    Crash {
        /// Which node.
        node: usize,
        /// The chance of an unsynced sector, in quarters.
        keep: u64,
    },
    /// A node dies and comes back with the table that it began with.
    Restore {
        /// Which node.
        node: usize,
    },
    /// Nothing gets from one node to another for a while, and again, and again.
    Flap {
        /// From which node.
        from: usize,
        /// To which.
        to: usize,
        /// How long each time, and how long it does in between.
        every: Duration,
    },
    /// The authority can't be asked.
    Authority,
    /// A node's clock is set.
    Clock {
        /// Which node.
        node: usize,
        /// Forward, or back.
        forward: bool,
        /// By how much.
        by: Duration,
    },
    /// A replica leaves the in-sync set, or one that left and holds all comes back.
    InSync {
        /// Which space.
        space: usize,
        /// The nodes that are told, in per cent; the primary always is.
        told: u32,
    },
    /// Nothing gets from one node to another, and nobody is told.
    Cut {
        /// From which node.
        from: usize,
        /// To which.
        to: usize,
    },
    /// A node can't be reached, nor reach anybody.
    Isolate {
        /// Which node.
        node: usize,
    },
    /// All that a node sends or gets waits.
    Pause {
        /// Which node.
        node: usize,
    },
    /// Messages are lost between any two nodes.
    Loss {
        /// The chance of each, in per cent.
        percent: u32,
    },
    /// All that a node gets comes late.
    Slow {
        /// Which node.
        node: usize,
        /// By how much.
        by: Duration,
    },
    /// Requests that may arrive twice do so.
    Duplicates {
        /// The chance of each, in per cent.
        percent: u32,
    },
    /// Connections are lost, and what was under way on them.
    Reset {
        /// The node whose connections are lost.
        node: usize,
    },
    /// An in-sync replica becomes the primary of a space. Some nodes are told.
    Promote {
        /// Which space.
        space: usize,
        /// The nodes that are told, in per cent.
        told: u32,
    },
}

impl FaultKind {
    /// All kinds by their names.
    pub const NAMES: [&str; 14] = [
        "crash",
        "restore",
        "cut",
        "flap",
        "isolate",
        "pause",
        "loss",
        "slow",
        "duplicates",
        "reset",
        "authority",
        "clock",
        "promote",
        "in-sync",
    ];

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::Restore { .. } => "restore",
            Self::Cut { .. } => "cut",
            Self::Flap { .. } => "flap",
            Self::Isolate { .. } => "isolate",
            Self::Pause { .. } => "pause",
            Self::Loss { .. } => "loss",
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
            "slow" => Self::Slow { node, by: Duration::from_millis(rng.random_range(10..=500)) },
            "duplicates" => Self::Duplicates { percent: rng.random_range(5..=50) },
            "reset" => Self::Reset { node },
            "authority" => Self::Authority,
            "clock" => {
                let by = Duration::from_secs(1 << rng.random_range(0..=18));
                Self::Clock { node, forward: rng.random(), by }
            }
            "promote" => Self::Promote { space, told: rng.random_range(0..=100) },
            _ => Self::InSync { space, told: rng.random_range(0..=100) },
        }
    }
}

impl Plan {
    /// What this seed draws.
    #[must_use]
    pub fn draw(seed: u64, size: &Size) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = rng.random_range(3..=size.nodes.max(3));
        let spaces = rng.random_range(1..=size.spaces.max(1));
        let time = Duration::from_millis(rng.random_range(2_000..=6_000));
        let mut faults: Vec<_> = (0..rng.random_range(1..=size.faults.max(1)))
            .map(|_| Fault {
                at: time.mul_f64(rng.random_range(0.0..0.9)),
                lasts: Duration::from_millis(rng.random_range(50..=4_000)),
                kind: FaultKind::draw(&mut rng, nodes, spaces),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let tables = [Tables::Old, Tables::Ladder, Tables::Garbage, Tables::Nothing];
        let tables = tables[rng.random_range(0..tables.len())];
        let ladder = tables == Tables::Ladder;
        Self {
            seed,
            nodes,
            entries: if rng.random() { nodes } else { rng.random_range(1..=nodes) },
            zones: rng.random_range(1..=3),
            // A ladder has rungs.
            replicas: rng.random_range(if ladder { 3 } else { 0 }..=4),
            spaces,
            calls: rng.random_range(20..=size.calls.max(20)),
            time,
            history: rng.random_range(if ladder { 4 } else { 0 }..=12),
            tables,
            stale: rng.random_range(if ladder { 80 } else { 0 }..=100),
            grants: rng.random(),
            budget: BudgetLimits {
                percent: rng.random_range(0..=40),
                per_second: rng.random_range(1..=10),
                burst: rng.random_range(1..=20),
                hedge_percent: rng.random_range(0..=10),
            },
            in_flight: if rng.random_range(0..4) == 0 { rng.random_range(1..=6) } else { 10_000 },
            faults,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, lasts, kind } = self;
        write!(f, "at {at:.0?} for {lasts:.0?}: {kind:?}")
    }
}
