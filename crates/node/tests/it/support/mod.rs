//! What the tests share: a cluster of real processes, and a client that says how its calls went.

mod beside;
mod client;
mod cluster;
mod latencies;
mod owners;
mod reads;
mod relay;
mod rounds;
mod said;
mod table;
mod tiers;

pub(crate) use beside::Beside;
pub(crate) use client::{Kv, Served, every, new_key};
pub(crate) use cluster::{Cluster, Layout, Process, homing, output};
pub(crate) use latencies::Latencies;
pub(crate) use owners::OwnersOf;
pub(crate) use reads::Reads;
pub(crate) use relay::Relay;
pub(crate) use rounds::{Asked, Failure, OneFails, Rounds};
pub(crate) use said::{assert_says, said, tell, usage};
pub(crate) use table::{next_epoch, owners};
pub(crate) use tiers::{Offered, Tiers};
