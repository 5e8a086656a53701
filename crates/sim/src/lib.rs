//! Clusters of the real router, table, failover and `kv` on the in-memory transport, under virtual time.
//!
//! **Never knows** a real wire, a real disk or a real clock. One seed is one run, bit for bit: it draws the cluster,
//! the load and the faults, and [`run`] says what came of it. What must never happen is checked in
//! [`Report::violations`]; what happened is told by its [`Story`].
//!
//! - [`Plan`] is what a seed draws: the cluster, the load, and each fault with its time.
//! - `world` starts, crashes and restarts nodes, with `tables` of what they heard before; `network` is what lies between them;
//!   `authority` decides who owns what.
//! - `load` calls, and remembers what was acknowledged.
//! - `oracle` holds all that against what must never happen: `watched` tells it what is executed, `meters` what routers
//!   count and log, [`history`] whether what callers saw of one key can be.

mod authority;
pub mod history;
mod load;
mod meters;
pub mod model;
mod network;
mod oracle;
mod plan;
mod regressions;
mod report;
mod run;
mod shrink;
mod story;
mod tables;
mod watched;
mod world;

pub use plan::{Fault, FaultKind, Plan, Size, Tables};
pub use regressions::regressions;
pub use report::{Report, Total, Violation};
pub use run::{run, run_in_full};
pub use shrink::shrink;
pub use story::Story;
