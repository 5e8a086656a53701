//! One seed is one run.

use homing_sim::{Plan, regressions, run, shrink};

fn hash(seed: u64) -> u64 {
    run(&Plan::draw(seed)).story.hash()
}

#[test]
fn a_seed_is_the_same_run_every_time_and_another_seed_another() {
    let first = hash(7);
    for _ in 1..10 {
        assert_eq!(hash(7), first);
    }
    assert_ne!(hash(8), first);
}

/// Each known-bad twin breaks one of them, which `cargo xtask test` holds. Some are found by one seed in fifty, and which that is changes with each
/// change of what is drawn: with a twin, so many are made that one of them finds it.
#[test]
fn the_first_seeds_and_the_regressions_break_no_rule() {
    let seeds = if std::env::var_os("HOMING_TWIN").is_some() { 500 } else { 40 };
    let first = (0..seeds).map(|seed| (Plan::draw(seed), "one of the first"));
    for (plan, what) in regressions().into_iter().chain(first) {
        assert_eq!(run(&plan).violations, [], "{what}: {plan:?}");
    }
}

#[test]
fn a_run_that_breaks_nothing_is_not_shrunk() {
    let plan = Plan::draw(3);
    assert_eq!(shrink(&plan).faults, plan.faults);
}
