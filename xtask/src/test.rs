//! `cargo xtask test`: the steps one after the other, until one fails.

mod job;
mod needs;
mod steps;
mod twins;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::Result;

use job::Job;
use needs::Need;
use steps::{STEPS, Step};

/// Runs the steps and prints how each went, at the end how all went. True if none failed.
pub(crate) fn run(fast: bool) -> Result<bool> {
    let plan = Plan::new(STEPS, fast, Need::is_met);
    let started = now();
    let mut out = io::stdout();
    let end = plan.drive(&mut out, Job::run, || started.elapsed())?;
    out.write_all(plan.summary(&end).as_bytes())?;
    Ok(end.failed.is_none())
}

#[expect(clippy::disallowed_methods, reason = "this is an edge: it tells a person how long a step took")]
fn now() -> Instant {
    Instant::now()
}

/// What will run on this machine, and what won't.
struct Plan {
    jobs: Vec<(&'static str, Job)>,
    skipped: Vec<String>,
}

/// How far a plan came.
struct End {
    passed: usize,
    /// The problem of the job after those that passed.
    failed: Option<String>,
    elapsed: Duration,
}

impl Plan {
    /// `has` says whether this machine has what a step needs.
    fn new(steps: &'static [Step], fast: bool, has: impl Fn(Need) -> bool) -> Self {
        let nextest = has(Need::Subcommand("nextest"));
        let mut plan = Self { jobs: Vec::new(), skipped: Vec::new() };
        for step in steps {
            match reason_to_skip(step, fast, &has) {
                Some(reason) => plan.skipped.push(format!("{} ({reason})", step.name)),
                None => plan.jobs.push((step.name, Job::new(&step.work, nextest))),
            }
        }
        if !nextest {
            plan.skipped.push("cargo-nextest (not installed; the tests ran with cargo test)".to_owned());
        }
        plan
    }

    /// Runs job after job until one fails.
    fn drive(
        &self,
        out: &mut impl Write,
        mut run: impl FnMut(&Job) -> Result<(), String>,
        elapsed: impl Fn() -> Duration,
    ) -> io::Result<End> {
        let mut passed = 0;
        let mut failed = None;
        for (name, job) in &self.jobs {
            let begun = elapsed();
            writeln!(out, "==> {}/{} {name}: {}", passed + 1, self.jobs.len(), job.shown())?;
            failed = run(job).err();
            let verdict = if failed.is_some() { "FAILED" } else { "passed" };
            writeln!(out, "<== {name}: {verdict} in {}", minutes(elapsed() - begun))?;
            if failed.is_some() {
                break;
            }
            passed += 1;
        }
        Ok(End { passed, failed, elapsed: elapsed() })
    }

    /// The last lines. A failure comes very last, and with what it kept from running.
    fn summary(&self, end: &End) -> String {
        let skipped: String = self.skipped.iter().map(|what| format!("SKIPPED: {what}\n")).collect();
        let (passed, elapsed) = (end.passed, minutes(end.elapsed));
        let Some(problem) = &end.failed else {
            return format!("xtask test: {passed} steps passed in {elapsed}\n{skipped}");
        };
        let names: Vec<_> = self.jobs[passed..].iter().map(|(name, _)| *name).collect();
        let left = match &names[1..] {
            [] => String::new(),
            names => format!("; not run: {}", names.join("; ")),
        };
        format!(
            "{skipped}xtask test: {} FAILED after {elapsed}: {problem}; {passed} steps passed{left}\n",
            names[0]
        )
    }
}

/// `--fast`, or the first thing that the step needs and that isn't there.
fn reason_to_skip(step: &Step, fast: bool, has: impl Fn(Need) -> bool) -> Option<String> {
    if fast && step.slow {
        return Some("--fast".to_owned());
    }
    step.work.needs().into_iter().find(|need| !has(*need)).map(Need::missing)
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}m{:02}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use steps::{Command, Work};

    const THREE: &[Step] = &[
        Step { name: "format", work: Work::Cargo(&["fmt"]), slow: false },
        Step { name: "tests", work: Work::Tests(&["--workspace"]), slow: false },
        Step { name: "docs", work: Work::Cargo(&["doc"]), slow: true },
    ];

    /// Drives the steps, each a minute long, and fails at the job that is shown as `broken`.
    fn last_lines(plan: &Plan, broken: &str) -> String {
        let clock = Cell::new(Duration::from_secs(3));
        let run = |job: &Job| {
            clock.set(clock.get() + Duration::from_secs(60));
            if job.shown() == broken { Err("cargo ended with exit status: 101".to_owned()) } else { Ok(()) }
        };
        let end = plan.drive(&mut io::sink(), run, || clock.get()).unwrap();
        plan.summary(&end)
    }

    #[test]
    fn all_steps_that_passed_are_counted() {
        let plan = Plan::new(THREE, false, |_| true);
        assert_eq!(last_lines(&plan, ""), "xtask test: 3 steps passed in 3m03s\n");
    }

    #[test]
    fn the_first_failure_stops_and_is_the_last_line() {
        let plan = Plan::new(THREE, false, |need| need != Need::Subcommand("fmt"));
        assert_eq!(
            last_lines(&plan, "cargo nextest run --no-fail-fast --workspace"),
            "SKIPPED: format (not installed: rustup component add rustfmt)\n\
             xtask test: tests FAILED after 1m03s: cargo ended with exit status: 101; 0 steps passed; not run: docs\n"
        );
        assert!(last_lines(&plan, "cargo doc").ends_with("exit status: 101; 1 steps passed\n"));
    }

    #[test]
    fn each_step_has_a_header_and_its_time() {
        let mut out = Vec::new();
        let plan = Plan::new(&THREE[..1], false, |_| true);
        plan.drive(&mut out, |_| Err(String::new()), || Duration::ZERO).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "==> 1/1 format: cargo fmt\n<== format: FAILED in 0m00s\n"
        );
    }

    #[test]
    fn what_fast_leaves_out_is_said() {
        let plan = Plan::new(THREE, true, |_| true);
        assert_eq!(last_lines(&plan, ""), "xtask test: 2 steps passed in 2m03s\nSKIPPED: docs (--fast)\n");
    }

    #[test]
    fn without_nextest_the_tests_run_all_the_same() {
        let plan = Plan::new(THREE, false, |need| need != Need::Subcommand("nextest"));
        let args = vec!["test", "--no-fail-fast", "--tests", "--workspace"];
        assert_eq!(plan.jobs[1].1, Job::CargoTest(args));
        assert_eq!(plan.skipped, ["cargo-nextest (not installed; the tests ran with cargo test)"]);
    }

    const OPTIONAL: &[Step] = &[Step {
        name: "sanitizer",
        work: Work::Command(Command {
            needs: &[Need::Nightly, Need::OfNightly("rust-src")],
            env: &[("RUSTFLAGS", "-Zsanitizer=thread")],
            line: &["rustup", "run", "nightly"],
            is_test: false,
        }),
        slow: true,
    }];

    #[test]
    fn what_needs_something_absent_is_skipped_and_said_with_the_first_remedy() {
        for (absent, said) in [
            (&[Need::Nightly, Need::OfNightly("rust-src")][..], Need::Nightly.missing()),
            (&[Need::OfNightly("rust-src")][..], Need::OfNightly("rust-src").missing()),
        ] {
            let plan = Plan::new(OPTIONAL, false, |need| !absent.contains(&need));
            let lines = format!("xtask test: 0 steps passed in 0m03s\nSKIPPED: sanitizer ({said})\n");
            assert_eq!(last_lines(&plan, ""), lines);
        }
        let plan = Plan::new(OPTIONAL, true, |_| true);
        assert!(last_lines(&plan, "").ends_with("SKIPPED: sanitizer (--fast)\n"));
    }

    #[test]
    fn what_has_all_that_it_needs_runs() {
        let plan = Plan::new(OPTIONAL, false, |_| true);
        assert_eq!(plan.jobs[0].1.shown(), "RUSTFLAGS='-Zsanitizer=thread' rustup run nightly");
        assert_eq!(last_lines(&plan, ""), "xtask test: 1 steps passed in 1m03s\n");
    }
}
