//! A read that waits too long is asked of another node, too.

use std::time::Duration;

use homing_failover::BudgetLimits;
use homing_router::RouterOptions;
use homing_types::Access;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Setup, call, eventually, group};

const SLOW: Duration = Duration::from_millis(200);

/// Two owners, seen from a1 at the same distance, and enough reads to know how long they take.
async fn measured(setup: Setup) -> Cluster {
    let cluster = Cluster::with(["a1", "b1", "b2"], setup);
    cluster.all_learn(group(5, &["b1", "b2"]));
    for _ in 0..100 {
        cluster.read("a1").await.expect("an answer");
    }
    assert_eq!(cluster.counted("homing_hedges_total"), 0);
    cluster
}

#[tokio::test(start_paused = true)]
async fn no_read_waits_for_a_slow_node_and_its_loser_finishes() {
    let cluster = measured(Setup::default()).await;
    cluster.node("b1").service.always(Behaviour::Slow(SLOW));
    for _ in 0..500 {
        let began = Instant::now();
        let answer = cluster.read("a1").await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(5), "{:?}", began.elapsed());
        assert_eq!(answer.head.served_by.unwrap().as_str(), "b2");
    }
    let hedges = cluster.counted("homing_hedges_total");
    // Once it is known to be slow, it is not asked first any more.
    assert!((1..=10).contains(&hedges), "{hedges} hedges");
    tokio::time::sleep(SLOW).await;
    assert_eq!(cluster.log().given_up, 0, "a loser is left to finish, not reset");
    let executed =
        |node: &str| cluster.log().executed.iter().filter(|each| each.node.as_str() == node).count();
    assert!(executed("b1") >= hedges as usize);
}

/// Found by the simulation: what a call has given up goes on, and so it is still under way.
#[tokio::test(start_paused = true)]
async fn a_loser_has_a_place_among_the_requests_under_way() {
    let cluster = measured(Setup::default()).await;
    cluster.node("b1").service.always(Behaviour::Slow(SLOW));
    while cluster.counted("homing_hedges_total") == 0 {
        drop(cluster.read("a1").await.unwrap());
    }
    let router = &cluster.node("a1").router;
    assert_eq!(router.in_flight(), 1);
    eventually("the loser ends", || router.in_flight() == 0).await;
}

/// Where every owner is slow now and then, nobody can be avoided, and the budget is what bounds the hedges.
#[tokio::test(start_paused = true)]
async fn hedges_are_at_most_five_of_a_hundred_calls() {
    let cluster = measured(Setup::default()).await;
    let calls = 2_000;
    let mut late = 0;
    for i in 0..calls {
        for node in ["b1", "b2"] {
            let slow = i % 10 == 0;
            cluster.node(node).service.always(if slow { Behaviour::Slow(SLOW) } else { Behaviour::Answer });
        }
        let began = Instant::now();
        cluster.read("a1").await.unwrap();
        late += usize::from(began.elapsed() >= SLOW);
    }
    let hedges = cluster.counted("homing_hedges_total");
    assert!(late >= 100, "{late} were slow");
    assert!((50..=10 + calls / 20 + 5).contains(&hedges), "{hedges} hedges of {calls} calls");
}

#[tokio::test(start_paused = true)]
async fn what_only_the_primary_does_is_not_hedged_and_zero_per_cent_is_off() {
    let off = BudgetLimits { hedge_percent: 0, ..BudgetLimits::default() };
    let options = RouterOptions { budget: off, ..RouterOptions::default() };
    for (setup, access) in [
        (Setup::default(), Access::ReadPrimary),
        (Setup::default(), Access::Write),
        (Setup { options, ..Setup::default() }, Access::Read),
    ] {
        let cluster = measured(setup).await;
        for node in ["b1", "b2"] {
            cluster.node(node).service.always(Behaviour::Slow(SLOW));
        }
        let answer = cluster.call("a1", call(access)).await.unwrap();
        assert_eq!(answer.attempts, 1);
        assert_eq!(cluster.counted("homing_hedges_total"), 0, "{access}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_change_ends_the_wait_for_both() {
    let cluster = measured(Setup::default()).await;
    let before = cluster.log().executed.len();
    for node in ["b1", "b2"] {
        cluster.node(node).service.always(Behaviour::hang());
    }
    let began = Instant::now();
    let change = async {
        cluster.until("both execute", |log| log.executed.len() == before + 2).await;
        cluster.learns("a1", group(6, &["a1"]));
    };
    let (answer, ()) = tokio::join!(cluster.read("a1"), change);
    let answer = answer.unwrap();
    assert_eq!((answer.head.served_by.unwrap().as_str(), answer.attempts), ("a1", 3));
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_both_attempts_fail_is_tried_again() {
    let cluster = measured(Setup::default()).await;
    let maybe = Behaviour::decline(homing_types::Execution::Maybe, Duration::ZERO);
    for node in ["b1", "b2"] {
        cluster.node(node).service.first(maybe.clone());
    }
    assert_eq!(cluster.read("a1").await.unwrap().attempts, 3);
    eventually("all is over", || cluster.node("a1").router.in_flight() == 0).await;
}
