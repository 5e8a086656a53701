//! Calls against nodes that do anything at any time: whatever they do, the rules of failover hold.

use std::collections::HashMap;
use std::time::Duration;

use homing_failover::{
    Action, Attempted, BudgetLimits, Call, Candidate, Limits, MAX_FOLLOWS, MAX_TRAIL, Planned, Report,
    Shared, Standing, Terms, Tier, Verdict,
};
use homing_types::{Access, NodeId, Outcome, Time};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// What a node does with one attempt.
#[derive(Debug, Clone)]
struct Reply {
    outcome: Outcome,
    /// How much of the attempt's timeout it takes, in per cent. Timers fire late.
    takes: u32,
    retry_after: Option<Duration>,
    taught: bool,
}

/// A call, the plans that it gets and the replies that it hears, both in turn and over again.
#[derive(Debug, Clone)]
struct Script {
    access: Access,
    keyed: bool,
    retry: bool,
    burst: u32,
    max_attempts: u32,
    deadline: Duration,
    plans: Vec<Vec<u8>>,
    replies: Vec<Reply>,
    seed: u64,
}

/// What the driver saw of one attempt.
struct Sent {
    node: NodeId,
    at: Time,
    outcome: Outcome,
    replied: Time,
    retry_after: Option<Duration>,
}

struct Run {
    verdict: Verdict,
    ended: Time,
    sent: Vec<Sent>,
    retries: u32,
    plans: u32,
    most_follows: u32,
    trail: Vec<Attempted>,
    omitted: u32,
}

impl Script {
    /// Drives the call as a router would.
    fn run(&self) -> Run {
        let deadline = Time::ZERO + self.deadline;
        let limits = Limits { max_attempts: self.max_attempts, ..Limits::default() };
        let Self { access, keyed, retry, .. } = *self;
        let mut call = Call::new(limits, Terms { access, keyed, retry, started: Time::ZERO, deadline });
        let mut shared = Shared::new(BudgetLimits { burst: self.burst, ..BudgetLimits::default() });
        let mut rng = StdRng::seed_from_u64(self.seed);
        let (mut plans, mut replies) = (self.plans.iter().cycle(), self.replies.iter().cycle());
        let (mut now, mut planned, mut most_follows, mut sent) = (Time::ZERO, 0, 0, Vec::new());
        let verdict = loop {
            match call.next(now, &mut shared, &mut rng) {
                Action::Plan => {
                    planned += 1;
                    assert!(planned < 10_000, "the call spins");
                    call.plan(plan(plans.next().expect("a plan"), self.access));
                }
                Action::Attempt { candidate: Candidate { node, .. }, timeout, .. } => {
                    assert!(now < deadline && now + timeout <= deadline, "an attempt outlives its call");
                    let reply = replies.next().expect("a reply");
                    let at = now;
                    now = now + timeout * reply.takes / 100;
                    let Reply { outcome, retry_after, taught, .. } = *reply;
                    let report =
                        Report { node: node.clone(), outcome, retry_after, taught, reason: String::new() };
                    call.attempted(report, now);
                    most_follows = most_follows.max(call.follows());
                    sent.push(Sent { node, at, outcome, replied: now, retry_after });
                }
                Action::Wait { until, .. } => {
                    assert!(now < until && until < deadline, "a gap goes back or passes the deadline");
                    now = until;
                }
                Action::Finish(verdict) => break verdict,
            }
        };
        assert_eq!(call.attempts() as usize, sent.len());
        let retries = call.retries();
        let (trail, omitted) = call.into_trail();
        Run { verdict, retries, ended: now, sent, plans: planned, most_follows, trail, omitted }
    }

    fn repeatable(&self) -> bool {
        self.access.is_read() || self.keyed
    }
}

fn plan(nodes: &[u8], access: Access) -> Vec<Planned> {
    let candidate = |(i, node): (usize, &u8)| Candidate {
        node: NodeId::new(&format!("n{node}")).expect("a node id"),
        tier: Tier::Zone,
        relay: i > 0 && !access.any_replica(),
    };
    nodes
        .iter()
        .enumerate()
        .map(candidate)
        .map(|candidate| Planned { candidate, standing: Standing::default(), why: "test".into() })
        .collect()
}

fn replies() -> impl Strategy<Value = Reply> {
    let retry_after = prop_oneof![
        Just(None),
        Just(Some(Duration::ZERO)),
        (1_u64..3_000).prop_map(|ms| Some(Duration::from_millis(ms))),
        Just(Some(Duration::MAX)),
    ];
    let takes = prop_oneof![Just(0), 0_u32..=110];
    let outcome = prop_oneof![4 => prop::sample::select(&Outcome::ALL[..6]), 1 => Just(Outcome::Refused)];
    (outcome, takes, retry_after, any::<bool>()).prop_map(|(outcome, takes, retry_after, taught)| Reply {
        outcome,
        takes,
        retry_after,
        taught,
    })
}

fn scripts() -> impl Strategy<Value = Script> {
    let nodes = prop::sample::subsequence((0..8).collect::<Vec<u8>>(), 0..=8).prop_shuffle();
    (
        prop::sample::select(&Access::ALL[..]),
        any::<bool>(),
        prop_oneof![3 => Just(false), 1 => Just(true)],
        prop_oneof![Just(BudgetLimits::default().burst), 0_u32..5],
        prop_oneof![Just(Limits::default().max_attempts), 0_u32..20],
        (0_u64..12_000).prop_map(Duration::from_millis),
        prop::collection::vec(nodes, 1..4),
        prop::collection::vec(replies(), 1..12),
        any::<u64>(),
    )
        .prop_map(|(access, keyed, retry, burst, max_attempts, deadline, plans, replies, seed)| Script {
            access,
            keyed,
            retry,
            burst,
            max_attempts,
            deadline,
            plans,
            replies,
            seed,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_call_ends_by_its_deadline_and_its_effort_is_bounded(script in scripts()) {
        let run = script.run();
        let last_reply = run.sent.last().map(|sent| sent.replied).unwrap_or_default();
        prop_assert!(run.ended <= last_reply.max(Time::ZERO + script.deadline));
        prop_assert!(run.sent.len() <= script.max_attempts as usize);
        prop_assert!(run.most_follows <= MAX_FOLLOWS);
        prop_assert!(run.plans <= 1_000, "{} plans", run.plans);
    }

    #[test]
    fn nothing_is_sent_again_that_must_not_be(script in scripts()) {
        let run = script.run();
        let Some((_, before)) = run.sent.split_last() else { return Ok(()) };
        for sent in before {
            prop_assert_ne!(sent.outcome, Outcome::Refused);
            prop_assert!(sent.outcome != Outcome::MaybeSent || script.repeatable());
        }
    }

    /// An attempt after one that somebody may have worked on is a retry: a call that is one already gets none, and all
    /// others pay.
    #[test]
    fn retries_are_paid_for_and_a_retry_gets_none(script in scripts()) {
        let run = script.run();
        let worked = |sent: &&Sent| !matches!(sent.outcome, Outcome::NotSent | Outcome::NotOwner);
        let after_work = run.sent.split_last().map_or(0, |(_, before)| before.iter().filter(worked).count());
        prop_assert!(run.retries as usize >= after_work);
        prop_assert!(!script.retry || run.retries == 0);
        let earned = script.burst as f64 + 0.2 + 10.0 * run.ended.since(Time::ZERO).as_secs_f64();
        prop_assert!(f64::from(run.retries) <= earned + 1e-6, "{} of {earned}", run.retries);
    }

    #[test]
    fn no_node_is_tried_before_the_time_that_it_asked_for(script in scripts()) {
        let mut rests = HashMap::new();
        for sent in script.run().sent {
            let rest = rests.get(&sent.node).copied().unwrap_or_default();
            prop_assert!(rest <= sent.at, "{} rests until {rest:?}, tried at {:?}", sent.node, sent.at);
            if matches!(sent.outcome, Outcome::NotReady | Outcome::Overloaded) {
                rests.insert(sent.node, sent.replied + sent.retry_after.unwrap_or_default());
            }
        }
    }

    #[test]
    fn the_verdict_never_hides_that_a_write_may_have_been_executed(script in scripts()) {
        let run = script.run();
        let maybe = script.access == Access::Write && run.sent.iter().any(|s| s.outcome == Outcome::MaybeSent);
        prop_assert_eq!(run.verdict == Verdict::Ambiguous, maybe, "{:?}", run.verdict);
    }

    #[test]
    fn the_trail_is_bounded_and_counts_what_it_lacks(script in scripts()) {
        let run = script.run();
        prop_assert!(run.trail.len() <= MAX_TRAIL);
        prop_assert_eq!(run.trail.len() + run.omitted as usize, run.sent.len());
        let ends = run.sent.first().zip(run.sent.last());
        let kept = run.trail.first().zip(run.trail.last());
        prop_assert_eq!(ends.map(|(a, b)| (&a.node, &b.node)), kept.map(|(a, b)| (&a.node, &b.node)));
    }
}

/// The generator above must reach what the properties are about, or they hold of nothing.
#[test]
fn the_scripts_reach_every_verdict_and_long_calls() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let runs: Vec<_> = (0..2_000).map(|_| scripts().new_tree(&mut runner).unwrap().current().run()).collect();
    let share = |what: &dyn Fn(&Run) -> bool| runs.iter().filter(|run| what(run)).count();
    assert!(share(&|run| matches!(run.verdict, Verdict::Expired { .. })) > 100);
    assert!(share(&|run| matches!(run.verdict, Verdict::Exhausted { .. })) > 100);
    assert!(share(&|run| run.verdict == Verdict::Ambiguous) > 100);
    assert!(share(&|run| run.verdict == Verdict::Refused) > 100);
    assert!(share(&|run| run.sent.len() > MAX_TRAIL) > 100);
    assert!(share(&|run| run.most_follows == MAX_FOLLOWS) > 100);
}
