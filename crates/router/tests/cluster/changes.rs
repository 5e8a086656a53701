//! An owner change ends the wait on the old owner, where the request may be sent again.

use std::time::Duration;

use homing_failover::Verdict;
use homing_types::Access;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Served, Setup, call, group, keyed_write};

/// b1 owns the space and hangs.
fn hanging() -> Cluster {
    let cluster = Cluster::with(["a1", "b1", "c1"], Setup { dedupes: true, ..Setup::default() });
    cluster.all_learn(group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::hang());
    cluster
}

#[tokio::test(start_paused = true)]
async fn what_may_be_sent_again_goes_to_the_new_owner_at_once() {
    for call in [call(Access::Read), call(Access::ReadPrimary), keyed_write()] {
        let cluster = hanging();
        let began = Instant::now();
        let change = async {
            cluster.until("b1 executes", |log| !log.executed.is_empty()).await;
            cluster.learns("c1", group(6, &["c1"]));
            cluster.learns("a1", group(6, &["c1"]));
        };
        let (answer, ()) = tokio::join!(cluster.call("a1", call.clone()), change);
        assert_eq!(Served::of(&answer), Served::by_primary("c1", 1, 6).after(2), "{}", call.access);
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        assert_eq!(cluster.counted("homing_retries_total"), 0, "to follow is free");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_must_not_be_sent_twice_waits_on_the_old_owner() {
    let cluster = hanging();
    let change = async {
        cluster.until("b1 executes", |log| !log.executed.is_empty()).await;
        cluster.learns("c1", group(6, &["c1"]));
        cluster.learns("a1", group(6, &["c1"]));
    };
    let (answer, ()) = tokio::join!(cluster.write("a1"), change);
    let error = answer.unwrap_err();
    assert_eq!((error.verdict, error.attempts), (Verdict::Ambiguous, 1));
    assert_eq!(cluster.log().executed.len(), 1);
}

/// A change that leaves the node an owner is no reason to give it up.
#[tokio::test(start_paused = true)]
async fn an_attempt_at_a_node_that_still_owns_the_space_goes_on() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::Slow(Duration::from_millis(300)));
    let change = async {
        cluster.until("b1 executes", |log| !log.executed.is_empty()).await;
        cluster.all_learn(group(6, &["b1", "c1"]));
    };
    let (answer, ()) = tokio::join!(cluster.read("a1"), change);
    assert_eq!(Served::of(&answer).by, "b1");
    assert_eq!(answer.unwrap().attempts, 1);
}

/// A gap ends as soon as anybody at this node has learned of new owners.
#[tokio::test(start_paused = true)]
async fn a_call_between_two_rounds_goes_on_when_its_node_learns() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1"]));
    let patience = Duration::from_secs(8);
    cluster.node("b1").service.always(Behaviour::decline(homing_types::Execution::No, patience));
    let began = Instant::now();
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.learns("c1", group(6, &["c1"]));
        cluster.learns("a1", group(6, &["c1"]));
    };
    let (answer, ()) = tokio::join!(cluster.write("a1"), change);
    assert_eq!(Served::of(&answer).by, "c1");
    assert!(began.elapsed() < Duration::from_millis(1_100), "{:?}", began.elapsed());
}
