//! The contract suite tells lying transports from honest ones.

use homing_transport::contract::twins::{Lie, TwinFixture};
use homing_transport::contract::{CASES, Fixture, MemoryFixture};

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_drops_trailers_fails() {
    fails(Lie::NoTrailers, &["streaming::trailers_survive_both_ways"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_cuts_bodies_short_fails() {
    fails(Lie::ShortBodies, &["streaming::sixteen_mebibytes_go_through_a_stream"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_hides_the_errors_of_bodies_fails() {
    let cases = [
        "cancel::a_failing_request_is_cut_short_after_the_head_too",
        "cancel::a_failing_reply_is_cut_short_at_the_sender",
        "loss::a_peer_gone_in_the_middle_of_the_reply_is_lost",
    ];
    fails(Lie::HiddenErrors, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_says_not_sent_too_lightly_fails() {
    let cases = [
        "truth::not_sent_is_true_when_the_peer_is_killed",
        "truth::not_sent_is_true_when_the_peer_shuts_down",
        "truth::not_sent_is_true_of_refusals",
        "loss::a_peer_gone_before_the_head_is_maybe_sent",
    ];
    fails(Lie::NotSent, &cases).await;
}

/// The cases pass with the honest transport and fail with its twin.
async fn fails(lie: Lie, cases: &[&str]) {
    for case in cases {
        assert!(passes(case, MemoryFixture::new()).await, "{case} fails the honest transport");
        let twin = TwinFixture::new(MemoryFixture::new(), lie);
        assert!(!passes(case, twin).await, "{case} passes {lie:?}");
    }
}

async fn passes(name: &str, fixture: impl Fixture + 'static) -> bool {
    let case = *CASES.iter().find(|case| case.name == name).expect("the case is in the suite");
    match tokio::spawn(async move { (case.run)(&fixture).await }).await {
        Ok(()) => true,
        Err(error) => {
            assert!(error.is_panic(), "{error}");
            false
        }
    }
}
