//! Clusters of the real router, table, failover and `kv` on the in-memory transport, under virtual time.
//!
//! **Never knows** a real wire, a real disk or a real clock. One seed is one run, bit for bit: it draws the cluster,
//! the load and the faults, and [`run`] says what came of it. What must never happen is checked in
//! [`Report::violations`]; what happened is told by its [`Story`].
//!
//! - [`Plan`] is what a seed draws: the cluster, the load, and each fault with its time. `run` plays it, [`shrink`] finds the
//!   fewest faults that still break a rule, [`regressions`] are those that once did.
//! - `world` starts, crashes and restarts nodes, with `tables` of what they heard before; `network` is what lies between them,
//!   and `wire` what crosses it; `authority` and `changes` decide who owns what.
//! - `load` calls, by `kv_call`, and remembers what was acknowledged; `audit` holds that against the stores.
//! - `oracle` holds all else against what must never happen: `watched` tells it what is executed, `meters` what routers
//!   count and log, `history` whether what callers saw of one key can be.
//! - `model` is the other way to look: every interleaving of a small cluster, by [`explore`].

mod audit;
mod authority;
mod changes;
mod history;
mod kv_call;
mod load;
mod meters;
mod model;
mod names;
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
mod wire;
mod world;

pub use model::{Bounds, Explored, Guard, Problem, explore};
pub use plan::{Fault, Plan};
pub use regressions::regressions;
pub use report::{Counts, Report, Total, Violation};
pub use run::{run, run_in_full};
pub use shrink::shrink;
pub use story::Story;
