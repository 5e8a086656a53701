//! Known-bad twins: each rule of failover and self-correction is broken once, and a named test must notice.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use crate::cargo;

/// A twin (`homing_types::Twin`) and the test that finds it.
struct Found {
    twin: &'static str,
    package: &'static str,
    /// The name of the test target; empty for the library.
    target: &'static str,
    test: &'static str,
}

const fn found(twin: &'static str, package: &'static str, target: &'static str, test: &'static str) -> Found {
    Found { twin, package, target, test }
}

const TWINS: &[Found] = &[
    found("no-jitter", "homing-failover", "", "backoff::tests::gaps_spread_evenly_over_their_whole_range"),
    found(
        "unkeyed-write-retried",
        "homing-failover",
        "",
        "call::tests::what_was_maybe_sent_is_sent_again_only_if_that_does_no_harm",
    ),
    found(
        "budget-ignored",
        "homing-router",
        "cluster",
        "budget::an_owner_that_fails_everything_gets_a_fifth_more_and_not_a_multiple",
    ),
    found(
        "breaker-never-closes",
        "homing-router",
        "cluster",
        "breakers::a_service_that_fails_is_tried_last_for_this_access_alone_and_comes_back",
    ),
    found(
        "hop-not-counted",
        "homing-router",
        "cluster",
        "paths::a_chain_of_hints_is_followed_for_three_hops_then_the_entry_starts_anew",
    ),
    found(
        "correction-not-applied",
        "homing-router",
        "cluster",
        "learning::a_node_one_epoch_behind_serves_and_learns_from_the_first_reply",
    ),
    found(
        "relay-flag-not-cleared",
        "homing-router",
        "cluster",
        "relays::a_relay_clears_the_flag_so_that_nobody_relays_twice",
    ),
    found("maybe-sent-weakened", "homing-router", "cluster", "relays::who_forwards_tries_once"),
    found(
        "equal-epoch-applied",
        "homing-routing-table",
        "it",
        "conflict::the_first_content_of_an_epoch_stays_and_is_marked_until_a_higher_epoch_comes",
    ),
    found(
        "dedupe-outside-transaction",
        "homing-kv",
        "replication",
        "no_acknowledged_write_is_lost_hidden_or_executed_twice",
    ),
];

/// The simulation finds each of them, too.
const fn simulated(twin: &'static str) -> Found {
    found(twin, "homing-sim", "seeds", "the_first_seeds_and_the_regressions_break_no_rule")
}

/// Runs each test as it is, which must pass, and with its twin, which must fail; then the simulation with each twin.
pub(crate) fn run() -> Result<(), String> {
    for found in TWINS {
        is_content(found)?;
        notices(found)?;
    }
    is_content(&simulated(""))?;
    TWINS.iter().try_for_each(|found| notices(&simulated(found.twin)))
}

fn is_content(found: &Found) -> Result<(), String> {
    passes(found, None).map_err(|output| format!("{} fails without any twin:\n{output}", found.test))
}

fn notices(found: &Found) -> Result<(), String> {
    let Found { twin, package, test, .. } = found;
    match passes(found, Some(twin)) {
        Ok(()) => Err(format!("{package} {test} does not find the twin {twin}")),
        // A test that failed, and not a build.
        Err(output) if output.contains("test result: FAILED") => {
            let _ = writeln!(io::stdout(), "{twin}: found by {package} {test}");
            Ok(())
        }
        Err(output) => Err(format!("{test} did not run with the twin {twin}:\n{output}")),
    }
}

fn passes(found: &Found, twin: Option<&str>) -> Result<(), String> {
    let target: &[&str] = match &found.target {
        &"" => &["--lib"],
        name => &["--test", name],
    };
    let args = [
        &["test", "--quiet", "--package", found.package, "--features", "homing-types/twins"],
        target,
        &["--", "--exact", found.test],
    ];
    let mut process: Command = cargo::command(&args.concat());
    process.env_remove("HOMING_TWIN").stdin(Stdio::null());
    if let Some(twin) = twin {
        process.env("HOMING_TWIN", twin);
    }
    let output = process.output().map_err(|problem| format!("cargo can't be started: {problem}"))?;
    let says =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(says);
    }
    // `cargo test` is content when no test matches.
    if says.contains("\nrunning 1 test") { Ok(()) } else { Err(format!("no test matches:\n{says}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twin_has_a_test_that_finds_it() {
        let source = include_str!("../../../crates/types/src/twin.rs");
        let names = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""));
        let names: Vec<_> = names.map(|(_, name)| name.trim_end_matches("\",")).collect();
        assert_eq!(names.len(), 10);
        for name in names {
            assert!(TWINS.iter().any(|found| found.twin == name), "{name}");
        }
    }
}
