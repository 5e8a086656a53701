//! What a node is told by its configuration file: read as text, parsed into values that can't be wrong.

mod failover;
mod file;
mod parse;

pub(crate) use failover::FailoverFile;
pub(crate) use file::{ConfigFile, DRAIN_MS, LimitsFile, ListenFile, NodeFile, REPLICAS, TableFile, TlsFile};
pub(crate) use parse::{Config, Overrides, Serve, TableSource};
