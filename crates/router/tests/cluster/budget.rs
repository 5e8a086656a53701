//! Retries are a share of the calls, whatever fails, and layers of them don't multiply.

use std::sync::Arc;
use std::time::Duration;

use homing_failover::Verdict;
use homing_router::Call;
use homing_types::{Access, Execution, Outcome};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Served, call, call_within, group};

#[tokio::test(start_paused = true)]
async fn an_owner_that_fails_everything_gets_a_fifth_more_and_not_a_multiple() {
    let cluster = Arc::new(Cluster::knowing(["a1", "b1"], group(5, &["b1"])));
    cluster.node("b1").service.always(Behaviour::decline(Execution::Maybe, Duration::ZERO));
    let began = Instant::now();
    let calls = 1_000;
    let mut running = JoinSet::new();
    for _ in 0..calls {
        let cluster = Arc::clone(&cluster);
        running.spawn(async move {
            let error =
                cluster.call("a1", call_within(Access::Read, Duration::from_secs(3))).await.unwrap_err();
            assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::MaybeSent) });
            assert_eq!(error.to_string().contains("the budget for retries"), error.starved, "{error}");
            error.starved
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let starved = running.join_all().await.into_iter().filter(|starved| *starved).count();
    assert!(starved > calls / 2, "{starved} calls say that the budget was spent");
    let retries = cluster.faults.crossed("a1", "b1") - calls;
    let allowed = 100.0 + 0.2 * calls as f64 + 10.0 * began.elapsed().as_secs_f64();
    assert!(retries as f64 <= allowed + 1.0, "{retries} retries, {allowed} are paid for");
    assert!(
        retries as f64 > 0.8 * allowed,
        "{retries} retries, {allowed} are paid for: the budget goes to waste"
    );
    assert_eq!(cluster.counted("homing_retries_total"), retries as u64);
    assert!(cluster.counted("homing_retry_budget_waits_total") > 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_a_retry_already_gets_none_and_its_service_is_told() {
    let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    let retry = || Call { retry: true, ..call(Access::Read) };
    for node in ["b1", "c1"] {
        cluster.node(node).service.first(Behaviour::decline(Execution::Maybe, Duration::ZERO));
    }
    let error = cluster.call("a1", retry()).await.unwrap_err();
    assert_eq!((error.verdict, error.attempts), (Verdict::Exhausted { last: Some(Outcome::MaybeSent) }, 1));
    // One more was left to fail, and a call of its own gets over it.
    let answer = cluster.read("a1").await;
    let attempts = Served::of(&answer).attempts;
    let told = |cluster: &Cluster| cluster.log().executed.last().unwrap().attempt.clone();
    assert_eq!(told(&cluster), (attempts > 1).then(|| attempts.to_string()));
    assert_eq!(cluster.call("a1", retry()).await.unwrap().attempts, 1);
    assert_eq!(told(&cluster).as_deref(), Some("2"), "so that it gets none further down either");
}
