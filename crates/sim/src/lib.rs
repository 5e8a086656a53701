//! Clusters of the real router, table, failover and `kv` on the in-memory transport, under virtual time.
//!
//! **Never knows** a real wire, a real disk or a real clock. One seed is one run, bit for bit: it draws the cluster,
//! the load and the faults, and [`run`] says what came of it. What must never happen is checked in
//! [`Report::violations`]; what happened is told by its [`Story`].
//!
//! - [`Plan`] is what a seed draws: the cluster, the load, and each fault with its time.
//! - `world` starts, crashes and restarts nodes; `network` is what lies between them.
//! - `load` calls, and remembers what was acknowledged.
//! - `oracle` holds all that against what must never happen.

mod load;
mod network;
mod oracle;
mod plan;
mod regressions;
mod report;
mod run;
mod shrink;
mod story;
mod world;

pub use plan::{Fault, FaultKind, Plan, Size};
pub use regressions::regressions;
pub use report::{Report, Total, Violation};
pub use run::run;
pub use shrink::shrink;
pub use story::Story;
