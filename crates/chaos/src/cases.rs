//! The cases, one kind a file.

mod kills;
pub(crate) mod loss;
mod overload;
mod partitions;
mod slow;
mod spaces;

use anyhow::Result;

use crate::report::CaseReport;
use crate::stage::Arena;

/// All cases, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    Case { name: "loss-0", kind: Kind::Loss(0), quick: true, what: "no fault: what the others stand beside" },
    Case {
        name: "loss-1",
        kind: Kind::Loss(1),
        quick: false,
        what: "1 % of packets lost each way, on every link",
    },
    Case {
        name: "loss-5",
        kind: Kind::Loss(5),
        quick: false,
        what: "5 % of packets lost each way, on every link",
    },
    Case {
        name: "loss-10",
        kind: Kind::Loss(10),
        quick: true,
        what: "10 % of packets lost each way, on every link",
    },
    Case {
        name: "loss-30",
        kind: Kind::Loss(30),
        quick: true,
        what: "30 % of packets lost each way, on every link",
    },
    Case {
        name: "partition",
        kind: Kind::Partition,
        quick: false,
        what: "one node cut off from all others, both ways",
    },
    Case {
        name: "one-way",
        kind: Kind::OneWay,
        quick: true,
        what: "nothing comes from the entry to the primary",
    },
    Case {
        name: "entry-cut",
        kind: Kind::EntryCut,
        quick: false,
        what: "the entry and the primary can't reach each other; all others can",
    },
    Case {
        name: "flapping",
        kind: Kind::Flapping,
        quick: true,
        what: "the link between the entry and the primary fails and comes back each second",
    },
    Case {
        name: "kill",
        kind: Kind::Kill,
        quick: true,
        what: "kill -9 of one node after another, in the middle of writes",
    },
    Case { name: "pause", kind: Kind::Pause, quick: false, what: "SIGSTOP of a node, and SIGCONT" },
    Case {
        name: "replaced",
        kind: Kind::Replaced,
        quick: false,
        what: "SIGSTOP of a primary, another in its place, and SIGCONT",
    },
    Case { name: "slow-cpu", kind: Kind::SlowCpu, quick: false, what: "a node with 5 % of a processor" },
    Case {
        name: "slow-link",
        kind: Kind::SlowLink,
        quick: false,
        what: "a node that is 200 ms away, by a relay",
    },
    Case {
        name: "failing-owner",
        kind: Kind::FailingOwner,
        quick: false,
        what: "a node whose service fails everything",
    },
    Case {
        name: "failing-space",
        kind: Kind::FailingSpace,
        quick: false,
        what: "one space of many that fails",
    },
    Case {
        name: "overload",
        kind: Kind::Overload,
        quick: false,
        what: "1.5 and 2 times what the cluster can do",
    },
    Case {
        name: "trigger",
        kind: Kind::Trigger,
        quick: false,
        what: "80 % of what the cluster can do, twice of that for 10 s, and 80 % again",
    },
];

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    kind: Kind,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    pub(crate) what: &'static str,
}

enum Kind {
    /// Of so many packets in a hundred.
    Loss(u32),
    Partition,
    OneWay,
    EntryCut,
    Flapping,
    Kill,
    Pause,
    Replaced,
    SlowCpu,
    SlowLink,
    FailingOwner,
    FailingSpace,
    Overload,
    Trigger,
}

impl Case {
    /// Whether it gives nodes a share of a processor.
    pub(crate) const fn needs_quota(&self) -> bool {
        matches!(self.kind, Kind::SlowCpu | Kind::Overload | Kind::Trigger)
    }

    pub(crate) async fn run(&self, arena: &Arena, wire: &'static str) -> Result<CaseReport> {
        let case = self.name;
        match self.kind {
            Kind::Loss(percent) => loss::run(arena, case, wire, percent).await,
            Kind::Partition => partitions::whole(arena, case, wire).await,
            Kind::OneWay => partitions::one_way(arena, case, wire).await,
            Kind::EntryCut => partitions::entry_cut(arena, case, wire).await,
            Kind::Flapping => partitions::flapping(arena, case, wire).await,
            Kind::Kill => kills::kill(arena, case, wire).await,
            Kind::Pause => kills::pause(arena, case, wire).await,
            Kind::Replaced => kills::replaced(arena, case, wire).await,
            Kind::SlowCpu => slow::cpu(arena, case, wire).await,
            Kind::SlowLink => slow::link(arena, case, wire).await,
            Kind::FailingOwner => spaces::failing_owner(arena, case, wire).await,
            Kind::FailingSpace => spaces::failing_space(arena, case, wire).await,
            Kind::Overload => overload::overload(arena, case, wire).await,
            Kind::Trigger => overload::trigger(arena, case, wire).await,
        }
    }
}
