//! The routing table beside what else one could take, in one run, over the same names in the same order.
//!
//! `cargo bench --bench routing_table` takes some minutes, `-- --quick` less than one. A case alone:
//! `-- publication`. At the end stands a report: every figure, its ratio, and the budgets, met or missed. It is written to
//! `target/bench/routing_table.{json,md,svg}` too. A missed budget is no failure: this is a report, not a test.
//!
//! **What is measured.** 12 nodes, two replicas, all 16,384 groups filled; 1,000 to 10,000,000 spaces, looked up at random. Names
//! are timed as a request brings them: their bytes have just been written and are in the cache, what is known of them is not. So a
//! buffer of 1,024 names is filled, which is not timed, and looked up in one go, which is: lookups may overlap as
//! far as the processor finds them independent. Names that lie about in memory are a case apart (`cold`). Every lookup
//! gets at the table anew (a load, a pin, a lock), as a request does.
//!
//! **Why ratios.** Nanoseconds are those of a machine and of what else it does. Contestants run one after the other within
//! a case, so that they meet the same machine; budgets are ratios. The nanoseconds stand beside them.
//!
//! **What favours whom** is said where the contestants are: `contestants.rs`.

#![expect(clippy::print_stderr, reason = "a benchmark shows what it does")]

mod bench;
mod cases;
mod contestants;
mod effort;
mod lookups;
mod report;
mod rows;

use bench::Bench;
use cases::{diff, pins, publication, unpinned, writer};
use effort::Effort;
use homing_benches::Others;

fn main() {
    let start = homing_benches::now();
    let others = Others::watch();
    let mut bench = Bench::new(Effort::from_args());
    unpinned::run(&mut bench);
    pins::run(&mut bench);
    publication::run(&mut bench);
    writer::run(&mut bench);
    diff::run(&mut bench);
    if bench.effort != Effort::Smoke {
        report::write(&bench, others.cores());
        eprintln!("The run took {:.0} s.", start.elapsed().as_secs_f64());
    }
}
