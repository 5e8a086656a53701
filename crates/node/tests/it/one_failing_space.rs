//! One of 1,000 spaces always fails. Its own calls end in an error; nobody else's notice.

use std::time::Duration;

use tonic::Code;

use crate::on_each_wire;
use crate::support::{Asked, Failure, OneFails, Rounds, tell};

const SPACES: usize = 1_000;

/// Times that all are asked, each with the failing one and without.
const ROUNDS: usize = 2;
const AT_A_TIME: usize = 32;
const DEADLINE: Duration = Duration::from_secs(2);

on_each_wire!(one_space_of_a_thousand_that_always_fails_harms_no_other);
async fn one_space_of_a_thousand_that_always_fails_harms_no_other(wire: &'static str) {
    let story = OneFails::start(wire, DEADLINE).await;
    // Who asked before all of them were up may have opened one.
    let opened_before = opened(&story).await;
    let (mut without, mut with) = (Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        story.round(1..SPACES, AT_A_TIME, &mut without).await;
        story.round(0..SPACES, AT_A_TIME, &mut with).await;
    }
    tell(&format!("{wire}: without {}", without.latencies()));
    tell(&format!("{wire}: with    {}", with.latencies()));
    let (calls, failed) = (with.failures.len(), story.service.failed());
    tell(&format!("{wire}: {calls} calls of the failing space, asked for {failed} times"));

    assert!(without.failures.is_empty(), "{:?}", without.failures[0]);
    for rounds in [&without, &with] {
        assert_eq!(rounds.well.len(), ROUNDS * (SPACES - 1) * Asked::ALL.len());
        assert!(rounds.detours.is_empty(), "{} detours: {}", rounds.detours.len(), rounds.detours[0]);
    }
    assert_eq!(with.failures.len(), ROUNDS * Asked::ALL.len());
    for failure in &with.failures {
        ended_in_an_error(failure);
    }
    assert!(failed > with.failures.len() as u64, "the failing space was never tried again");
    let logged: Vec<_> = story.cluster.nodes.iter().map(|node| (node.id.clone(), node.log())).collect();
    let changes = logged.iter().flat_map(|(id, log)| log.lines().map(move |line| format!("{id}: {line}")));
    let changes: Vec<_> = changes.filter(|line| line.contains("breaker")).collect();
    assert_eq!(opened(&story).await, opened_before, "a peer is avoided for one space's sake: {changes:#?}");
}

/// The breakers that have opened so far.
async fn opened(story: &OneFails) -> f64 {
    let mut opened = 0.0;
    for node in &story.cluster.nodes {
        opened += node.counter("homing_breaker_changes_total", "to=\"open\"").await;
    }
    opened
}

fn ended_in_an_error(failure: &Failure) {
    let Failure { space, asked, status } = failure;
    assert_eq!(*space, 0, "{failure:?}");
    let status = status.as_ref().unwrap_or_else(|| panic!("nobody answered a {asked:?}"));
    let code = match asked {
        Asked::Read => Code::DeadlineExceeded,
        // It may have been executed.
        Asked::Write | Asked::KeyedWrite => Code::Unknown,
    };
    assert_eq!(status.code(), code, "{asked:?}: {status}");
    let attempts: u32 = status.metadata().get("homing-attempts").unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(attempts == 1, *asked == Asked::Write, "{asked:?}: {attempts} attempts: {status}");
}
