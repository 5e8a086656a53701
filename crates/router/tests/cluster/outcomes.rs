//! What an outcome allows: the table of failover, seen from the services.

use std::time::Duration;

use homing_failover::Verdict;
use homing_router::Call;
use homing_routing_table::Group;
use homing_types::{Access, Execution, Outcome};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::support::{Behaviour, Cluster, Fault, Served, Setup, call, group, keyed_write};

/// From `a2`, the primary is near and the replica is not.
fn owners() -> Group {
    group(5, &["a1", "b1"])
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_goes_to_the_next_candidate_at_once() {
    for (access, expected) in [
        (Access::Read, Served::by_replica("b1", 1, 5)),
        (Access::ReadPrimary, Served::by_primary("a1", 2, 5)),
        (Access::Write, Served::by_primary("a1", 2, 5)),
    ] {
        let cluster = Cluster::knowing(["a1", "a2", "b1"], owners());
        cluster.faults.set("a2", "a1", Fault::Cut);
        let began = Instant::now();
        assert_eq!(Served::of(&cluster.call("a2", call(access)).await), expected.after(2), "{access}");
        assert_eq!(began.elapsed(), Duration::ZERO, "{access}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_whose_reply_was_lost_is_read_elsewhere() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], owners());
    cluster.faults.set("a2", "a1", Fault::LoseReplies);
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5).after(2));
}

#[tokio::test(start_paused = true)]
async fn a_keyed_write_whose_reply_was_lost_is_sent_again_with_its_key() {
    let cluster = Cluster::with(["a1", "a2", "b1"], Setup { dedupes: true, ..Setup::default() });
    cluster.all_learn(owners());
    cluster.faults.set("a2", "a1", Fault::LoseReplies);
    let call = keyed_write();
    let key = call.idempotency_key;
    assert_eq!(Served::of(&cluster.call("a2", call).await), Served::by_primary("a1", 2, 5).after(2));
    let log = cluster.log();
    assert_eq!((log.executed.len(), log.effects), (2, 1));
    assert!(log.executed.iter().all(|executed| executed.key == key));
}

#[tokio::test(start_paused = true)]
async fn any_other_write_whose_reply_was_lost_is_ambiguous_and_not_sent_again() {
    for (dedupes, call) in [(true, call(Access::Write)), (false, keyed_write())] {
        let cluster = Cluster::with(["a1", "a2", "b1"], Setup { dedupes, ..Setup::default() });
        cluster.all_learn(owners());
        cluster.faults.set("a2", "a1", Fault::LoseReplies);
        let error = cluster.call("a2", call).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Ambiguous);
        assert!(error.to_string().contains("it may have been executed, or not"), "{error}");
        assert_eq!(error.attempts, 1);
        assert_eq!(cluster.log().executed.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_not_ready_is_left_alone_for_as_long_as_it_asked() {
    for access in Access::ALL {
        let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
        let wait = Duration::from_millis(300);
        cluster.node("b1").service.first(Behaviour::decline(Execution::No, wait));
        let began = Instant::now();
        let served = Served::of(&cluster.call("a1", call(access)).await);
        assert_eq!(served, Served::by_primary("b1", 1, 5).after(2), "{access}");
        assert!((wait..wait + Duration::from_millis(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn other_owners_serve_a_read_meanwhile() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], owners());
    cluster.node("a1").service.first(Behaviour::decline(Execution::No, Duration::from_secs(5)));
    let began = Instant::now();
    assert_eq!(Served::of(&cluster.read("a2").await), Served::by_replica("b1", 1, 5).after(2));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_may_have_executed_leaves_a_write_ambiguous_and_a_read_to_others() {
    for entry in ["a1", "a2"] {
        let cluster = Cluster::knowing(["a1", "a2", "b1"], owners());
        let maybe = Behaviour::decline(Execution::Maybe, Duration::ZERO);
        cluster.node("a1").service.always(maybe);
        let error = cluster.write(entry).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Ambiguous);
        assert_eq!(error.trail[0].outcome, Outcome::MaybeSent);
        assert!(error.to_string().contains("declined on purpose"), "{error}");
        assert_eq!(Served::of(&cluster.read(entry).await).by, "b1");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_is_an_answer_and_returned_untouched() {
    let cluster = Cluster::knowing(["a1", "a2", "b1", "c1"], owners());
    cluster.node("a1").service.always(Behaviour::Fail);
    cluster.faults.set("c1", "a1", Fault::Cut);
    for (entry, hops, attempts) in [("a1", 0, 1), ("a2", 1, 1), ("c1", 2, 2)] {
        let answer = cluster.write(entry).await;
        assert_eq!(Served::of(&answer), Served::by_primary("a1", hops, 5).after(attempts), "{entry}");
        let response = answer.unwrap().response;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no such key");
    }
    assert_eq!(cluster.log().executed.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_connection_lost_in_the_middle_is_maybe_sent() {
    for access in [Access::Write, Access::Read] {
        let cluster = Cluster::knowing(["a1", "a2", "b1"], owners());
        cluster.node("a1").service.always(Behaviour::hang());
        let lost = async {
            cluster.until("a1 executes", |log| log.executed.len() == 1).await;
            cluster.faults.disconnect("a2", "a1");
        };
        let (answer, ()) = tokio::join!(cluster.call("a2", call(access)), lost);
        match access {
            Access::Write => assert_eq!(answer.unwrap_err().verdict, Verdict::Ambiguous),
            _ => assert_eq!(Served::of(&answer), Served::by_replica("b1", 1, 5).after(2)),
        }
        cluster.until("a1 gave up", |log| log.given_up == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_older_than_a_call_allows_is_none() {
    let cluster = Cluster::knowing(["a1", "a2", "b1"], group(5, &["b1", "a1"]));
    let (old, new) = (Duration::from_secs(2), Duration::from_secs(1));
    let within = |max_age| Call { max_age, ..call(Access::Read) };
    cluster.node("a1").service.always(Behaviour::Aged(old));
    let any = cluster.call("a2", within(None)).await;
    assert_eq!(Served::of(&any), Served::by_replica("a1", 1, 5));
    assert_eq!(any.unwrap().head.age, Some(old));
    let served = cluster.call("a2", within(Some(old))).await;
    assert_eq!(Served::of(&served), Served::by_replica("a1", 1, 5));
    let served = cluster.call("a2", within(Some(new))).await;
    assert_eq!(Served::of(&served), Served::by_primary("b1", 1, 5).after(2));
    assert_eq!(served.unwrap().head.age, None);
    // A service that says nothing of its age can't keep the bound at a replica.
    cluster.node("a1").service.always(Behaviour::Answer);
    assert_eq!(Served::of(&cluster.call("a2", within(Some(old))).await).by, "b1");
}
