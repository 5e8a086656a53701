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
    /// At a rate that is a share of the peak, in per cent; latency from when a call was due. The peak is that of the closed loop
    /// with the most in flight, just before.
    Open(u32),
    /// The first call of a client that has no connection yet.
    Dial,
}

const SMALL: usize = 128;
const MEDIUM: usize = 16 << 10;
const LARGE: usize = 256 << 10;

/// All scenarios, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one-hop",
        what: "a read whose owner is another process",
        kind: Kind::Closed,
        contestants: &[Tcp, Udp, TonicPlain, Tonic, Quinn, RouterGrpc, RouterQuic],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL, MEDIUM, LARGE],
        in_flight: &[1, 16, 64],
        quick: Some((&[SMALL], &[1, 64])),
    },
    Scenario {
        name: "in-place",
        what: "a read whose owner is this very process",
        kind: Kind::Closed,
        contestants: &[InProcess, RouterInPlace],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL],
        in_flight: &[1, 64],
        quick: Some((&[SMALL], &[1])),
    },
    Scenario {
        name: "node-as-hop",
        what: "a client, a node or a proxy, and a service beside it",
        kind: Kind::Closed,
        contestants: &[Tonic, Hop, Envoy, Haproxy, Nginx],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL],
        in_flight: &[1, 64],
        quick: Some((&[SMALL], &[64])),
    },
    Scenario {
        name: "spaces",
        what: "1,000 spaces over five owners; the bare wires know which of them to ask",
        kind: Kind::Closed,
        contestants: &[Tonic, Quinn, RouterGrpc, RouterQuic],
        owners: 5,
        spaces: 1_000,
        payloads: &[SMALL],
        in_flight: &[64],
        quick: None,
    },
    Scenario {
        name: "open-50",
        what: "one hop at half of the peak, whatever became of the calls before",
        kind: Kind::Open(50),
        contestants: &[Tonic, Quinn, RouterGrpc, RouterQuic],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL],
        in_flight: &[64],
        quick: None,
    },
    Scenario {
        name: "open-80",
        what: "the same at 80 % of it",
        kind: Kind::Open(80),
        contestants: &[Tonic, Quinn, RouterGrpc, RouterQuic],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL],
        in_flight: &[64],
        quick: None,
    },
    Scenario {
        name: "dial",
        what: "the first call of all, connection and TLS included",
        kind: Kind::Dial,
        contestants: &[Tonic, Quinn, RouterGrpc, RouterQuic],
        owners: 1,
        spaces: 1,
        payloads: &[SMALL],
        in_flight: &[1],
        quick: Some((&[SMALL], &[1])),
    },
];
