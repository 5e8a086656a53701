//! Real processes over the real network of this machine: what a user of the binary gets.
//!
//! Each cluster lives on loopback addresses of its own (127.x.y.z), so tests run in parallel and no port is guessed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that can't go on says so by panicking")]

mod applied_table;
mod certificates;
mod client_tls;
mod cluster;
mod dev;
mod failing_node;
mod hanging_node;
mod kept_table;
mod lost_reply;
mod one_failing_space;
mod operator;
mod pausing_service;
mod slow_replica;
mod stale_metadata;
mod stopping;
mod support;
mod three_tiers;
mod unreachable_primary;
mod wrong_input;

/// One test on each wire that this build has.
macro_rules! on_each_wire {
    ($(#[$attribute:meta])* $name:ident) => {
        mod $name {
            $(#[$attribute])*
            #[cfg(feature = "grpc")]
            #[tokio::test(flavor = "multi_thread")]
            async fn over_grpc() {
                super::$name("grpc").await;
            }

            $(#[$attribute])*
            #[cfg(feature = "quic")]
            #[tokio::test(flavor = "multi_thread")]
            async fn over_quic() {
                super::$name("quic").await;
            }
        }
    };
}
pub(crate) use on_each_wire;
