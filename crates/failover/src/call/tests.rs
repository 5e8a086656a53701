use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::{BudgetLimits, Standing};

const READ: (Access, bool) = (Access::Read, false);
const WRITE: (Access, bool) = (Access::Write, false);
const KEYED_WRITE: (Access, bool) = (Access::Write, true);
const DEADLINE: Duration = Duration::from_secs(10);

/// A call and its driver, told step by step. Time stands still unless a step moves it.
struct Story {
    call: Call,
    access: Access,
    now: Time,
    shared: Shared,
    rng: StdRng,
}

impl Story {
    fn of((access, keyed): (Access, bool)) -> Self {
        Self::on(Terms { access, keyed, retry: false, started: Time::ZERO, deadline: Time::ZERO + DEADLINE })
    }

    /// A read that is somebody's retry already, or not.
    fn of_read(retry: bool) -> Self {
        let (started, deadline) = (Time::ZERO, Time::ZERO + DEADLINE);
        Self::on(Terms { access: Access::Read, keyed: false, retry, started, deadline })
    }

    fn on(terms: Terms) -> Self {
        let call = Call::new(Limits::default(), terms);
        let shared = Shared::new(BudgetLimits::default());
        Self { call, access: terms.access, now: Time::ZERO, shared, rng: StdRng::seed_from_u64(3) }
    }

    /// With no token left, and none to come but by calls.
    fn poor(mut self) -> Self {
        self.shared = Shared::new(BudgetLimits { burst: 0, per_second: 0, ..BudgetLimits::default() });
        self
    }

    /// Where reads are answered within 10 ms.
    fn measured(mut self) -> Self {
        for _ in 0..100 {
            self.shared.timer.observe(ms(10));
        }
        self
    }

    fn next(&mut self) -> Action {
        self.call.next(self.now, &mut self.shared, &mut self.rng)
    }

    /// The call wants a plan and gets these nodes; all but the first are relays if only a primary serves.
    fn plans(&mut self, nodes: &[&str]) {
        self.plans_at(Tier::Zone, nodes);
    }

    fn plans_at(&mut self, tier: Tier, nodes: &[&str]) {
        assert_eq!(self.next(), Action::Plan);
        let relays = !self.access.any_replica();
        let planned = nodes
            .iter()
            .enumerate()
            .map(|(i, node)| planned(Candidate { node: id(node), tier, relay: relays && i > 0 }));
        self.call.plan(planned.collect());
    }

    /// The call tries this node, which ends so.
    fn tries(&mut self, node: &str, outcome: Outcome) {
        self.tries_and_hears(node, outcome, None, false);
    }

    fn is_corrected_by(&mut self, node: &str) {
        self.tries_and_hears(node, Outcome::NotOwner, None, true);
    }

    fn is_put_off_by(&mut self, node: &str, outcome: Outcome, retry_after: Duration) {
        self.tries_and_hears(node, outcome, Some(retry_after), false);
    }

    fn tries_and_hears(&mut self, node: &str, outcome: Outcome, retry_after: Option<Duration>, taught: bool) {
        let Action::Attempt { candidate, .. } = self.next() else { panic!("no attempt at {node}") };
        assert_eq!(candidate.node, id(node));
        self.hears(node, outcome, retry_after, taught);
    }

    fn hears(&mut self, node: &str, outcome: Outcome, retry_after: Option<Duration>, taught: bool) {
        let report = Report { node: id(node), outcome, retry_after, taught, reason: String::new() };
        self.call.attempted(report, self.now);
    }

    /// The call waits; the gap is over afterwards, and told.
    fn waits(&mut self) -> Duration {
        let Action::Wait { until, starved, .. } = self.next() else { panic!("no gap") };
        assert!(!starved, "it waits for the budget");
        self.passes(until)
    }

    /// The call waits for the budget; the gap is over afterwards, and told.
    fn starves(&mut self) -> Duration {
        let Action::Wait { until, starved, .. } = self.next() else { panic!("no gap") };
        assert!(starved, "it waits for something else");
        self.passes(until)
    }

    fn passes(&mut self, until: Time) -> Duration {
        let gap = until.since(self.now);
        self.now = until;
        gap
    }

    fn timeout(&mut self) -> Duration {
        let Action::Attempt { timeout, .. } = self.next() else { panic!("no attempt") };
        timeout
    }

    fn hedge_after(&mut self) -> Option<Duration> {
        let Action::Attempt { hedge_after, .. } = self.next() else { panic!("no attempt") };
        hedge_after
    }

    fn ends(&mut self, verdict: Verdict) {
        assert_eq!(self.next(), Action::Finish(verdict));
        self.hears("late", Outcome::NotOwner, None, true);
        assert_eq!(self.next(), Action::Finish(verdict), "what is over stays over");
    }
}

fn planned(candidate: Candidate) -> Planned {
    Planned { candidate, standing: Standing::default(), why: "test".into() }
}

fn id(id: &str) -> NodeId {
    NodeId::new(id).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn what_was_not_sent_goes_to_the_next_candidate_at_once_and_all_over_after_a_gap() {
    for kind in [READ, WRITE, KEYED_WRITE] {
        let mut story = Story::of(kind);
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::NotSent);
        story.tries("b", Outcome::Expired);
        assert!(story.waits() <= ms(10));
        story.plans(&["b"]);
        story.tries("b", Outcome::NotSent);
        assert_eq!(story.call.attempts(), 3);
    }
}

#[test]
fn what_was_maybe_sent_is_sent_again_only_if_that_does_no_harm() {
    for kind in [READ, KEYED_WRITE] {
        let mut story = Story::of(kind);
        story.plans(&["a", "b"]);
        story.tries("a", Outcome::MaybeSent);
        story.tries("b", Outcome::MaybeSent);
    }
    let mut story = Story::of(WRITE);
    story.plans(&["a", "b"]);
    story.tries("a", Outcome::MaybeSent);
    story.ends(Verdict::Ambiguous);
}

#[test]
fn a_write_that_may_have_been_executed_stays_ambiguous_to_the_end() {
    let mut refused = Story::of(KEYED_WRITE);
    refused.plans(&["a", "b"]);
    refused.tries("a", Outcome::MaybeSent);
    refused.tries("b", Outcome::Refused);
    refused.ends(Verdict::Ambiguous);

    let mut late = Story::of(KEYED_WRITE);
    late.plans(&["a", "b"]);
    late.tries("a", Outcome::MaybeSent);
    late.tries("b", Outcome::NotSent);
    late.now = Time::ZERO + DEADLINE;
    late.ends(Verdict::Ambiguous);

    let mut read = Story::of(READ);
    read.plans(&["a", "b"]);
    read.tries("a", Outcome::MaybeSent);
    read.tries("b", Outcome::NotSent);
    read.now = Time::ZERO + DEADLINE;
    read.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
}

#[test]
fn a_correction_is_followed_without_a_gap() {
    let mut story = Story::of(WRITE);
    story.plans(&["old", "b"]);
    story.is_corrected_by("old");
    assert_eq!(story.call.follows(), 1);
    story.plans(&["new", "b"]);
    story.tries("new", Outcome::NotSent);
    story.tries("b", Outcome::NotSent);
}

#[test]
fn no_owner_and_no_correction_means_the_next_candidate() {
    let mut story = Story::of(READ);
    story.plans(&["a", "b"]);
    story.tries("a", Outcome::NotOwner);
    story.tries("b", Outcome::NotOwner);
    story.waits();
    story.plans(&[]);
}

#[test]
fn corrections_that_go_in_circles_run_into_a_gap() {
    let mut story = Story::of(WRITE);
    for _ in 0..MAX_FOLLOWS {
        story.plans(&["a", "b"]);
        story.is_corrected_by("a");
    }
    story.plans(&["a", "b"]);
    story.is_corrected_by("a");
    story.waits();
    story.plans(&["a", "b"]);
    assert_eq!(story.call.follows(), 0);
    story.is_corrected_by("a");
    story.plans(&["b"]);
}

#[test]
fn a_retry_after_is_honoured_while_others_are_tried() {
    let mut story = Story::of(READ);
    story.plans(&["a", "b"]);
    story.is_put_off_by("a", Outcome::NotReady, ms(500));
    story.is_put_off_by("b", Outcome::Overloaded, ms(200));
    assert_eq!(story.waits(), ms(200), "until the first of both may be tried again");
    story.plans(&["a", "b"]);
    story.tries("b", Outcome::NotSent);
    while story.now < Time::ZERO + ms(500) {
        story.waits();
        story.plans(&["a"]);
    }
    story.tries("a", Outcome::NotSent);
}

#[test]
fn relays_may_know_the_successor_of_a_primary_that_is_not_ready_but_not_spare_one_that_is_overloaded() {
    let mut story = Story::of(WRITE);
    story.plans(&["a", "b"]);
    story.is_put_off_by("a", Outcome::NotReady, ms(100));
    story.tries("b", Outcome::NotSent);

    let mut story = Story::of(WRITE);
    story.plans(&["a", "b", "c"]);
    story.is_put_off_by("a", Outcome::Overloaded, ms(100));
    assert_eq!(story.waits(), ms(100));

    let mut story = Story::of(WRITE);
    story.plans(&["a", "b", "c"]);
    story.tries("a", Outcome::NotSent);
    story.is_put_off_by("b", Outcome::Overloaded, ms(100));
    story.tries("c", Outcome::NotSent);
}

#[test]
fn a_call_that_can_do_nothing_more_before_its_deadline_ends_at_once() {
    let mut story = Story::of(READ);
    story.plans(&["a", "b"]);
    story.is_put_off_by("a", Outcome::NotReady, DEADLINE);
    story.is_put_off_by("b", Outcome::NotReady, Duration::MAX);
    story.ends(Verdict::Expired { last: Some(Outcome::NotReady) });
}

#[test]
fn no_candidate_is_tried_once_the_deadline_has_come() {
    let mut story = Story::of(READ);
    story.plans(&["a", "b"]);
    story.tries("a", Outcome::NotSent);
    story.now = Time::ZERO + DEADLINE;
    story.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
}

#[test]
fn a_gap_that_would_pass_the_deadline_leaves_room_for_a_last_walk() {
    let mut story = Story::of(READ);
    story.call.gaps = u32::MAX;
    story.now = Time::ZERO + DEADLINE.saturating_sub(ms(2));
    story.plans(&["a"]);
    story.tries("a", Outcome::NotSent);
    assert_eq!(story.waits(), ms(1));
    story.plans(&["a"]);
    story.tries("a", Outcome::NotSent);
    story.ends(Verdict::Expired { last: Some(Outcome::NotSent) });
}

#[test]
fn gaps_grow_until_the_deadline_when_nothing_is_known() {
    let mut story = Story::of(READ);
    let mut gaps = Vec::new();
    while story.next() == Action::Plan {
        story.call.plan(Vec::new());
        if let Action::Wait { until, .. } = story.next() {
            gaps.push(until.since(story.now));
            story.now = until;
        }
        assert!(gaps.len() < 1_000, "the call spins");
    }
    story.ends(Verdict::Expired { last: None });
    assert!(story.now > Time::ZERO + DEADLINE / 2, "{gaps:?}");
    assert!(gaps[..3].iter().all(|gap| *gap <= ms(40)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap > ms(320)), "{gaps:?}");
}

#[test]
fn an_attempt_leaves_time_for_another_one_unless_there_can_be_none() {
    for (kind, at_first, at_last) in
        [(READ, ms(2_000), ms(500)), (KEYED_WRITE, ms(2_000), ms(500)), (WRITE, DEADLINE, ms(1_000))]
    {
        let mut story = Story::of(kind);
        story.plans(&["a", "b"]);
        assert_eq!(story.timeout(), at_first);
        story.now = Time::ZERO + ms(9_000);
        assert_eq!(story.timeout(), at_last);
    }
}

#[test]
fn a_plan_that_comes_unasked_ends_the_wait() {
    let mut story = Story::of(READ);
    story.plans(&["a"]);
    story.is_put_off_by("a", Outcome::NotReady, ms(1_000));
    assert!(matches!(story.next(), Action::Wait { .. }));
    story.call.plan(vec![planned(Candidate { node: id("b"), tier: Tier::Far, relay: false })]);
    story.tries("b", Outcome::NotSent);
}

#[test]
fn a_request_that_cannot_be_sent_again_ends_as_its_attempts_left_it() {
    for (outcome, verdict) in [
        (Outcome::NotReady, Verdict::Exhausted { last: Some(Outcome::NotReady) }),
        (Outcome::MaybeSent, Verdict::Ambiguous),
    ] {
        let mut story = Story::of(KEYED_WRITE);
        story.plans(&["a", "b"]);
        story.tries("a", outcome);
        story.call.give_up(id("me"), Outcome::NotSent, String::new(), story.now);
        story.ends(verdict);
    }
}

#[test]
fn the_fuse_ends_a_call_whose_attempts_are_used_up() {
    let mut story = Story::of(READ);
    story.call.limits.max_attempts = 1;
    story.plans(&["a", "b"]);
    story.tries("a", Outcome::NotSent);
    story.ends(Verdict::Exhausted { last: Some(Outcome::NotSent) });
}

#[test]
fn a_retry_is_paid_for_and_moving_on_from_who_was_not_reached_is_not() {
    let mut story = Story::of(READ).poor();
    story.plans(&["a", "b", "c"]);
    story.tries("a", Outcome::NotSent);
    story.tries("b", Outcome::MaybeSent);
    story.starves();
    story.plans(&["a"]);
    story.starves();

    let mut story = Story::of(READ);
    story.plans(&["a", "b", "c"]);
    story.tries("a", Outcome::MaybeSent);
    story.tries("b", Outcome::NotSent);
    story.tries("c", Outcome::NotSent);
    assert_eq!(story.call.retries(), 1, "what was paid for and not sent is paid for once");
    story.waits();
    story.plans(&["a"]);
    story.tries("a", Outcome::NotSent);
    assert_eq!(story.call.retries(), 2, "what is tried again is a retry");
}

#[test]
fn a_correction_costs_no_token() {
    let mut story = Story::of(WRITE).poor();
    story.plans(&["old"]);
    story.is_corrected_by("old");
    story.plans(&["new"]);
    story.tries("new", Outcome::NotSent);

    let mut story = Story::of(READ).poor();
    story.plans(&["old"]);
    assert!(matches!(story.next(), Action::Attempt { .. }));
    story.call.overtaken(id("old"), "the owners changed".to_owned(), story.now);
    story.plans(&["new"]);
    story.tries("new", Outcome::NotSent);
}

#[test]
fn a_call_that_waits_for_the_budget_goes_on_once_there_is_a_token() {
    let mut story = Story::of(READ).poor();
    story.plans(&["a"]);
    story.tries("a", Outcome::NotReady);
    story.waits();
    story.plans(&["a"]);
    assert!(story.starves() > Duration::ZERO);
    assert!(story.call.is_starved());
    story.shared = Shared::new(BudgetLimits::default());
    story.plans(&["a"]);
    story.tries("a", Outcome::NotReady);
    assert!(!story.call.is_starved(), "it waited, and then it tried");
}

#[test]
fn a_call_that_is_a_retry_already_gets_none() {
    for outcome in [Outcome::MaybeSent, Outcome::NotReady, Outcome::Overloaded, Outcome::Expired] {
        let mut story = Story::of_read(true).measured();
        story.plans(&["a", "b", "c"]);
        story.tries("a", Outcome::NotSent);
        assert_eq!(story.hedge_after(), None);
        story.hears("b", outcome, None, false);
        story.ends(Verdict::Exhausted { last: Some(outcome) });
    }
}

#[test]
fn a_call_earns_for_others_and_one_that_is_a_retry_pays() {
    for (retry, left) in [(false, 70), (true, 49)] {
        let mut shared =
            Shared::new(BudgetLimits { percent: 2_000, per_second: 0, ..BudgetLimits::default() });
        while shared.budget.left(Time::ZERO) > 50 {
            shared.budget.retry(Time::ZERO, true).unwrap();
        }
        let mut story = Story::of_read(retry);
        story.shared = shared;
        story.plans(&["a"]);
        story.tries("a", Outcome::NotSent);
        assert_eq!(story.shared.budget.left(Time::ZERO), left);
    }
}

/// Else those who retry above a router that has spent its budget would add to what it adds itself.
#[test]
fn a_call_that_is_a_retry_waits_for_the_budget_like_one_of_this_router() {
    let mut story = Story::of_read(true);
    while story.shared.budget.retry(Time::ZERO, false).is_ok() {}
    story.plans(&["a", "b"]);
    assert!(story.starves() > Duration::ZERO, "it took what is kept for this router's own");
    story.shared = Shared::new(BudgetLimits::default());
    story.plans(&["a", "b"]);
    story.tries("a", Outcome::MaybeSent);
    assert_eq!((story.call.attempts(), story.call.retries()), (1, 0));
    story.ends(Verdict::Exhausted { last: Some(Outcome::MaybeSent) });
}

/// Or no caller could ever retry through a router that is told to retry nothing.
#[test]
fn where_the_budget_never_fills_again_a_call_that_is_a_retry_is_free() {
    let mut story = Story::of_read(true);
    story.shared = Shared::new(BudgetLimits { percent: 0, per_second: 0, ..BudgetLimits::default() });
    while story.shared.budget.retry(Time::ZERO, true).is_ok() {}
    story.plans(&["a"]);
    story.tries("a", Outcome::NotSent);
}

#[test]
fn what_a_hedge_teaches_too_is_followed_once_and_nobody_else_is_waited_for() {
    let mut story = Story::of(READ).measured();
    story.plans(&["a", "b"]);
    assert!(story.hedge_after().is_some());
    story.call.hedge(story.now, &mut story.shared).unwrap();
    assert!(story.call.is_walking());
    story.hears("b", Outcome::NotOwner, None, true);
    assert!(!story.call.is_walking());
    story.hears("a", Outcome::NotOwner, None, true);
    assert_eq!(story.call.follows(), 1);
}

#[test]
fn relays_are_asked_once_for_the_successor_of_a_primary_that_is_not_ready() {
    let mut story = Story::of(WRITE);
    story.plans(&["a", "b"]);
    story.is_put_off_by("a", Outcome::NotReady, ms(10));
    story.tries("b", Outcome::NotSent);
    for _ in 0..2 {
        story.waits();
        story.plans(&["a", "b"]);
    }
    story.is_put_off_by("a", Outcome::NotReady, ms(10));
    story.waits();
}

#[test]
fn news_from_elsewhere_are_followed_without_a_token() {
    let mut story = Story::of(WRITE).poor();
    story.plans(&["a"]);
    story.is_put_off_by("a", Outcome::NotReady, ms(10));
    story.waits();
    story.plans(&["a"]);
    assert!(matches!(story.next(), Action::Wait { starved: true, .. }));
    story.call.renew();
    story.call.plan(vec![planned(Candidate { node: id("b"), tier: Tier::Zone, relay: false })]);
    story.tries("b", Outcome::NotReady);
    story.waits();
    story.plans(&["b"]);
    story.starves();
}

#[test]
fn a_read_is_hedged_after_the_measured_time_to_the_next_candidate() {
    let mut story = Story::of(READ).measured();
    story.plans(&["a", "b"]);
    let delay = story.hedge_after().unwrap();
    assert!((ms(9)..ms(12)).contains(&delay), "{delay:?}");
    let hedge = story.call.hedge(story.now, &mut story.shared).unwrap();
    assert_eq!((hedge.node, story.call.attempts()), (id("b"), 2));
    assert_eq!(story.call.hedge(story.now, &mut story.shared), None, "nobody is left");
    story.hears("a", Outcome::MaybeSent, None, false);
    story.hears("b", Outcome::NotSent, None, false);
    story.waits();
    story.plans(&["a"]);
}

#[test]
fn what_cannot_be_hedged_is_not() {
    assert_eq!(
        {
            let mut story = Story::of(READ);
            story.plans(&["a", "b"]);
            story.hedge_after()
        },
        None
    );
    let mut story = Story::of(READ).measured();
    story.plans(&["a"]);
    assert_eq!(story.hedge_after(), None, "there is nobody else");
    for kind in [WRITE, KEYED_WRITE, (Access::ReadPrimary, false)] {
        let mut story = Story::of(kind).measured();
        story.plans(&["a", "b"]);
        assert_eq!(story.hedge_after(), None, "only the primary can do it");
    }
    let mut story = Story::of(READ).measured().poor();
    story.shared.timer = Story::of(READ).measured().shared.timer;
    story.plans(&["a", "b"]);
    assert!(story.hedge_after().is_some());
    assert_eq!(story.call.hedge(story.now, &mut story.shared), None, "the budget is spent");
}

#[test]
fn to_ask_oneself_alone_has_all_the_time_there_is() {
    let mut story = Story::of(READ);
    story.plans_at(Tier::Local, &["me"]);
    assert_eq!(story.timeout(), DEADLINE);
    let mut story = Story::of(READ);
    story.plans_at(Tier::Local, &["me", "b"]);
    assert_eq!(story.timeout(), ms(2_000));
}
