//! What the tests share: a cluster of real processes, and a client that says how its calls went.

mod client;
mod cluster;
mod owners;
mod reads;
mod relay;
mod said;
mod table;

pub(crate) use client::{Kv, Served, every, new_key};
pub(crate) use cluster::{Cluster, Layout, Process, homing, output};
pub(crate) use owners::OwnersOf;
pub(crate) use reads::Reads;
pub(crate) use relay::Relay;
pub(crate) use said::{assert_says, said, usage};
pub(crate) use table::{next_epoch, owners};
