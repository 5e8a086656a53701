//! Every call ends by its deadline, with an error that names what was tried.

use std::sync::Arc;
use std::time::Duration;

use homing_failover::Verdict;
use homing_router::{Call, CallError, Gate};
use homing_transport::{Head, Kind};
use homing_types::{Access, Outcome, Role, SpaceKey};
use http_body_util::BodyExt;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::support::{
    Behaviour, Cluster, Fault, Served, Setup, call_within, eventually, fed, group, large_group, routed,
    settle,
};

const DEADLINE: Duration = Duration::from_millis(500);

/// Calls with [`DEADLINE`] and returns the error, which comes in time.
async fn fails(cluster: &Cluster, entry: &str, access: Access) -> CallError {
    let began = Instant::now();
    let error = cluster.call(entry, call_within(access, DEADLINE)).await.expect_err("no answer");
    // A timer of tokio may fire up to a millisecond late.
    assert!(began.elapsed() <= DEADLINE + Duration::from_millis(1), "{:?}: {error}", began.elapsed());
    assert!(error.to_string().contains("acme"), "{error}");
    error
}

fn names(error: &CallError, parts: &[&str]) {
    let text = error.to_string();
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text:?}");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_owners_are_all_dead_names_them() {
    let mut cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
    cluster.kill("b1");
    cluster.kill("c1");
    for access in Access::ALL {
        let error = fails(&cluster, "a1", access).await;
        assert_eq!(
            error.verdict,
            Verdict::Expired { last: Some(Outcome::NotSent) },
            "{access}: not executed"
        );
        assert!(!error.starved, "{error}");
        names(&error, &["b1", "c1", "not-sent", "connection refused", access.as_str()]);
        assert_eq!(error.attempts as usize, error.trail.len() + error.omitted as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_owners_all_hang_ends_in_time() {
    for entry in ["a1", "b1"] {
        let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
        for id in ["b1", "c1"] {
            cluster.node(id).service.always(Behaviour::hang());
        }
        let error = fails(&cluster, entry, Access::Read).await;
        assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::MaybeSent) }, "at {entry}");
        names(&error, &["b1", "c1", "maybe-sent"]);
        let error = fails(&cluster, entry, Access::Write).await;
        assert_eq!(error.verdict, Verdict::Ambiguous, "at {entry}");
        names(&error, &["b1", "maybe-sent"]);
        settle().await;
        let log = cluster.log();
        assert_eq!(log.given_up, log.executed.len(), "nobody works on past the deadline");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_nothing_is_known_and_nobody_reached_names_whom_it_asked() {
    let mut cluster = Cluster::of(["a1", "b1", "c1"]);
    cluster.kill("b1");
    cluster.kill("c1");
    let error = fails(&cluster, "a1", Access::Write).await;
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotSent) });
    names(&error, &["b1", "c1", "connection refused"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_which_nobody_knows_anything_says_so() {
    let error = fails(&Cluster::of(["a1", "b1", "c1"]), "a1", Access::Read).await;
    names(&error, &["b1", "c1", "not-owner"]);
    let error = fails(&Cluster::of(["a1"]), "a1", Access::Read).await;
    names(&error, &["a1", "not-owner", "nobody to ask"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_after_its_deadline_is_not_executed() {
    let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
    for entry in ["a1", "b1"] {
        let error = cluster.call(entry, call_within(Access::Write, Duration::ZERO)).await.unwrap_err();
        assert_eq!(error.verdict, Verdict::Expired { last: None });
    }
    assert_eq!(cluster.log().executed, []);
    assert_eq!(cluster.faults.crossings().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_an_owner_learns_too_late_it_does_not_execute() {
    let cluster = Cluster::of(["a1", "b1"]);
    cluster.learns("a1", group(6, &["b1"]));
    let arrive = Arc::new(Semaphore::new(0));
    cluster.faults.set("b1", "a1", Fault::HoldDirect(Arc::clone(&arrive)));
    fails(&cluster, "a1", Access::Write).await;
    arrive.add_permits(1);
    eventually("b1 has learned", || cluster.epoch("b1") == 6).await;
    settle().await;
    assert_eq!(cluster.log().executed, []);
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_hangs_does_not_hold_a_call_past_its_deadline() {
    let cluster = Cluster::of(["a1", "b1", "b2", "c1", "c2"]);
    for (id, epoch, owner) in [("a1", 1, "b1"), ("b1", 2, "b2"), ("b2", 3, "c1")] {
        cluster.learns(id, group(epoch, &[owner]));
    }
    // At the last hop, and too large to travel back with the reply.
    cluster.learns("c1", large_group(4, &["c2"]));
    cluster.faults.set("a1", "b1", Fault::HoldDirect(Arc::new(Semaphore::new(0))));
    let error = fails(&cluster, "a1", Access::Write).await;
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotOwner) }, "{error}");
    assert_eq!(cluster.log().executed, []);
}

#[tokio::test(start_paused = true)]
async fn what_a_service_says_by_the_time_it_was_told_is_heard() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    for (id, epoch, owner) in [("a1", 5, "b1"), ("b1", 5, "b1"), ("c1", 4, "a1")] {
        cluster.learns(id, group(epoch, &[owner]));
    }
    cluster.node("b1").service.always(Behaviour::DeclineInTime);
    // By way of a node that knows better, and in one hop.
    for entry in ["c1", "a1"] {
        let error = fails(&cluster, entry, Access::ReadPrimary).await;
        assert_eq!(error.trail[0].outcome, Outcome::NotReady, "at {entry}: {error}");
        // The last of them have less time than a timer can tell apart.
        let mut tried = error.trail.iter().filter(|tried| tried.after < DEADLINE * 9 / 10);
        assert!(tried.all(|tried| tried.outcome != Outcome::MaybeSent), "at {entry}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_of_the_entry_itself_is_told_by_when_another_is_asked() {
    let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1", "a1"]));
    cluster.node("b1").service.first(Behaviour::DeclineInTime);
    let began = Instant::now();
    let answer = cluster.call("b1", call_within(Access::Read, DEADLINE)).await.unwrap();
    assert_eq!(Served::of(&Ok(answer)).by, "a1");
    assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_that_nobody_waits_for_any_more_sends_nothing() {
    let cluster = Cluster::of(["a1", "b1", "c1"]);
    for (id, epoch) in [("a1", 5), ("b1", 7), ("c1", 7)] {
        cluster.learns(id, group(epoch, &["c1"]));
    }
    let pulled = Arc::new(Semaphore::new(0));
    cluster.faults.set("a1", "b1", Fault::HoldDirect(Arc::clone(&pulled)));
    let kind = Kind::Routed(routed(Access::Write, 6));
    let head = Head { reply_within: Some(DEADLINE / 2), ..Head::of(kind) };
    let (reply, ()) = tokio::join!(cluster.says("b1", "a1", head), async {
        tokio::time::sleep(DEADLINE).await;
        pulled.add_permits(1);
    });
    assert_eq!(cluster.epoch("a1"), 7);
    assert_eq!(reply.head.outcome, Some(Outcome::Expired), "{}", reply.head.reason);
    assert_eq!(cluster.log().executed, []);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_reply_nobody_awaits_any_more_has_ended_though_its_body_might_take_longer() {
    let cluster = Cluster::knowing(["a1", "b1"], group(5, &["b1"]));
    cluster.node("b1").service.always(Behaviour::hang());
    let reply_by = Some(Instant::now() + DEADLINE);
    let within = Call { reply_by, ..call_within(Access::Read, 4 * DEADLINE) };
    let error = cluster.call("a1", within).await.unwrap_err();
    assert!(Some(Instant::now()) <= reply_by, "{error}");
    cluster.node("b1").service.always(Behaviour::Stream);
    let reply_by = Some(Instant::now() + DEADLINE);
    let (sender, body) = fed();
    let within = Call { reply_by, ..call_within(Access::Read, 4 * DEADLINE) };
    let answer = cluster.send("a1", within, body).await.unwrap();
    tokio::time::sleep(2 * DEADLINE).await;
    drop(sender);
    answer.response.into_body().collect().await.expect("the body has until the deadline");
}

/// Holds the writes of every space.
struct NoWrites;

impl Gate for NoWrites {
    fn closed(&self, _: SpaceKey, role: Role) -> Option<Duration> {
        (role == Role::Primary).then_some(Duration::from_millis(100))
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_holds_what_it_holds_and_nothing_else() {
    let setup = Setup { gate: Arc::new(NoWrites), ..Setup::default() };
    let cluster = Cluster::with(["a1", "b1", "c1"], setup);
    cluster.all_learn(group(5, &["b1", "c1"]));
    let error = fails(&cluster, "a1", Access::Write).await;
    assert_eq!(error.verdict, Verdict::Expired { last: Some(Outcome::NotReady) });
    names(&error, &["b1", "holds its requests back"]);
    assert_eq!(Served::of(&cluster.read("a1").await).by, "c1");
    assert_eq!(cluster.log().effects, 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_its_execution_wherever_it_runs() {
    for (entry, cut) in [("b1", false), ("a1", false), ("a1", true)] {
        let cluster = Cluster::knowing(["a1", "b1", "c1"], group(5, &["b1", "c1"]));
        cluster.node("b1").service.always(Behaviour::hang());
        if cut {
            cluster.faults.set("a1", "b1", Fault::Cut);
        }
        tokio::select! {
            _ = cluster.write(entry) => panic!("the service hangs"),
            () = cluster.until("b1 executes", |log| log.executed.len() == 1) => {}
        }
        cluster.until("b1 gave up", |log| log.given_up == 1).await;
        eventually("all is quiet", || cluster.ids().all(|id| cluster.node(id).router.in_flight() == 0)).await;
    }
}
