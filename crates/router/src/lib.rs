//! A request's way: look up, plan, send, learn.
//!
//! **Never knows** which transport carries a request, nor what the service does with it.
//!
//! This crate is the composition, and little else decides here: the routing table says who owns a space
//! and applies the receive rule, `homing-failover` says what to try next, the transport says whether
//! anything was sent. The [`Router`] moves requests between them.
//!
//! - [`Router::call`] is the entry: it plans, tries, learns and tries again, until there is an answer.
//! - [`Router`] as a transport's handler is the receiving end: it executes, forwards once, or says who owns the space.
//! - [`Service`], [`DirectService`], [`Gate`] and [`Authority`] are what others bring.

mod admission;
mod attempt;
mod authority;
mod call;
mod changes;
mod counters;
mod direct;
mod directory;
mod error;
mod flight;
mod http_service;
mod learn;
mod plan;
mod pool;
mod receive;
mod replay;
mod router;
mod service;
mod standings;

pub use authority::{Authority, Gate, OpenGate, StaticAuthority};
pub use call::{Answer, Call};
pub use direct::PING_PATH;
pub use directory::{Directory, Node};
pub use error::CallError;
pub use http_service::{CallInfo, HttpService};
pub use learn::GROUP_PATH;
pub use plan::Route;
pub use pool::{Pool, PoolOptions};
pub use router::{Router, RouterBuilder, RouterOptions};
pub use service::{Declined, DirectError, DirectService, Granted, Peers, Service};
