//! The model: nothing is found in it, and something as soon as a rule is left out.

use std::time::Duration;

use homing_sim::{Bounds, Explored, Guard, explore};

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_small_cluster_keeps_all_rules() {
    let bounds = Bounds { epochs: 2, crashes: 0, ..Bounds::KEYED };
    let explored = explore(bounds, None, LONG, |_| ());
    assert!(explored.complete && explored.problems.is_empty(), "{:?}", explored.problems);
    assert!(explored.states > 10_000, "{explored:?}");
}

/// The fence needs more states than a debug build likes: `cargo xtask sim --model` looks at all of them, it too.
#[test]
fn without_a_guard_there_is_a_counterexample() {
    for guard in Guard::ALL.into_iter().filter(|guard| *guard != Guard::Fence) {
        let explored = without(guard);
        let found = explored.problems.iter().any(|problem| problem.what == guard.breaks());
        assert!(found, "nobody would notice that {guard:?} is missing: {explored:?}");
    }
}

/// Every call ends, and nothing is wrong with what was said: only a new call shows that nobody is served any more.
#[test]
fn a_tail_that_stays_breaks_nothing_but_the_fair_schedule() {
    let explored = without(Guard::TailFirst);
    let whats: Vec<_> = explored.problems.iter().map(|problem| &problem.what[..]).collect();
    assert_eq!(whats, [Guard::TailFirst.breaks()]);
}

fn without(guard: Guard) -> Explored {
    explore(guard.bounds(), Some(guard), LONG, |_| ())
}
