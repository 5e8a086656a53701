//! The suite that every transport passes: all its cases, without skips.
//!
//! A transport brings a [`Fixture`] and says, in a test of its own crate:
//!
//! ```ignore
//! homing_transport::contract_suite!(MyFixture::new());
//! ```
//!
//! That makes one test of each case, each with a fixture of its own. A case waits for conditions, never
//! for time; what doesn't happen within [`PATIENCE`] fails the case with the name of what it waited for.
//! [`twins`] are transports that are wrong on purpose: the suite must tell them from honest ones.

pub mod cancel;
pub mod deadline;
pub mod identity;
pub mod limits;
pub mod load;
pub mod loss;
pub mod shutdown;
pub mod streaming;
pub mod truth;
pub mod twins;

mod body;
mod certificates;
mod fixture;
mod handler;
mod memory;
mod stage;
mod wait;

pub use certificates::Certificates;
pub use fixture::{Fixture, Proof};
pub use memory::MemoryFixture;
pub use wait::PATIENCE;

use crate::BoxFuture;

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name: `theme::case`.
    pub name: &'static str,
    /// Runs it; it panics if the transport breaks the contract.
    pub run: fn(&dyn Fixture) -> BoxFuture<'_, ()>,
}

/// Every case.
pub const CASES: &[Case] = crate::contract_suite!(@list cases ());

/// Makes one test of each case, for the transport of a [`Fixture`](crate::contract::Fixture).
///
/// The expression is evaluated once a test. The crate needs tokio with `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! contract_suite {
    (@list $make:ident $with:tt) => {
        $crate::contract_suite! { @$make $with
            streaming {
                unary,
                server_streaming,
                client_streaming,
                each_message_of_a_bidirectional_stream_may_depend_on_the_last,
                trailers_survive_both_ways,
                trailers_survive_without_a_body,
                empty_bodies_are_empty,
                heads_survive,
                http_survives,
                what_names_the_connection_does_not_travel,
                sixteen_mebibytes_go_through_a_stream,
                a_sender_does_not_run_ahead_of_the_handler,
                a_handler_does_not_run_ahead_of_the_sender,
            }
            cancel {
                dropping_the_call_cancels_it_at_the_peer,
                a_call_that_is_dropped_before_it_is_polled_is_over,
                dropping_the_reply_cancels_it_at_the_peer,
                a_failing_request_is_cut_short_at_the_peer,
                a_failing_request_is_cut_short_after_the_head_too,
                a_failing_reply_is_cut_short_at_the_sender,
                a_reply_ends_a_request_that_nobody_reads,
                a_cancelled_call_leaves_the_connection_alone,
            }
            deadline {
                a_passed_deadline_is_not_sent,
                it_ends_the_wait_for_the_head,
                it_ends_the_body_of_the_reply,
                it_ends_the_body_of_the_request,
                it_ends_replies_that_nobody_reads,
            }
            loss {
                a_peer_that_is_not_there_is_not_sent,
                a_lost_connection_says_so_and_sends_nothing,
                a_peer_gone_before_the_head_is_maybe_sent,
                a_peer_gone_in_the_middle_of_the_reply_is_lost,
                a_peer_gone_in_the_middle_of_the_request_is_lost,
                a_sender_that_dies_is_noticed,
                a_handler_that_panics_fails_its_call_alone,
                a_restarted_peer_is_reached_again,
            }
            limits {
                a_message_over_the_limit_is_not_sent,
                a_streamed_message_over_the_limit_ends_the_call,
                a_message_over_the_peers_limit_is_refused,
                a_reply_over_the_limit_is_an_error,
                a_header_block_over_the_limit_is_not_sent,
                a_replys_header_block_over_the_limit_is_refused,
                a_stream_may_be_longer_than_a_message,
                a_call_over_max_streams_waits_for_a_place,
                a_call_that_gets_no_place_is_not_sent,
                a_call_that_waited_is_told_with_the_time_that_is_left,
                a_connection_over_max_connections_is_refused,
            }
            load {
                a_thousand_calls_are_open_at_once,
                control_is_not_behind_payload,
            }
            identity {
                the_handler_is_told_who_sends,
                a_peer_must_be_who_was_dialled,
                a_stranger_who_listens_is_refused,
                a_stranger_who_dials_is_refused,
            }
            shutdown {
                running_calls_finish_and_new_ones_are_not_sent,
                a_call_that_waits_for_a_place_is_not_sent,
                it_cuts_what_outlasts_the_drain,
                without_calls_it_ends_at_once,
                an_open_body_outlives_its_connection_handle,
                nothing_is_left_behind,
            }
            truth {
                not_sent_is_true_when_the_peer_is_killed,
                not_sent_is_true_when_the_peer_shuts_down,
                not_sent_is_true_of_refusals,
            }
        }
    };
    (@cases () $($theme:ident { $($case:ident,)* })*) => {
        &[$($(Case {
            name: concat!(stringify!($theme), "::", stringify!($case)),
            run: |fixture| Box::pin($theme::$case(fixture)),
        },)*)*]
    };
    (@tests ($fixture:expr) $($theme:ident { $($case:ident,)* })*) => {
        $(mod $theme {
            #[allow(unused_imports)]
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::contract::$theme::$case(&$fixture).await;
            })*
        })*
    };
    ($fixture:expr) => {
        $crate::contract_suite! { @list tests ($fixture) }
    };
}
