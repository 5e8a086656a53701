//! What is measured, as data.

use crate::contestants::Contestant::{self, *};

/// One scenario: each of its contestants with each payload and each number of calls in flight.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) kind: Kind,
    pub(crate) contestants: &'static [Contestant],
    /// How many processes own the spaces, and how many spaces are called.
    pub(crate) owners: usize,
    pub(crate) spaces: usize,
    /// Whether each space has an entry of its own in the caller's table.
    pub(crate) pinned: bool,
    /// Whether the primary is far, and a replica near.
    pub(crate) far: bool,
    /// Connections of each contestant to each owner, if it matters here.
    pub(crate) connections: Option<usize>,
    /// Bytes of a request, and of its answer.
    pub(crate) payloads: &'static [usize],
    pub(crate) in_flight: &'static [usize],
    /// What the quick form leaves: payloads and numbers in flight; none, if it leaves the scenario out.
    pub(crate) quick: Option<(&'static [usize], &'static [usize])>,
}

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// So many at a time, the next as soon as one has ended.
    Closed,
    /// At a rate that is a share of the peak, in per cent; latency from when a call was due. The peak is that of a closed loop just
    /// before, the least among those that are held against each other.
    Open(u32),
    /// The first call of a client that has no connection yet.
    Dial,
    /// One call after another, each of which streams as many bytes as its payload has; its answer is short.
    Stream,
    /// Calls of a client whose table is an epoch behind: it asks the node that was the owner.
    Stale(Touch),
}

/// Which calls for a space whose owner has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Touch {
    /// The first, which is passed on and brings back who the owner is.
    First,
    /// The next, which goes there.
    Next,
}

const SMALL: usize = 128;
const MEDIUM: usize = 16 << 10;
const LARGE: usize = 256 << 10;

/// Enough that those that are called first and those that are timed have slots of their own.
const STALE: usize = 1_100;

/// One hop, 128 bytes, from a client to one owner of one space: what others differ from.
const ONE_HOP: Scenario = Scenario {
    name: "one-hop",
    what: "a read whose owner is another process",
    kind: Kind::Closed,
    contestants: &[Tonic, RouterGrpc, Quinn, RouterQuic],
    owners: 1,
    spaces: 1,
    pinned: false,
    far: false,
    connections: None,
    payloads: &[SMALL],
    in_flight: &[64],
    quick: None,
};

/// A number that grows, by name: the owners, the spaces, or the connections.
const fn nodes(name: &'static str, owners: usize) -> Scenario {
    Scenario { name, what: "spaces of so many processes", owners, spaces: 1_000, ..ONE_HOP }
}

const fn spaces(name: &'static str, spaces: usize) -> Scenario {
    let contestants = &[Tonic, RouterGrpc, Quinn, RouterQuic];
    let what = "so many spaces over five owners, each with an entry in the caller's table; the bare wires know whom to ask";
    Scenario { name, what, contestants, owners: 5, spaces, pinned: true, ..ONE_HOP }
}

const fn connections(name: &'static str, connections: usize) -> Scenario {
    Scenario { name, what: "so many connections", connections: Some(connections), ..ONE_HOP }
}

/// All scenarios, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        contestants: &[Tcp, Udp, TonicPlain, Tonic, RouterGrpc, Quinn, RouterQuic],
        payloads: &[SMALL, MEDIUM, LARGE],
        in_flight: &[1, 16, 64],
        quick: Some((&[SMALL], &[1, 64])),
        ..ONE_HOP
    },
    Scenario {
        name: "in-place",
        what: "a read whose owner is this very process",
        contestants: &[InProcess, RouterInPlace],
        in_flight: &[1, 64],
        quick: Some((&[SMALL], &[1])),
        ..ONE_HOP
    },
    Scenario {
        name: "node-as-hop",
        what: "a client, a node or a proxy, and a service beside it",
        contestants: &[Tonic, Hop, Envoy, Haproxy, Nginx],
        in_flight: &[1, 64],
        quick: Some((&[SMALL], &[64])),
        ..ONE_HOP
    },
    Scenario {
        name: "stream",
        what: "64 MiB in one call, one after another",
        kind: Kind::Stream,
        payloads: &[64 << 20],
        in_flight: &[1],
        ..ONE_HOP
    },
    Scenario {
        name: "write",
        what: "a write to the reference service, synced on three disks before it is answered, through any node",
        contestants: &[TonicPlain, KvGrpc, KvQuic],
        owners: 3,
        spaces: 60,
        in_flight: &[1, 16, 64],
        ..ONE_HOP
    },
    Scenario {
        name: "stale-first",
        what: "the first call for a space whose owner has changed: passed on, and the caller learns",
        kind: Kind::Stale(Touch::First),
        contestants: &[RouterGrpc, RouterQuic],
        owners: 2,
        spaces: STALE,
        in_flight: &[1],
        quick: Some((&[SMALL], &[1])),
        ..ONE_HOP
    },
    Scenario {
        name: "stale-next",
        what: "the next call for the same space",
        kind: Kind::Stale(Touch::Next),
        contestants: &[RouterGrpc, RouterQuic],
        owners: 2,
        spaces: STALE,
        in_flight: &[1],
        ..ONE_HOP
    },
    Scenario {
        name: "locality",
        what: "a read whose primary is 1 to 2 ms away and whose replica is near, by a router that is told where they stand, and by one that is not",
        contestants: &[RouterGrpc, UntoldGrpc, RouterQuic, UntoldQuic],
        owners: 2,
        far: true,
        in_flight: &[1, 16],
        ..ONE_HOP
    },
    Scenario {
        name: "open-50",
        what: "one hop at half of the peak, whatever became of the calls before",
        kind: Kind::Open(50),
        ..ONE_HOP
    },
    Scenario { name: "open-80", what: "the same at 80 % of it", kind: Kind::Open(80), ..ONE_HOP },
    Scenario {
        name: "dial",
        what: "the first call of all, connection and TLS included",
        kind: Kind::Dial,
        in_flight: &[1],
        quick: Some((&[SMALL], &[1])),
        ..ONE_HOP
    },
    nodes("nodes-3", 3),
    nodes("nodes-9", 9),
    nodes("nodes-21", 21),
    spaces("spaces-1k", 1_000),
    spaces("spaces-10k", 10_000),
    spaces("spaces-100k", 100_000),
    spaces("spaces-1m", 1_000_000),
    connections("connections-1", 1),
    connections("connections-4", 4),
    connections("connections-16", 16),
    Scenario { name: "in-flight", what: "so many calls at a time", in_flight: &[4, 256, 1_024], ..ONE_HOP },
];
