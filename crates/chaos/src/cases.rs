//! The cases, one kind a file.

mod kills;
mod loss;
mod overload;
mod partitions;
mod slow;
mod spaces;

use anyhow::Result;

use crate::report::CaseReport;
use crate::stage::Arena;

/// All cases, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    Case { name: "loss-0", quick: true, what: "no fault: what the others are held against" },
    Case { name: "loss-1", quick: false, what: "1 % of packets lost each way, on every link" },
    Case { name: "loss-5", quick: false, what: "5 % of packets lost each way, on every link" },
    Case { name: "loss-10", quick: true, what: "10 % of packets lost each way, on every link" },
    Case { name: "loss-30", quick: true, what: "30 % of packets lost each way, on every link" },
    Case { name: "partition", quick: false, what: "one node cut off from all others, both ways" },
    Case { name: "one-way", quick: true, what: "nothing comes from the entry to the primary" },
    Case {
        name: "entry-cut",
        quick: false,
        what: "the entry and the primary can't reach each other; all others can",
    },
    Case {
        name: "flapping",
        quick: true,
        what: "the link between the entry and the primary fails and comes back each second",
    },
    Case { name: "kill", quick: true, what: "kill -9 of one node after another, in the middle of writes" },
    Case { name: "pause", quick: false, what: "SIGSTOP of a node, and SIGCONT" },
    Case { name: "replaced", quick: false, what: "SIGSTOP of a primary, another in its place, and SIGCONT" },
    Case { name: "slow-cpu", quick: false, what: "a node with 5 % of a processor" },
    Case { name: "slow-link", quick: false, what: "a node that is 200 ms away, by a relay" },
    Case { name: "failing-owner", quick: false, what: "a node whose service fails everything" },
    Case { name: "failing-space", quick: false, what: "one space of many that fails" },
    Case { name: "overload", quick: false, what: "1.5 and 2 times what the cluster can do" },
    Case {
        name: "trigger",
        quick: false,
        what: "80 % of what the cluster can do, twice of that for 10 s, and 80 % again",
    },
];

/// One case.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Whether `--quick` runs it.
    pub(crate) quick: bool,
    pub(crate) what: &'static str,
}

impl Case {
    /// Whether it gives nodes a share of a processor.
    pub(crate) fn needs_quota(&self) -> bool {
        matches!(self.name, "slow-cpu" | "overload" | "trigger")
    }

    pub(crate) async fn run(&self, arena: &Arena, wire: &'static str) -> Result<CaseReport> {
        match self.name {
            "loss-0" => loss::run(arena, self.name, wire, 0).await,
            "loss-1" => loss::run(arena, self.name, wire, 1).await,
            "loss-5" => loss::run(arena, self.name, wire, 5).await,
            "loss-10" => loss::run(arena, self.name, wire, 10).await,
            "loss-30" => loss::run(arena, self.name, wire, 30).await,
            "partition" => partitions::whole(arena, self.name, wire).await,
            "one-way" => partitions::one_way(arena, self.name, wire).await,
            "entry-cut" => partitions::entry_cut(arena, self.name, wire).await,
            "flapping" => partitions::flapping(arena, self.name, wire).await,
            "kill" => kills::kill(arena, self.name, wire).await,
            "pause" => kills::pause(arena, self.name, wire).await,
            "replaced" => kills::replaced(arena, self.name, wire).await,
            "slow-cpu" => slow::cpu(arena, self.name, wire).await,
            "slow-link" => slow::link(arena, self.name, wire).await,
            "failing-owner" => spaces::failing_owner(arena, self.name, wire).await,
            "failing-space" => spaces::failing_space(arena, self.name, wire).await,
            "overload" => overload::overload(arena, self.name, wire).await,
            "trigger" => overload::trigger(arena, self.name, wire).await,
            name => anyhow::bail!("no case is called {name}"),
        }
    }
}
