//! What a seed draws, before anything runs: so that a run can be repeated with fewer of its faults.

use std::fmt;
use std::time::Duration;

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
        Self { nodes: 15, spaces: 12, calls: 120, faults: 16 }
    }
}

/// One run: the same plan is the same run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed of all else that is drawn while it runs.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
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
    /// The nodes that begin with what they knew at some point of that history, if anything, in per cent.
    pub stale: u32,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
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
    pub const NAMES: [&str; 9] =
        ["crash", "cut", "isolate", "pause", "loss", "slow", "duplicates", "reset", "promote"];

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        Self::NAMES[match self {
            Self::Crash { .. } => 0,
            Self::Cut { .. } => 1,
            Self::Isolate { .. } => 2,
            Self::Pause { .. } => 3,
            Self::Loss { .. } => 4,
            Self::Slow { .. } => 5,
            Self::Duplicates { .. } => 6,
            Self::Reset { .. } => 7,
            Self::Promote { .. } => 8,
        }]
    }

    fn draw(rng: &mut StdRng, nodes: usize, spaces: usize) -> Self {
        let node = rng.random_range(0..nodes);
        match rng.random_range(0..Self::NAMES.len()) {
            0 => Self::Crash { node, keep: rng.random_range(0..=4) },
            1 => Self::Cut { from: node, to: (node + rng.random_range(1..nodes)) % nodes },
            2 => Self::Isolate { node },
            3 => Self::Pause { node },
            4 => Self::Loss { percent: rng.random_range(1..=30) },
            5 => Self::Slow { node, by: Duration::from_millis(rng.random_range(10..=500)) },
            6 => Self::Duplicates { percent: rng.random_range(5..=50) },
            7 => Self::Reset { node },
            _ => Self::Promote { space: rng.random_range(0..spaces), told: rng.random_range(0..=100) },
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
        let time = Duration::from_millis(rng.random_range(2_000..=8_000));
        let mut faults: Vec<_> = (0..rng.random_range(1..=size.faults.max(1)))
            .map(|_| Fault {
                at: time.mul_f64(rng.random_range(0.0..0.9)),
                lasts: Duration::from_millis(rng.random_range(50..=3_000)),
                kind: FaultKind::draw(&mut rng, nodes, spaces),
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        Self {
            seed,
            nodes,
            zones: rng.random_range(1..=3),
            replicas: rng.random_range(0..=4),
            spaces,
            calls: rng.random_range(20..=size.calls.max(20)),
            time,
            history: rng.random_range(0..=12),
            stale: rng.random_range(0..=100),
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
